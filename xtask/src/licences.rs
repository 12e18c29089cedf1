//! What the workspace depends on: licences, sources, pins and duplicates, from `cargo metadata`.
//!
//! Invariants: every package of the graph, for every platform, has an SPDX expression that the lists below satisfy, and
//! comes from the one public registry. Packages that are read as a format are pinned exactly. Two versions of one package
//! are reported, not refused: they are other people's choices.

mod spdx;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::licences::spdx::Expression;
use crate::workspace::Workspace;

/// Licences that allow use and redistribution in source and binary with no more than a notice.
const ALLOWED: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Exceptions that only take conditions away.
const ALLOWED_EXCEPTIONS: [(&str, &str); 1] = [("Apache-2.0", "LLVM-exception")];

/// A licence that is allowed for one package only: the data it ships is under it, its code is not.
const ALLOWED_FOR: [(&str, &str); 2] =
    [("webpki-roots", "CDLA-Permissive-2.0"), ("webpki-root-certs", "CDLA-Permissive-2.0")];

/// Packages whose behaviour is part of what is on disk: their version is exact wherever it is asked for.
const PINS: [(&str, &str); 2] = [("bincode", "=2.0.1"), ("lsm-tree", "=3.1.10")];

/// The one source of packages that are not of this workspace.
const REGISTRY: &str = concat!("registry+https://github.com/rust-lang/", "crates", ".io-index");

/// A package of the dependency graph, as far as this check looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Package {
    name: String,
    version: String,
    licence: Option<String>,
    /// `None` for a package of this workspace.
    source: Option<String>,
    /// Name and version requirement of each package it asks for itself.
    requirements: Vec<(String, String)>,
}

/// The step of the gate.
pub(crate) fn check(workspace: &Workspace) -> Result<String, String> {
    let packages = packages(&workspace.metadata()?)?;
    let faults = faults(&packages);
    if !faults.is_empty() {
        return Err(faults.join("\n"));
    }
    let duplicates = duplicates(&packages);
    let mut summary = format!("{} packages", packages.len());
    if !duplicates.is_empty() {
        summary.push_str(&format!("; in more than one version: {}", duplicates.join(", ")));
    }
    Ok(summary)
}

fn packages(metadata: &Value) -> Result<Vec<Package>, String> {
    let list = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    list.iter().map(package).collect()
}

fn package(value: &Value) -> Result<Package, String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let name = text(&value["name"]).ok_or("a package without a name")?;
    let version = text(&value["version"]).ok_or_else(|| format!("{name} has no version"))?;
    let dependencies = value["dependencies"].as_array().ok_or_else(|| format!("{name} lists no dependencies"))?;
    let requirements = dependencies
        .iter()
        .map(|dependency| text(&dependency["name"]).zip(text(&dependency["req"])))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| format!("{name} has a dependency without a name or a version requirement"))?;
    Ok(Package { name, version, licence: text(&value["license"]), source: text(&value["source"]), requirements })
}

/// One line for each thing that is not as it must be.
fn faults(packages: &[Package]) -> Vec<String> {
    let mut faults = Vec::new();
    for package in packages {
        let Package { name, version, .. } = package;
        if let Err(reason) = licence_fault(package) {
            faults.push(format!("{name} {version}: {reason}"));
        }
        match package.source.as_deref() {
            None => faults.extend(pin_faults(package)),
            Some(REGISTRY) => {}
            Some(other) => faults.push(format!("{name} {version}: comes from {other}, not from the public registry")),
        }
    }
    for (pinned, requirement) in PINS {
        let wanted = requirement.trim_start_matches('=');
        for package in packages.iter().filter(|package| package.name == pinned && package.version != wanted) {
            faults.push(format!("{pinned} {}: must be {wanted} exactly, and the only one", package.version));
        }
    }
    faults
}

fn licence_fault(package: &Package) -> Result<(), String> {
    let text = package.licence.as_deref().ok_or("names no SPDX licence expression")?;
    let expression = Expression::parse(text).map_err(|reason| format!("licence {text:?}: {reason}"))?;
    let is_allowed = expression.is_satisfied_by(&|licence, exception| match exception {
        Some(exception) => ALLOWED_EXCEPTIONS.contains(&(licence, exception)),
        None => ALLOWED.contains(&licence) || ALLOWED_FOR.contains(&(package.name.as_str(), licence)),
    });
    if is_allowed { Ok(()) } else { Err(format!("licence {text:?} is not among the allowed ones")) }
}

