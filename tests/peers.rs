//! What goblin, object, readelf and patchelf make of generated files of every profile and target.
//!
//! Each reads a file's SONAME, the libraries that it needs and its search paths, and the spec says what is right. patchelf
//! edits copies, too, which must say what they were told to and be loaded as before. What a peer gets wrong by its own
//! fault is in `peers/faults.rs`, each with the smallest file that shows it; anything else fails.
//!
//! `DRIVER_RUNPATH_PEERS` chooses the number of files, `DRIVER_RUNPATH_SEED` other ones, `DRIVER_RUNPATH_PATCHELF` a patchelf.

#[path = "peers/editor.rs"]
mod editor;
#[path = "peers/faults.rs"]
mod faults;
#[path = "peers/loader.rs"]
mod loader;
#[path = "peers/readers.rs"]
mod readers;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::env::var;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use driver_runpath::fixtures::{Profile, Spec, Target};
use libtest_mimic::{Arguments, Failed, Trial};
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use readers::Says;
use support::lab::{Lab, succeed};
use support::tools::{REQUIRE_TOOLS, tool, trial};

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    Goblin,
    Object,
    Readelf,
    /// `patchelf --print-…`.
    PatchelfReads,
    /// `patchelf --set-rpath`.
    PatchelfEdits,
}

const PEERS: [Peer; 5] = [Peer::Goblin, Peer::Object, Peer::Readelf, Peer::PatchelfReads, Peer::PatchelfEdits];

/// Files that are made, written and asked about together.
const BATCH: u64 = 96;

fn number(name: &str, default: u64) -> u64 {
    var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// A generated file, and where it lies.
pub struct Subject {
    pub profile: Profile,
    pub target: Target,
    pub spec: Spec,
    pub says: Says,
    pub bytes: Vec<u8>,
    pub path: PathBuf,
}

impl Subject {
    fn new(root: &Path, number: u64, seed: u64) -> Result<Self, Failed> {
        let profile = Profile::ALL[(number % 8) as usize];
        let target = Target::ALL[(number / 8 % 12) as usize];
        let mut key = [17; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        key[8..16].copy_from_slice(&seed.to_le_bytes());
        let mut entropy = [0; Spec::ENTROPY];
        TestRng::from_seed(RngAlgorithm::ChaCha, &key).fill_bytes(&mut entropy);
        let path = root.join(number.to_string());
        Self::of(profile, target, Spec::generate(profile, target, &entropy), path)
    }

    pub fn of(profile: Profile, target: Target, spec: Spec, path: PathBuf) -> Result<Self, Failed> {
        let bytes = spec.build()?;
        fs::write(&path, &bytes)?;
        Ok(Self { profile, target, says: Says::of(&spec), spec, bytes, path })
    }
}

/// What a peer made of a file, if that is not right.
pub struct Finding {
    pub peer: Peer,
    pub what: String,
}

/// All that the peers say of these files; the findings of each.
pub fn ask(subjects: &[Subject], patchelf: &Path, lab: &Lab) -> Result<Vec<Vec<Finding>>, Failed> {
    let mut findings: Vec<Vec<Finding>> = Vec::new();
    for subject in subjects {
        let mut found = Vec::new();
        found.extend(readers::goblin(subject));
        found.extend(readers::object(subject));
        found.extend(readers::patchelf(subject, patchelf)?);
        findings.push(found);
    }
    for (found, finding) in findings.iter_mut().zip(readers::readelf(subjects)?) {
        found.extend(finding);
    }
    for (found, edited) in findings.iter_mut().zip(editor::edit_all(subjects, patchelf, lab)?) {
        found.extend(edited);
    }
    Ok(findings)
}

/// With how many files a peer was right, or showed which fault.
type Tally = BTreeMap<(Peer, &'static str), u64>;

const RIGHT: &str = "as the file says";

/// Counts what was found; findings that are no known fault of the peer.
fn judge(subjects: &[Subject], findings: Vec<Vec<Finding>>, tally: &mut Tally) -> Vec<String> {
    let mut unknown = Vec::new();
    for (subject, findings) in subjects.iter().zip(findings) {
        for peer in PEERS {
            let mut of_peer = findings.iter().filter(|finding| finding.peer == peer).peekable();
            if of_peer.peek().is_none() {
                *tally.entry((peer, RIGHT)).or_insert(0) += 1;
            }
            let mut shown = BTreeSet::new();
            for finding in of_peer {
                match faults::known(subject, finding) {
                    Some(fault) => _ = shown.insert(fault),
                    None => unknown.push(describe(subject, finding)),
                }
            }
            shown.into_iter().for_each(|fault| *tally.entry((peer, fault)).or_insert(0) += 1);
        }
    }
    unknown
}

fn describe(subject: &Subject, Finding { peer, what }: &Finding) -> String {
    let Subject { profile, target, path, spec, .. } = subject;
    format!("{peer:?} on {profile:?} for {target}, {}: {what}\n{spec}", path.display())
}

fn all_files(patchelf: &Path) -> Result<(), Failed> {
    let count = number("DRIVER_RUNPATH_PEERS", 480);
    let seed = number("DRIVER_RUNPATH_SEED", 0);
    let starts = Mutex::new((0..count).step_by(BATCH as usize));
    let tally = Mutex::new(Tally::new());
    let unknown = Mutex::new(Vec::new());
    let work = || -> Result<(), Failed> {
        while let Some(start) = { starts.lock().expect("no thread panics").next() } {
            let lab = Lab::new()?;
            let numbers = start..(start + BATCH).min(count);
            let subjects: Vec<_> = numbers.map(|n| Subject::new(lab.root(), n, seed)).collect::<Result<_, _>>()?;
            let findings = ask(&subjects, patchelf, &lab)?;
            let new = judge(&subjects, findings, &mut tally.lock().expect("no thread panics"));
            unknown.lock().expect("no thread panics").extend(new);
        }
        Ok(())
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
    })?;
    let tally = tally.into_inner().expect("no thread panics");
    println!("{count} files of seed {seed}:");
    for ((peer, what), times) in &tally {
        println!("{times:>8} {peer:?}: {what}");
    }
    let unknown = unknown.into_inner().expect("no thread panics");
    if let Some(first) = unknown.first() {
        unknown.iter().for_each(|finding| println!("{}", finding.lines().next().unwrap_or_default()));
        return Err(format!("{} findings are no known fault of a peer; the first: {first}", unknown.len()).into());
    }
    Ok(())
}

/// The release whose faults are known here.
fn patchelf() -> Option<PathBuf> {
    let path = std::env::var_os("DRIVER_RUNPATH_PATCHELF").map(PathBuf::from).or_else(|| tool("patchelf"))?;
    let version = succeed(std::process::Command::new(&path).arg("--version")).ok()?;
    (version.trim() == "patchelf 0.19.3").then_some(path)
}

fn main() {
    let is_required = var(REQUIRE_TOOLS).is_ok_and(|value| value == "1");
    let named = |name: &str, body: fn(&Path) -> Result<(), Failed>| match patchelf() {
        Some(path) => trial(name, &["readelf", "cc"], move || body(&path)),
        None => Trial::test(name, || Err("patchelf is not there, or of another release".into()))
            .with_kind("needs patchelf 0.19.3")
            .with_ignored_flag(!is_required),
    };
    let trials = vec![
        named("other_programs_read_and_edit_every_file_but_for_their_known_faults", all_files),
        named("each_known_fault_of_another_program_shows_in_a_small_file", faults::prove),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
