//! What a user of the crate gets with each feature, and nothing more; and which way the folders of the source go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What no file of the pure part may name: it runs on any host, and asks nobody.
const SYSTEM: [&str; 11] = [
    "std::fs",
    "std::os",
    "std::env",
    "std::net",
    "std::process",
    "std::thread",
    "std::path",
    "rustix",
    "memmap2",
    "tempfile",
    "libc::",
];

/// The modules that are there without any feature.
const PURE: [&str; 9] = ["decide", "detect", "elf", "error", "facts", "fixtures", "plan", "resolution", "verify"];

fn sources(of: &Path, found: &mut Vec<PathBuf>) {
    if of.is_dir() {
        let entries = fs::read_dir(of).expect("it can be read");
        entries.for_each(|entry| sources(&entry.expect("an entry").path(), found));
    } else if of.extension().is_some_and(|extension| extension == "rs") {
        found.push(of.to_owned());
    }
}

/// The files of the modules that a module has only with `files`.
fn gated_by(path: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(path).expect("text");
    let below = if path.ends_with("mod.rs") { path.with_file_name("") } else { path.with_extension("") };
    let name = |part: &str| part.trim_start().strip_prefix("mod ")?.split_once(';').map(|(name, _)| name.to_owned());
    let parts = text.split("#[cfg(feature = \"files\")]\n").skip(1);
    parts.filter_map(name).map(|name| below.join(format!("{name}.rs"))).collect()
}

/// The pure part's files, without their tests and comments.
fn pure_code() -> Vec<(PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    for module in PURE {
        for of in [src.join(module), src.join(format!("{module}.rs"))].iter().filter(|path| path.exists()) {
            sources(of, &mut files);
        }
    }
    // What a module has for a feature alone.
    let gated: Vec<PathBuf> = files.iter().flat_map(|path| gated_by(path)).collect();
    files.retain(|path| !gated.contains(path));
    let code = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("text");
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        (path, lines.collect::<Vec<_>>().join("\n"))
    };
    files.into_iter().map(code).collect()
}

#[test]
fn the_pure_part_asks_no_operating_system() {
    let files = pure_code();
    assert!(files.len() > 60, "{} files", files.len());
    for (path, code) in files {
        let named: Vec<&str> = SYSTEM.into_iter().filter(|word| code.contains(word)).collect();
        assert!(named.is_empty(), "{}: {named:?}", path.display());
    }
}

#[test]
fn every_module_that_is_there_without_features_is_looked_at() {
    let lib = include_str!("../src/lib.rs");
    let mut gated = false;
    for line in lib.lines() {
        if line.starts_with("#[cfg(feature") {
            gated = !line.contains("fixtures");
        } else if let Some(name) = line.trim_start_matches("pub ").strip_prefix("mod ") {
            let name = name.trim_end_matches(';');
            assert_eq!(PURE.contains(&name), !gated, "{name}");
            gated = false;
        }
    }
}

/// The packages that a user builds, without ours.
fn packages(arguments: &[&str]) -> Vec<String> {
    let common = ["tree", "--offline", "--locked", "--edges", "normal,build", "--prefix", "none"];
    let output =
        Command::new(env!("CARGO")).args(common).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let output = output.expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let mut names: Vec<String> = text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names.retain(|name| !name.is_empty() && name != "driver-runpath");
    names
}

#[test]
fn who_takes_less_builds_less() {
    let files_alone = ["glob", "memmap2", "rayon", "rustix", "tempfile"];
    let binary_alone = ["anstream", "anyhow", "clap", "serde", "shlex"];
    let without = |features: &[&str]| {
        let mut arguments = vec!["--no-default-features"];
        arguments.extend(features);
        packages(&arguments)
    };
    let pure = without(&[]);
    for name in files_alone.iter().chain(&binary_alone) {
        assert!(!pure.iter().any(|package| package == name), "{name} for the pure part");
    }
    let files = without(&["--features", "files"]);
    for name in binary_alone {
        assert!(!files.iter().any(|package| package == name), "{name} for files");
    }
    for name in files_alone {
        assert!(files.iter().any(|package| package == name), "no {name} for files");
    }
    let all = packages(&[]);
    assert!(binary_alone.iter().all(|name| all.iter().any(|package| package == name)));
    // The README's table says so.
    let readme = include_str!("../README.md");
    let fixtures = without(&["--features", "fixtures"]);
    for (feature, packages) in [("none", pure), ("`files`", files), ("`cli`", all), ("`fixtures`", fixtures)] {
        let row = readme.lines().find(|line| line.starts_with(&format!("| {feature}")) && line.ends_with(" |"));
        let row = row.unwrap_or_else(|| panic!("no row for {feature}"));
        assert!(row.ends_with(&format!("| {} |", packages.len())), "{feature}: {}, not {row}", packages.len());
    }
}

/// Which folders the code of each folder of `src/` names.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut files = Vec::new();
    sources(&src, &mut files);
    for path in files {
        let first = path.strip_prefix(&src).expect("below").iter().next().expect("a name");
        let own = first.to_str().expect("UTF-8").trim_end_matches(".rs");
        // The binary sees the library from outside.
        if ["lib", "main", "cli"].contains(&own) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("text");
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let code = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        let named = code.split("crate::").skip(1).map(|rest| {
            let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
            if &rest[..end] == "Error" { "error" } else { &rest[..end] }
        });
        found.entry(own.to_owned()).or_default().extend(named.filter(|name| *name != own).map(str::to_owned));
    }
    found
}

#[test]
fn no_folder_names_one_that_leads_back_to_it() {
    let arrows = arrows();
    for (folder, named) in &arrows {
        let (mut reached, mut open): (BTreeSet<&String>, Vec<&String>) = (BTreeSet::new(), named.iter().collect());
        while let Some(next) = open.pop() {
            let further = arrows.get(next).unwrap_or_else(|| panic!("{folder}: crate::{next} is no folder of src/"));
            if reached.insert(next) {
                open.extend(further);
            }
        }
        assert!(!reached.contains(folder), "{folder} leads back to itself by way of some of {reached:?}");
    }
    assert!(arrows.len() <= 18 && arrows.values().map(BTreeSet::len).sum::<usize>() <= 60, "{arrows:?}");
}
