//! Rules for Rust files.

use crate::tidy::Violation;
use crate::tidy::source::{self, Line};
use crate::workspace::TrackedFile;

/// Lines of a file without its tests. A longer file holds more than one noun.
const LINES_MAX: usize = 900;

/// What marks work that was left for later.
const UNFINISHED: [&str; 4] = ["FIXME", "HACK", "TODO", "XXX"];

/// Macros that must not be committed.
const FORBIDDEN_MACROS: [&str; 3] = ["dbg!", "todo!", "unimplemented!"];

/// Crates whose bytes are persisted or sent: a number there gets narrower by `try_from` only. A length becoming a `u64` and
/// back, where the standard library has no `From`, loses nothing on the 64-bit machines this runs on.
const CAST_FREE: [&str; 2] = ["reddb-file/src/", "reddb-wire/src/"];

const NARROW: [&str; 9] = ["u8", "u16", "u32", "i8", "i16", "i32", "i64", "f32", "f64"];

/// What a comment above a sleep in a test begins with: the reason no event can be waited for.
const SLEEP_REASON: &str = "Sleep:";

/// How many lines above a sleep its reason, or the loop that it is part of, may begin.
const SLEEP_REASON_LINES: usize = 5;

pub(crate) fn violations(files: &[TrackedFile]) -> Vec<Violation> {
    let sources: Vec<_> = files.iter().filter(|file| file.path.ends_with(".rs")).collect();
    let test_modules: Vec<String> = sources.iter().flat_map(|file| test_modules(file)).collect();
    sources.into_iter().flat_map(|file| of_file(file, &test_modules)).collect()
}

/// The paths, without `.rs`, of the modules that a file declares for tests only.
fn test_modules(file: &TrackedFile) -> Vec<String> {
    let stem = file.path.trim_end_matches(".rs");
    let folder = match file.name() {
        "lib.rs" | "main.rs" | "mod.rs" => stem.rsplit_once('/').map_or("", |(folder, _)| folder),
        _ => stem,
    };
    let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
    let declared = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]").filter_map(|pair| {
        let name = pair[1].trim_start_matches("pub(crate) ").strip_prefix("mod ")?.strip_suffix(';')?;
        Some(format!("{folder}/{name}"))
    });
    declared.collect()
}

/// Whether a whole file is a test.
fn is_test_file(file: &TrackedFile, test_modules: &[String]) -> bool {
    let is_in_tests = file.path.starts_with("tests/") || file.path.contains("/tests/");
    let is_of =
        |module: &String| file.path.strip_prefix(module.as_str()).is_some_and(|rest| rest.starts_with(['.', '/']));
    let has_test_name = file.name() == "tests.rs" || file.name().ends_with("_tests.rs");
    is_in_tests || has_test_name || test_modules.iter().any(is_of)
}

fn of_file(file: &TrackedFile, test_modules: &[String]) -> Vec<Violation> {
    let mut lines = source::lines(&file.text);
    if is_test_file(file, test_modules) {
        lines.iter_mut().for_each(|line| line.is_test = true);
    }
    let mut found = Vec::new();
    if !file.text.starts_with("//!") {
        found.push(Violation::at(file, 1, "opens without `//!` saying what the file owns"));
    }
    let long = lines.iter().filter(|line| !line.is_test).count();
    if long > LINES_MAX {
        found.push(Violation::at(file, 0, format!("{long} lines without its tests, at most {LINES_MAX}")));
    }
    for (index, line) in lines.iter().enumerate() {
        let above = &lines[index.saturating_sub(SLEEP_REASON_LINES)..=index];
        let rules = of_comment(&line.comment).into_iter().chain(of_code(file, line)).chain(of_test(line, above));
        found.extend(rules.map(|rule| Violation::at(file, index + 1, rule)));
    }
    found
}

