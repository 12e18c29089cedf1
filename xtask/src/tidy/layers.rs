//! Rules for the layers of crates, read from cargo's resolved graph.
//!
//! ```text
//! reddb-file <- reddb-wire, reddb-file <- reddb-backup, all three <- reddb-server; tests see everything; xtask sees none.
//! ```
//! What is at rest and in flight knows no runtime, no network, no engine; the archive knows no engine and no server.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::tidy::Violation;

/// Which crates of the workspace each crate may use.
const MAY_USE: [(&str, &[&str]); 6] = [
    ("reddb-backup", &["reddb-file"]),
    ("reddb-file", &[]),
    ("reddb-server", &["reddb-backup", "reddb-file", "reddb-wire"]),
    ("reddb-tests", &["reddb-backup", "reddb-file", "reddb-server", "reddb-wire"]),
    ("reddb-wire", &["reddb-file"]),
    ("xtask", &[]),
];

/// What must not be reachable from a crate, in any number of steps, outside its tests.
const MUST_NOT_REACH: [(&str, &[&str]); 3] = [
    ("reddb-backup", &["axum", "lsm-tree"]),
    ("reddb-file", &["axum", "hyper", "lsm-tree", "object_store", "reqwest", "tokio"]),
    ("reddb-wire", &["axum", "hyper", "lsm-tree", "object_store", "reqwest", "tokio"]),
];

/// The resolved graph by package name: every dependency, and those that are not only for tests.
#[derive(Debug, Default)]
struct Graph {
    all: BTreeMap<String, BTreeSet<String>>,
    built: BTreeMap<String, BTreeSet<String>>,
    members: BTreeSet<String>,
}

pub(crate) fn violations(metadata: &Value) -> Result<Vec<Violation>, String> {
    let graph = Graph::read(metadata).ok_or("cargo metadata has no resolved graph of the expected form")?;
    Ok(graph.violations())
}

impl Graph {
    fn read(metadata: &Value) -> Option<Self> {
        let mut names = BTreeMap::new();
        for package in metadata["packages"].as_array()? {
            names.insert(package["id"].as_str()?, package["name"].as_str()?);
        }
        let mut graph = Self::default();
        for member in metadata["workspace_members"].as_array()? {
            graph.members.insert((*names.get(member.as_str()?)?).to_owned());
        }
        for node in metadata["resolve"]["nodes"].as_array()? {
            let name = (*names.get(node["id"].as_str()?)?).to_owned();
            for dependency in node["deps"].as_array()? {
                let other = (*names.get(dependency["pkg"].as_str()?)?).to_owned();
                let kinds = dependency["dep_kinds"].as_array()?;
                if kinds.iter().any(|kind| kind["kind"].as_str() != Some("dev")) {
                    graph.built.entry(name.clone()).or_default().insert(other.clone());
                }
                graph.all.entry(name.clone()).or_default().insert(other);
            }
        }
        Some(graph)
    }

    fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for member in &self.members {
            let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| name == member) else {
                found.push(Violation::of(member, "is a crate of the workspace that the layers do not name"));
                continue;
            };
            let used = self.all.get(member).into_iter().flatten().filter(|name| self.members.contains(*name));
            for other in used.filter(|other| !allowed.contains(&other.as_str()) && *other != member) {
                found.push(Violation::of(member, format!("uses {other}, which is not below it")));
            }
        }
        for (member, forbidden) in MUST_NOT_REACH {
            let reached = self.reached(member);
            for other in forbidden.iter().filter(|other| reached.contains(**other)) {
                found.push(Violation::of(member, format!("reaches {other}, directly or through others")));
            }
        }
        found
    }

    fn reached(&self, from: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut pending = vec![from];
        while let Some(name) = pending.pop() {
            for other in self.built.get(name).into_iter().flatten() {
                if reached.insert(other.as_str()) {
                    pending.push(other);
                }
            }
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A graph in cargo's own form: packages with the dependencies of each, `dev:` before those for tests only.
    fn metadata(packages: &[(&str, &[&str])]) -> Value {
        let names: Vec<_> = packages.iter().map(|(name, _)| json!({ "id": name, "name": name })).collect();
        let members: Vec<_> =
            packages.iter().map(|(name, _)| *name).filter(|name| name.starts_with("reddb-")).collect();
        let nodes: Vec<_> = packages
            .iter()
            .map(|(name, dependencies)| {
                let dependencies: Vec<_> = dependencies
                    .iter()
                    .map(|text| {
                        let kind = if text.starts_with("dev:") { json!("dev") } else { Value::Null };
                        json!({ "pkg": text.trim_start_matches("dev:"), "dep_kinds": [{ "kind": kind }] })
                    })
                    .collect();
                json!({ "id": name, "deps": dependencies })
            })
            .collect();
        json!({ "packages": names, "workspace_members": members, "resolve": { "nodes": nodes } })
    }

    fn rules_of(packages: &[(&str, &[&str])]) -> Vec<String> {
        violations(&metadata(packages)).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_layers_as_drawn_pass() {
        let packages: [(&str, &[&str]); 6] = [
            ("reddb-file", &["dev:tokio"]),
            ("reddb-wire", &["reddb-file"]),
            ("reddb-backup", &["reddb-file", "tokio"]),
            ("reddb-server", &["reddb-backup", "reddb-file", "reddb-wire", "lsm-tree"]),
            ("tokio", &[]),
            ("lsm-tree", &[]),
        ];
        assert_eq!(rules_of(&packages), [""; 0]);
    }

    #[test]
    fn an_arrow_upwards_is_caught_also_in_tests() {
        let packages: [(&str, &[&str]); 3] =
            [("reddb-file", &[]), ("reddb-wire", &["reddb-file"]), ("reddb-backup", &["dev:reddb-wire"])];
        assert_eq!(rules_of(&packages), ["reddb-backup: uses reddb-wire, which is not below it"]);
    }

    #[test]
    fn a_runtime_behind_another_package_is_caught() {
        let packages: [(&str, &[&str]); 3] = [("reddb-file", &["helper"]), ("helper", &["tokio"]), ("tokio", &[])];
        assert_eq!(rules_of(&packages), ["reddb-file: reaches tokio, directly or through others"]);
    }

    #[test]
    fn an_unknown_crate_is_caught() {
        assert_eq!(rules_of(&[("reddb-extra", &[])]).len(), 1);
    }

    #[test]
    fn metadata_of_another_form_is_an_error() {
        assert!(violations(&json!({})).is_err());
    }
}
