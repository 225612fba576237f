//! Every crate that the program or its tests are built from has a licence that lets packagers ship it.

use std::process::Command;

use serde_json::Value;

/// Licences by their SPDX identifiers: the list of `deny.toml`, a line each.
fn accepted() -> impl Iterator<Item = &'static str> {
    let lines = include_str!("../deny.toml").lines().map(str::trim);
    lines.filter_map(|line| line.strip_prefix('"')?.strip_suffix("\","))
}

/// Whether an SPDX expression, of `OR`, `AND` and one level of parentheses, leaves a choice that is accepted.
fn is_accepted(expression: &str) -> bool {
    // crates of old write a slash for OR.
    let expression = expression.replace('/', " OR ");
    let all_of = |part: &str| {
        part.split(" AND ").all(|one| accepted().any(|known| known == one.trim().trim_matches(['(', ')'])))
    };
    let parts = expression.split(") AND ").flat_map(|part| part.split(" AND ("));
    parts.into_iter().all(|part| part.split(" OR ").any(all_of))
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let output = output.expect("cargo runs");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn every_dependency_has_an_accepted_licence() {
    let version = cargo(&["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    let metadata = cargo(&["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", host]);
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 20, "{} packages", packages.len());
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(is_accepted))
        .map(|package| format!("{}: {}", package["name"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "not accepted: {refused:?}");
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    for good in ["MIT", "MIT OR GPL-3.0", "Unlicense/MIT", "(MIT OR Apache-2.0) AND Unicode-3.0", "MIT AND Zlib"] {
        assert!(is_accepted(good), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND GPL-3.0", "GPL-2.0 OR GPL-3.0", ""] {
        assert!(!is_accepted(bad), "{bad}");
    }
}
