//! Debian's package index as data: real names, real fields, real sizes, sixty thousand of them.

use std::collections::BTreeMap;
use std::process::Command;

/// Packages by key (`pkg:<name>`), each with its fields.
pub type Packages = BTreeMap<String, BTreeMap<String, String>>;

/// The index of this machine, at most `limit` packages of it; `None`, said aloud, where this machine has none.
#[must_use]
pub fn packages(limit: usize) -> Option<Packages> {
    let output = Command::new("apt-cache").arg("dumpavail").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let packages = parse(&text, limit);
    if packages.is_empty() {
        println!("skipped: no package index here; `apt-get update` fetches one");
        return None;
    }
    Some(packages)
}

/// Reads the form of `apt-cache dumpavail`: stanzas of `Field: value`, continued on lines that begin with a space. A package
/// that appears again adds to its fields and replaces them, as a second `HSET` does.
#[must_use]
pub fn parse(text: &str, limit: usize) -> Packages {
    let mut packages = Packages::new();
    for stanza in text.split("\n\n") {
        let fields = fields(stanza);
        let Some(name) = fields.get("Package") else { continue };
        let key = format!("pkg:{name}");
        if packages.len() >= limit && !packages.contains_key(&key) {
            break;
        }
        packages.entry(key).or_default().extend(fields);
    }
    packages
}

fn fields(stanza: &str) -> BTreeMap<String, String> {
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    let mut last = None;
    for line in stanza.lines() {
        match (line.starts_with([' ', '\t']), &last) {
            (true, Some(name)) => {
                let value = fields.entry(String::clone(name)).or_default();
                value.push('\n');
                value.push_str(line.trim());
            }
            _ => {
                let Some((name, value)) = line.split_once(':') else { continue };
                fields.insert(name.to_owned(), value.trim().to_owned());
                last = Some(name.to_owned());
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "Package: a\nVersion: 1\nDescription: one\n two\n .\n\nPackage: b\nVersion: 2\n\n\
                         Package: a\nVersion: 3\n\nPackage: c\nVersion: 4\n";

    #[test]
    fn stanzas_become_fields() {
        let packages = parse(INDEX, 10);
        assert_eq!(packages.keys().collect::<Vec<_>>(), ["pkg:a", "pkg:b", "pkg:c"]);
        assert_eq!(packages["pkg:a"]["Description"], "one\ntwo\n.");
        assert_eq!(packages["pkg:a"]["Version"], "3");
    }

    #[test]
    fn the_limit_counts_packages() {
        assert_eq!(parse(INDEX, 2).keys().collect::<Vec<_>>(), ["pkg:a", "pkg:b"]);
    }
}