fn of_comment(comment: &str) -> Option<String> {
    if let Some(word) = UNFINISHED.iter().find(|word| has_word(comment, word)) {
        return Some(format!("{word} in a comment: do it, or leave it out"));
    }
    names_ticket(comment).then(|| "a ticket number in a comment: say what is true instead".to_owned())
}

fn of_code(file: &TrackedFile, line: &Line) -> Vec<String> {
    let code = &line.code;
    let mut rules = Vec::new();
    if let Some(name) = FORBIDDEN_MACROS.iter().find(|name| has_word(code, name)) {
        rules.push(format!("`{name}` in code"));
    }
    let trimmed = code.trim();
    if trimmed.starts_with("matches!(") && trimmed.ends_with(");") {
        rules.push("`matches!` as a statement asserts nothing".to_owned());
    }
    if !line.is_test && code.contains(".unwrap()") {
        rules.push("`unwrap` outside tests: return an error, or `expect` with the reason".to_owned());
    }
    let is_cast_free = CAST_FREE.iter().any(|prefix| file.path.starts_with(prefix));
    if is_cast_free && !line.is_test && NARROW.iter().any(|number| has_word(code, &format!("as {number}"))) {
        rules.push("a narrowing `as` cast among persisted bytes: use `from` or `try_from`".to_owned());
    }
    rules
}

fn of_test(line: &Line, above: &[Line]) -> Vec<String> {
    let mut rules = Vec::new();
    if line.code.contains("#[ignore") {
        rules.push("an ignored test: make it run, or remove it".to_owned());
    }
    let sleeps = ["thread::sleep(", "time::sleep("].iter().any(|call| line.code.contains(call));
    let has_reason = above.iter().any(|line| line.comment.trim_start().starts_with(SLEEP_REASON));
    // Asking again after a pause waits for the event, not for luck.
    let asks_again =
        above.iter().any(|line| line.code.trim_start().starts_with("while ") || line.code.trim() == "loop {");
    if line.is_test && sleeps && !has_reason && !asks_again {
        rules.push(format!("a sleep in a test: wait for the event, or say why under `// {SLEEP_REASON}`"));
    }
    rules
}

/// Whether `word` stands in `text` on its own.
fn has_word(text: &str, word: &str) -> bool {
    let part_of_a_word = |character: char| character.is_alphanumeric() || character == '_';
    text.match_indices(word).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let after = text[start + word.len()..].chars().next();
        !before.is_some_and(part_of_a_word) && !after.is_some_and(part_of_a_word)
    })
}

