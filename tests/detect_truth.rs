//! Detection on judged files: `testdata/fetch-detect-truth.sh DIR`, then
//! `DRIVER_RUNPATH_TRUTH=DIR cargo test --release --test detect_truth`.
//!
//! Every miss is a failure, and so are more false alarms than one in twenty.

mod support;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use support::lab::{driver_runpath, testdata};

/// Where the packages are.
const TRUTH: &str = "DRIVER_RUNPATH_TRUTH";
/// Another table than ours.
const TABLE: &str = "DRIVER_RUNPATH_TRUTH_TABLE";

fn main() {
    const NAME: &str = "no_judged_loader_is_missed_and_few_others_are_taken";
    let trial = match std::env::var_os(TRUTH).map(PathBuf::from) {
        Some(tree) => Trial::test(NAME, move || judged_files(&tree)),
        None => Trial::test(NAME, || Ok(())).with_kind(format!("needs {TRUTH}")).with_ignored_flag(true),
    };
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit();
}

fn judged_files(tree: &Path) -> Result<(), Failed> {
    let run = driver_runpath([OsStr::new("check"), OsStr::new("--json"), tree.as_os_str()]);
    let document: Value = serde_json::from_str(&run.out)?;
    let files = document["files"].as_array().into_iter().flatten();
    let found: HashMap<&str, &Value> = files.filter_map(|file| Some((file["path"]["text"].as_str()?, file))).collect();

    let table = std::env::var_os(TABLE).map_or_else(|| testdata().join("detect-truth.tsv"), PathBuf::from);
    let (mut hits, mut misses, mut alarms) = (0, Vec::new(), Vec::new());
    for line in fs::read_to_string(table)?.lines().filter(|line| !line.starts_with('#')).skip(1) {
        let mut columns = line.split('\t');
        let (Some(source), Some(file), Some(truth)) = (columns.next(), columns.next(), columns.next()) else {
            return Err(format!("not a row: {line}").into());
        };
        let mut words = source.split(' ');
        let path = tree.join(words.next().unwrap_or_default()).join(words.next().unwrap_or_default()).join(file);
        let said = found.get(path.to_string_lossy().as_ref()).ok_or(format!("{}: not there", path.display()))?;
        let loads = ["finds", "misses", "finds-stub"].iter().any(|verdict| said["verdict"] == *verdict);
        match (truth, loads) {
            ("yes", true) => hits += 1,
            ("yes", false) => misses.push(format!("missed: {source}: {file}")),
            ("no", true) => alarms.push(format!("false alarm: {source}: {file}: {}", said["evidence"])),
            _ => {}
        }
    }
    let share = |part: usize, others: usize| 100.0 * part as f64 / (part + others).max(1) as f64;
    let precision = share(hits, alarms.len());
    println!("recall {:.1}%, precision {precision:.1}%", share(hits, misses.len()));
    println!("{}", [misses.as_slice(), &alarms].concat().join("\n"));
    if hits > 0 && misses.is_empty() && precision >= 95.0 { Ok(()) } else { Err("see above".into()) }
}