fn pin_faults(package: &Package) -> Vec<String> {
    let Package { name, requirements, .. } = package;
    let pinned = |dependency: &str| PINS.iter().find(|(pin, _)| *pin == dependency).map(|(_, wanted)| *wanted);
    requirements
        .iter()
        .filter_map(|(dependency, found)| pinned(dependency).map(|wanted| (dependency, found, wanted)))
        .filter(|(_, found, wanted)| found != wanted)
        .map(|(dependency, found, wanted)| format!("{name}: asks for {dependency} {found:?}, must ask for {wanted:?}"))
        .collect()
}

/// `name a + b` for every package that is in the graph in several versions, in the order of names.
fn duplicates(packages: &[Package]) -> Vec<String> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        versions.entry(&package.name).or_default().push(&package.version);
    }
    versions
        .into_iter()
        .filter(|(_, versions)| versions.len() > 1)
        .map(|(name, mut versions)| {
            versions.sort_unstable();
            format!("{name} {}", versions.join(" + "))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry_package(name: &str, version: &str, licence: Option<&str>) -> Package {
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
            licence: licence.map(str::to_owned),
            source: Some(REGISTRY.to_owned()),
            requirements: Vec::new(),
        }
    }

    fn faults_of(package: Package) -> Vec<String> {
        faults(&[package])
    }

    #[test]
    fn permissive_licences_pass_and_copyleft_does_not() {
        let fault_count = |licence| faults_of(registry_package("x", "1.0.0", Some(licence))).len();
        assert_eq!(fault_count("MIT OR Apache-2.0"), 0);
        assert_eq!(fault_count("MIT/Apache-2.0"), 0);
        assert_eq!(fault_count("MIT OR Apache-2.0 OR LGPL-2.1-or-later"), 0);
        assert_eq!(fault_count("(MIT OR Apache-2.0) AND Unicode-3.0"), 0);
        assert_eq!(fault_count("Apache-2.0 WITH LLVM-exception"), 0);
        assert_eq!(fault_count("GPL-3.0-only"), 1);
        assert_eq!(fault_count("MPL-2.0"), 1);
        assert_eq!(fault_count("MIT AND GPL-2.0-only"), 1);
        assert_eq!(fault_count("Apache-2.0 WITH Classpath-exception-2.0"), 1);
        assert_eq!(fault_count("MIT OR"), 1);
    }

    #[test]
    fn a_package_without_a_licence_is_a_fault() {
        let found = faults_of(registry_package("x", "1.0.0", None));
        assert_eq!(found, ["x 1.0.0: names no SPDX licence expression"]);
    }

    #[test]
    fn a_licence_allowed_for_one_package_is_a_fault_in_another() {
        assert!(faults_of(registry_package("webpki-roots", "1.0.0", Some("CDLA-Permissive-2.0"))).is_empty());
        assert_eq!(faults_of(registry_package("x", "1.0.0", Some("CDLA-Permissive-2.0"))).len(), 1);
    }

    #[test]
    fn a_package_from_a_git_repository_is_a_fault() {
        let mut package = registry_package("x", "1.0.0", Some("MIT"));
        package.source = Some("git+https://example.org/x".to_owned());
        assert_eq!(faults_of(package), ["x 1.0.0: comes from git+https://example.org/x, not from the public registry"]);
    }

    #[test]
    fn a_loosened_pin_is_a_fault_in_the_manifest_and_in_the_graph() {
        let mut ours = registry_package("reddb-server", "0.1.0", Some("MIT"));
        ours.source = None;
        ours.requirements = vec![("lsm-tree".to_owned(), "^3.1.10".to_owned())];
        let found = faults(&[ours, registry_package("lsm-tree", "3.2.0", Some("MIT"))]);
        assert_eq!(
            found,
            [
                "reddb-server: asks for lsm-tree \"^3.1.10\", must ask for \"=3.1.10\"",
                "lsm-tree 3.2.0: must be 3.1.10 exactly, and the only one",
            ]
        );
    }

    #[test]
    fn two_versions_of_one_package_are_reported() {
        let packages = [
            registry_package("rand", "0.9.0", Some("MIT")),
            registry_package("syn", "2.0.0", Some("MIT")),
            registry_package("rand", "0.10.0", Some("MIT")),
        ];
        assert_eq!(duplicates(&packages), ["rand 0.10.0 + 0.9.0"]);
        assert!(faults(&packages).is_empty());
    }

    #[test]
    fn metadata_without_a_field_is_an_error() {
        assert!(packages(&serde_json::json!({})).is_err());
        assert!(packages(&serde_json::json!({ "packages": [{ "name": "x" }] })).is_err());
        let good = serde_json::json!({ "packages": [{ "name": "x", "version": "1.0.0", "license": "MIT",
            "source": null, "dependencies": [{ "name": "y", "req": "^1" }] }] });
        assert_eq!(packages(&good).unwrap()[0].requirements, [("y".to_owned(), "^1".to_owned())]);
    }
}
