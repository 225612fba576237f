//! The audit on judged files: `testdata/fetch-detect-truth.sh DIR testdata/audit-truth.tsv`, then
//! `DRIVER_RUNPATH_AUDIT_TRUTH=DIR cargo test --release --test audit_truth`.
//!
//! The table has who opens which name, and which names are mere words. `testdata/audit-trace.sh DIR` traces the former
//! again; where DIR has what it traced, every name of it must be in the table.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use support::lab::{driver_runpath, testdata};

/// Where the packages are.
const TRUTH: &str = "DRIVER_RUNPATH_AUDIT_TRUTH";
/// Of the names that are known to be opened, how many must be listed, in percent; of those that are listed, how many
/// must be opened.
const FLOORS: (f64, f64) = (95.0, 99.0);

fn main() {
    const NAME: &str = "names_that_files_open_are_listed_and_few_others";
    let trial = match std::env::var_os(TRUTH).map(PathBuf::from) {
        Some(tree) => Trial::test(NAME, move || judged_names(&tree)),
        None => Trial::test(NAME, || Ok(())).with_kind(format!("needs {TRUTH}")).with_ignored_flag(true),
    };
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit();
}

/// The judged names of one file.
#[derive(Default)]
struct Judged {
    opened: BTreeSet<String>,
    words: BTreeSet<String>,
}

fn judged_names(tree: &Path) -> Result<(), Failed> {
    let table = judged(tree)?;
    let listed = listed(tree)?;
    let (mut hits, mut misses, mut right, mut alarms, mut unjudged) = (0, Vec::new(), 0, Vec::new(), Vec::new());
    for (file, judged) in &table {
        let names = listed.get(file).ok_or(format!("{}: not there", file.display()))?;
        for opened in &judged.opened {
            // `%s-%s.so` tells of a plugin, not of which.
            match names.iter().any(|name| covers(name, opened) && !name.starts_with('%')) {
                true => hits += 1,
                false => misses.push(format!("missed: {}: {opened}", file.display())),
            }
        }
        for name in names {
            if judged.opened.iter().any(|opened| covers(name, opened)) {
                right += 1;
            } else if judged.words.contains(name) {
                alarms.push(format!("opens it not: {}: {name}", file.display()));
            } else {
                unjudged.push(format!("not judged: {}: {name}", file.display()));
            }
        }
    }
    for (file, names) in listed.iter().filter(|(file, _)| !table.contains_key(*file)) {
        unjudged.extend(names.iter().map(|name| format!("not judged: {}: {name}", file.display())));
    }
    let untold = untold(tree, &table)?;
    let share = |part: usize, all: usize| 100.0 * part as f64 / all.max(1) as f64;
    let (recall, precision) = (share(hits, hits + misses.len()), share(right, right + alarms.len()));
    println!("recall {recall:.1}% of {}, precision {precision:.1}% of {}", hits + misses.len(), right + alarms.len());
    println!("{} files, {} names listed and not judged", table.len(), unjudged.len());
    println!("{}", [misses, alarms, unjudged, untold.clone()].concat().join("\n"));
    let is_good = hits > 0 && recall >= FLOORS.0 && precision >= FLOORS.1 && untold.is_empty();
    if is_good { Ok(()) } else { Err("see above".into()) }
}

/// The table, by file.
fn judged(tree: &Path) -> Result<BTreeMap<PathBuf, Judged>, Failed> {
    let mut table: BTreeMap<PathBuf, Judged> = BTreeMap::new();
    for line in fs::read_to_string(testdata().join("audit-truth.tsv"))?.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let (source, file, name, truth) = match columns[..] {
            [comment, ..] if comment.starts_with('#') || comment == "source" => continue,
            [source, file, name, truth, _] => (source, file, name.to_owned(), truth),
            _ => return Err(format!("not a row: {line}").into()),
        };
        let mut words = source.split(' ');
        let package = tree.join(words.next().unwrap_or_default()).join(words.next().unwrap_or_default());
        let judged = table.entry(package.join(file)).or_default();
        match truth {
            "opened" => judged.opened.insert(name),
            "named" => judged.words.insert(name),
            _ => return Err(format!("opened or named? {line}").into()),
        };
    }
    Ok(table)
}

/// What the audit lists, by file; names within other text left out, as a run without `-v` does.
fn listed(tree: &Path) -> Result<BTreeMap<PathBuf, BTreeSet<String>>, Failed> {
    let paths = ["wheel", "deb"].map(|kind| tree.join(kind));
    let run = driver_runpath([OsStr::new("audit"), OsStr::new("--json"), paths[0].as_os_str(), paths[1].as_os_str()]);
    let document: Value = serde_json::from_str(&run.out)?;
    let files = document["files"].as_array().into_iter().flatten().filter(|file| file["can_open"] == true);
    let names = |file: &Value| {
        let opens = file["opens"].as_array().cloned().unwrap_or_default();
        let likely = opens.into_iter().filter(|opening| opening["reason"] != "text");
        likely.filter_map(|opening| opening["name"].as_str().map(str::to_owned)).collect()
    };
    let listed = files.filter_map(|file| Some((PathBuf::from(file["path"]["text"].as_str()?), names(file))));
    Ok(listed.collect())
}

/// What was traced, but is not in the table.
fn untold(tree: &Path, table: &BTreeMap<PathBuf, Judged>) -> Result<Vec<String>, Failed> {
    let Ok(trace) = fs::read_to_string(tree.join("trace.tsv")) else { return Ok(Vec::new()) };
    let mut untold = Vec::new();
    for line in trace.lines() {
        let (file, name) = line.split_once('\t').ok_or("not a row")?;
        let judged = table.get(&tree.join(file));
        if !judged.is_some_and(|judged| judged.opened.iter().any(|opened| file_name(opened) == file_name(name))) {
            untold.push(format!("traced, not in the table: {file}: {name}"));
        }
    }
    Ok(untold)
}

/// Whether a listed name tells of one that is opened: it is that one, or what the program puts a version behind, or a
/// format that becomes it.
fn covers(listed: &str, opened: &str) -> bool {
    let without_version = opened.strip_prefix(listed).is_some_and(|version| version.starts_with('.'));
    if listed == opened || without_version {
        return true;
    }
    let any = ["%s", "%d", "%u", "{}", "XXXXXX"].iter().fold(listed.to_owned(), |name, part| name.replace(part, "*"));
    let any = if any.ends_with('.') { format!("{any}*") } else { any };
    any.contains('*') && glob::Pattern::new(&any).is_ok_and(|pattern| pattern.matches(opened))
}

fn file_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
