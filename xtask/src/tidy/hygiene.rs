//! Rules for every tracked file: nothing in it belongs to one machine.

use crate::tidy::Violation;
use crate::workspace::TrackedFile;

/// Paths that exist on one machine, and hosts that cargo, npm and pip find by themselves. Written in two parts each, so that
/// this file does not break its own rule.
const FOREIGN: [&str; 9] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("registry.npm", "js.org"),
    concat!("pypi", ".org"),
    concat!("proxy.gol", "ang.org"),
];

/// A file a person edits stays small; a fixture has its own folder.
const FILE_BYTES_MAX: usize = 512 * 1024;

pub(crate) fn violations(files: &[TrackedFile]) -> Vec<Violation> {
    files.iter().flat_map(of_file).collect()
}

fn of_file(file: &TrackedFile) -> Vec<Violation> {
    let mut found = Vec::new();
    if file.text.len() > FILE_BYTES_MAX && !file.path.contains("/fixtures/") {
        found.push(Violation::at(file, 0, format!("{} bytes, at most {FILE_BYTES_MAX}", file.text.len())));
    }
    for (index, line) in file.text.lines().enumerate() {
        for foreign in FOREIGN.iter().filter(|foreign| line.contains(**foreign)) {
            found.push(Violation::at(
                file,
                index + 1,
                format!("names {foreign}, which is one machine's or a registry's"),
            ));
        }
        if line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ") {
            found.push(Violation::at(file, index + 1, "a merge conflict that was not resolved"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules_of(text: &str) -> Vec<String> {
        of_file(&TrackedFile::planted("a.md", text)).into_iter().map(|violation| violation.rule).collect()
    }

    #[test]
    fn machine_paths_and_registry_hosts_are_caught() {
        assert_eq!(rules_of(concat!("see /wo", "rk/x and https://pypi", ".org/simple")).len(), 2);
        assert!(rules_of("see docs/format, /var/lib/reddb and https://example.org").is_empty());
    }

    #[test]
    fn conflict_marks_are_caught() {
        assert_eq!(rules_of("a\n<<<<<<< HEAD\nb\n").len(), 1);
    }

    #[test]
    fn a_huge_file_is_caught() {
        assert_eq!(rules_of(&"x\n".repeat(FILE_BYTES_MAX)).len(), 1);
    }
}