/// Whether a comment points into a tracker: a number after a hash, `gh-`, or the word for an entry there, in any case.
fn names_ticket(comment: &str) -> bool {
    let lower = comment.to_lowercase();
    ["#", "issue ", "ticket ", "gh-"].iter().any(|mark| {
        lower.match_indices(mark).any(|(start, _)| {
            let before = lower[..start].chars().next_back();
            let after = lower[start + mark.len()..].chars().next();
            !before.is_some_and(char::is_alphanumeric) && after.is_some_and(|next| next.is_ascii_digit())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules_of(path: &str, text: &str) -> Vec<String> {
        of_file(&TrackedFile::planted(path, text), &[]).into_iter().map(|violation| violation.rule).collect()
    }

    fn caught(path: &str, body: &str, part: &str) {
        let rules = rules_of(path, &format!("//! Owns a thing.\n{body}\n"));
        assert!(rules.len() == 1 && rules[0].contains(part), "{body:?} gave {rules:?}");
    }

    fn passes(path: &str, body: &str) {
        let rules = rules_of(path, &format!("//! Owns a thing.\n{body}\n"));
        assert!(rules.is_empty(), "{body:?} gave {rules:?}");
    }

    #[test]
    fn a_file_without_a_head_is_caught() {
        assert_eq!(rules_of("a/src/x.rs", "fn x() {}").len(), 1);
        passes("a/src/x.rs", "fn x() {}");
    }

    #[test]
    fn a_file_that_grew_is_caught_and_its_tests_do_not_count() {
        caught("a/src/x.rs", &"fn x() {}\n".repeat(LINES_MAX), "at most");
        passes("a/tests/x.rs", &"fn x() {}\n".repeat(LINES_MAX));
        passes("a/src/x.rs", &format!("#[cfg(test)]\nmod tests {{\n{}}}", "fn x() {}\n".repeat(LINES_MAX)));
    }

    #[test]
    fn unfinished_work_is_caught() {
        caught("a/src/x.rs", concat!("// TO", "DO: later"), "in a comment");
        caught("a/src/x.rs", concat!("/// FIX", "ME"), "in a comment");
        caught("a/src/x.rs", "fn x() { todo!() }", "in code");
        caught("a/src/x.rs", "fn x() { dbg!(1); }", "in code");
        passes("a/src/x.rs", concat!("const WORD: &str = \"TO", "DO\";"));
    }

    #[test]
    fn ticket_numbers_are_caught() {
        caught("a/src/x.rs", concat!("// see #", "12"), "ticket");
        caught("a/src/x.rs", concat!("// as issue ", "3 says"), "ticket");
        passes("a/src/x.rs", "// `#[derive]`, RFC 3339, the issue is open");
    }

    #[test]
    fn statements_that_assert_nothing_are_caught() {
        caught("a/src/x.rs", "fn x() {\nmatches!(y, Some(_));\n}", "asserts nothing");
        passes("a/src/x.rs", "fn x() {\nassert!(matches!(y, Some(_)));\n}");
    }

    #[test]
    fn an_unwrap_outside_tests_is_caught() {
        caught("a/src/x.rs", "fn x() { y.unwrap(); }", "outside tests");
        passes("a/src/x.rs", "#[cfg(test)]\nmod tests {\nfn x() { y.unwrap(); }\n}");
        passes("a/tests/x.rs", "fn x() { y.unwrap(); }");
    }

    #[test]
    fn a_module_that_is_declared_for_tests_is_a_test() {
        let declaring = |path| TrackedFile::planted(path, "//! x\n#[cfg(test)]\nmod helper;\n");
        let using = |path| TrackedFile::planted(path, "//! x\nfn x() { y.unwrap(); }\n");
        assert_eq!(violations(&[declaring("a/src/lib.rs"), using("a/src/helper.rs")]), []);
        assert_eq!(violations(&[declaring("a/src/b.rs"), using("a/src/b/helper/c.rs")]), []);
        assert_eq!(violations(&[declaring("a/src/b.rs"), using("a/src/helper.rs")]).len(), 1);
        assert_eq!(violations(&[declaring("a/src/lib.rs"), using("a/src/helpers.rs")]).len(), 1);
    }

    #[test]
    fn a_cast_among_persisted_bytes_is_caught() {
        caught("reddb-file/src/x.rs", "fn x() { y as u32; }", "cast");
        passes("reddb-server/src/x.rs", "fn x() { y as u32; }");
        passes("reddb-file/src/x.rs", "use y as usize_like;");
    }

    #[test]
    fn ignored_tests_are_caught() {
        caught("a/tests/x.rs", "#[ignore = \"slow\"]\nfn x() {}", "ignored");
    }

    #[test]
    fn a_sleep_in_a_test_needs_a_reason() {
        caught("a/tests/x.rs", "fn x() { std::thread::sleep(y); }", "sleep");
        caught("a/src/x.rs", "#[cfg(test)]\nmod tests {\nfn x() { tokio::time::sleep(y).await; }\n}", "sleep");
        passes("a/tests/x.rs", "// Sleep: the clock itself is what is tested.\nstd::thread::sleep(y);");
        passes("a/src/x.rs", "fn x() { std::thread::sleep(y); }");
        passes("a/tests/x.rs", "fn x() {\nwhile !y() {\nassert!(z());\nstd::thread::sleep(y);\n}\n}");
    }
}
