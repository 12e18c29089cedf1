//! Rules for manifests: dependencies in the order of their names, lints inherited, versions in one place.
//!
//! The root forbids unsafe code for every member, and every member inherits the root's lints: together these mean that no
//! crate can hold any.

use crate::tidy::Violation;
use crate::workspace::TrackedFile;

pub(crate) fn violations(files: &[TrackedFile]) -> Vec<Violation> {
    files.iter().filter(|file| file.name() == "Cargo.toml").flat_map(of_file).collect()
}

fn of_file(file: &TrackedFile) -> Vec<Violation> {
    let mut found = unordered(file);
    if file.path == "Cargo.toml" {
        if !has_line(file, "[workspace.lints.rust]", "unsafe_code = \"forbid\"") {
            found.push(Violation::at(file, 0, "does not forbid unsafe code for the workspace"));
        }
        return found;
    }
    if !has_line(file, "[lints]", "workspace = true") {
        found.push(Violation::at(file, 0, "does not inherit the workspace's lints"));
    }
    found.extend(versions_of_its_own(file));
    found
}

/// Table names with their lines, each line with its number from 1.
fn tables(file: &TrackedFile) -> Vec<(&str, Vec<(usize, &str)>)> {
    let mut tables = vec![("", Vec::new())];
    for (index, line) in file.text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            tables.push((line, Vec::new()));
        } else if let Some((_, lines)) = tables.last_mut() {
            lines.push((index + 1, line));
        }
    }
    tables
}

fn is_dependency_table(name: &str) -> bool {
    name.trim_end_matches(']').ends_with("dependencies")
}

fn has_line(file: &TrackedFile, table: &str, wanted: &str) -> bool {
    tables(file).iter().any(|(name, lines)| *name == table && lines.iter().any(|(_, line)| *line == wanted))
}

/// Names are in order within each block; an empty line begins a new block.
fn unordered(file: &TrackedFile) -> Vec<Violation> {
    let mut found = Vec::new();
    for (_, lines) in tables(file).into_iter().filter(|(name, _)| is_dependency_table(name)) {
        let mut previous = "";
        for (number, line) in lines {
            let Some(name) = line.split(['.', '=', ' ']).next().filter(|name| !name.is_empty()) else {
                previous = "";
                continue;
            };
            if line.starts_with('#') || line.starts_with('"') {
                continue;
            }
            if name < previous {
                found.push(Violation::at(file, number, format!("{name} after {previous}: not in the order of names")));
            }
            previous = name;
        }
    }
    found
}

fn versions_of_its_own(file: &TrackedFile) -> Vec<Violation> {
    let mut found = Vec::new();
    for (_, lines) in tables(file).into_iter().filter(|(name, _)| is_dependency_table(name)) {
        for (number, line) in lines {
            let is_entry = line.contains('=') && !line.starts_with('#');
            if is_entry && !line.contains("workspace = true") {
                found.push(Violation::at(file, number, "a dependency whose version is not the workspace's"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules_of(path: &str, text: &str) -> Vec<String> {
        of_file(&TrackedFile::planted(path, text)).into_iter().map(|violation| violation.rule).collect()
    }

    const MEMBER: &str = "[lints]\nworkspace = true\n[dependencies]\n";

    #[test]
    fn dependencies_out_of_order_are_caught() {
        let ordered = format!("{MEMBER}a.workspace = true\nb = {{ workspace = true, features = [\"x\"] }}\n");
        assert!(rules_of("x/Cargo.toml", &ordered).is_empty());
        let unordered = format!("{MEMBER}b.workspace = true\na.workspace = true\n");
        assert_eq!(rules_of("x/Cargo.toml", &unordered), ["a after b: not in the order of names"]);
        let blocks = format!("{MEMBER}b.workspace = true\n\na.workspace = true\n");
        assert!(rules_of("x/Cargo.toml", &blocks).is_empty());
    }

    #[test]
    fn a_member_without_the_lints_is_caught() {
        assert_eq!(rules_of("x/Cargo.toml", "[package]\nname = \"x\"\n").len(), 1);
    }

    #[test]
    fn a_root_that_allows_unsafe_code_is_caught() {
        assert_eq!(rules_of("Cargo.toml", "[workspace.lints.rust]\nunsafe_code = \"warn\"\n").len(), 1);
        assert!(rules_of("Cargo.toml", "[workspace.lints.rust]\nunsafe_code = \"forbid\"\n").is_empty());
    }

    #[test]
    fn a_version_outside_the_root_is_caught() {
        assert_eq!(rules_of("x/Cargo.toml", &format!("{MEMBER}a = \"1\"\n")).len(), 1);
    }
}
