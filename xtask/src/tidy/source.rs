//! Rust source cut into lines of code and lines of comment, well enough for the rules: no parser.
//!
//! Invariants: text inside string and character literals is neither code nor comment; every line of the file has exactly one
//! [`Line`]; comments nest as Rust's do; a lifetime is not a character literal.

/// One line of a file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// What the compiler sees, with the inside of literals left out.
    pub(crate) code: String,
    /// What only people see, without the comment marks.
    pub(crate) comment: String,
    /// Whether the line belongs to the unit tests at the end of the file.
    pub(crate) is_test: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Code,
    LineComment,
    BlockComment { depth: usize },
    Text { hashes: Option<usize> },
}

/// Cuts a file. Everything from `#[cfg(test)]` before an inline module to the end of the file counts as its tests.
pub(crate) fn lines(text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut state = State::Code;
    for raw in text.lines() {
        let mut line = Line::default();
        state = scan(raw, state, &mut line);
        if state == State::LineComment {
            state = State::Code;
        }
        lines.push(line);
    }
    mark_tests(&mut lines);
    lines
}

fn scan(raw: &str, mut state: State, line: &mut Line) -> State {
    let characters: Vec<char> = raw.chars().collect();
    let mut at = 0;
    while at < characters.len() {
        let rest = &characters[at..];
        let taken;
        (state, taken) = match state {
            State::Code => code(rest, at.checked_sub(1).map(|before| characters[before]), line),
            State::LineComment => {
                line.comment.push(rest[0]);
                (state, 1)
            }
            State::BlockComment { depth } => block_comment(rest, depth, line),
            State::Text { hashes } => literal(rest, hashes, line),
        };
        at += taken;
    }
    state
}

fn code(rest: &[char], before: Option<char>, line: &mut Line) -> (State, usize) {
    match rest {
        ['/', '/', ..] => (State::LineComment, 2),
        ['/', '*', ..] => (State::BlockComment { depth: 1 }, 2),
        ['"', ..] => {
            line.code.push('"');
            (State::Text { hashes: None }, 1)
        }
        ['r', '"' | '#', ..] if !before.is_some_and(|before| before.is_alphanumeric() && before != 'b') => {
            let hashes = rest[1..].iter().take_while(|character| **character == '#').count();
            if rest.get(1 + hashes) == Some(&'"') {
                line.code.push('"');
                return (State::Text { hashes: Some(hashes) }, hashes + 2);
            }
            line.code.push('r');
            (State::Code, 1)
        }
        ['\'', '\\', _, tail @ ..] => {
            let inside = tail.iter().take_while(|character| **character != '\'').count();
            line.code.push_str("' '");
            (State::Code, inside + 4)
        }
        ['\'', _, '\'', ..] => {
            line.code.push_str("' '");
            (State::Code, 3)
        }
        [other, ..] => {
            line.code.push(*other);
            (State::Code, 1)
        }
        [] => (State::Code, 1),
    }
}

fn block_comment(rest: &[char], depth: usize, line: &mut Line) -> (State, usize) {
    match rest {
        ['*', '/', ..] if depth == 1 => (State::Code, 2),
        ['*', '/', ..] => (State::BlockComment { depth: depth - 1 }, 2),
        ['/', '*', ..] => (State::BlockComment { depth: depth + 1 }, 2),
        _ => {
            line.comment.extend(rest.first());
            (State::BlockComment { depth }, 1)
        }
    }
}

fn literal(rest: &[char], hashes: Option<usize>, line: &mut Line) -> (State, usize) {
    match (rest, hashes) {
        (['\\', ..], None) => (State::Text { hashes }, 2),
        (['"', ..], None) => {
            line.code.push('"');
            (State::Code, 1)
        }
        (['"', tail @ ..], Some(count)) if tail.iter().take_while(|character| **character == '#').count() >= count => {
            line.code.push('"');
            (State::Code, 1 + count)
        }
        _ => (State::Text { hashes }, 1),
    }
}

fn mark_tests(lines: &mut [Line]) {
    let opens_module = |line: &Line| {
        let code = line.code.trim();
        code.starts_with("mod ") && code.ends_with('{')
    };
    let first = lines.windows(2).position(|pair| pair[0].code.trim() == "#[cfg(test)]" && opens_module(&pair[1]));
    if let Some(first) = first {
        for line in &mut lines[first..] {
            line.is_test = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(text: &str) -> Vec<String> {
        lines(text).into_iter().map(|line| line.code.trim().to_owned()).collect()
    }

    fn comments_of(text: &str) -> Vec<String> {
        lines(text).into_iter().map(|line| line.comment.trim().to_owned()).collect()
    }

    #[test]
    fn comments_and_code_are_told_apart() {
        assert_eq!(code_of("let a = 1; // why"), ["let a = 1;"]);
        assert_eq!(comments_of("let a = 1; // why\n/* x /* y */ z */ b"), ["why", "x  y  z"]);
        assert_eq!(code_of("/* one\ntwo */ three"), ["", "three"]);
    }

    #[test]
    fn literals_are_neither() {
        assert_eq!(code_of(r#"f("// \" no", 'x', '\'', '"') // yes"#), ["f(\"\", ' ', ' ', ' ')"]);
        assert_eq!(comments_of(r#"f("// no") // yes"#), ["yes"]);
        assert_eq!(code_of("f(r##\"a \"# // b\"##, br\"c\")"), ["f(\"\", b\"\")"]);
        assert_eq!(code_of("f(\"one\ntwo // no\n\") // yes"), ["f(\"", "", "\")"]);
    }

    #[test]
    fn a_lifetime_is_code() {
        assert_eq!(code_of("fn f<'a>(x: &'a str) -> &'a str"), ["fn f<'a>(x: &'a str) -> &'a str"]);
    }

    #[test]
    fn unit_tests_reach_to_the_end_of_the_file() {
        let marks: Vec<bool> =
            lines("fn a() {}\n#[cfg(test)]\nmod tests {\n}\n").iter().map(|line| line.is_test).collect();
        assert_eq!(marks, [false, true, true, true]);
        assert!(lines("#[cfg(test)]\nmod tests;\nfn a() {}").iter().all(|line| !line.is_test));
    }
}
