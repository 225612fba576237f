//! Damaged files by the thousand: each run ends with status 0, 1 or 2, changes no file that it reports an error of, and
//! leaves every file that loads one that loads.
//!
//! `DRIVER_RUNPATH_MUTANTS` is their number, `DRIVER_RUNPATH_SEED` makes others.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use driver_runpath::apply::Durability;
use driver_runpath::decide::Tag;
use driver_runpath::elf::Image;
use driver_runpath::fixtures::{Entropy, Spec, damage};
use driver_runpath::journal::Undo;
use driver_runpath::plan::{Change, NoteChange, plan};
use driver_runpath::verify::verify;
use libtest_mimic::{Failed, Trial};

use super::Done;
use super::journals::{Interrupted, Numbers};
use super::support::lab::{same, testdata};
use super::support::tools::trial;

/// Files of one run.
const BATCH: usize = 500;

/// What a run may take, in bytes of its own and in seconds; both are far above what it does take.
const MEMORY: &str = "--data=100000000";
const SECONDS: &str = "60";

/// Files whose damage the planner does not see and the second parser does.
const BLAMED: &str = "blamed on the program";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("damaged_files_end_no_run_and_are_never_made_worse", &["prlimit", "timeout"], mutants),
        Trial::test("no_damaged_file_is_taken_for_a_defect_of_the_program", planned),
        Trial::test("another_editor_is_counted_beside_ours", beside)
            .with_kind("needs DRIVER_RUNPATH_PEER")
            .with_ignored_flag(std::env::var_os("DRIVER_RUNPATH_PEER").is_none()),
    ]
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn mutants() -> Done {
    let count = number("DRIVER_RUNPATH_MUTANTS", 20_000) as usize;
    let mut numbers = Numbers(number("DRIVER_RUNPATH_SEED", 0).wrapping_add(99));
    let sources = sources()?;
    let mut tally: BTreeMap<String, usize> = BTreeMap::new();
    let (mut done, mut slowest) = (0, Duration::ZERO);
    while done < count {
        let lab = super::support::lab::Lab::new()?;
        let batch = BATCH.min(count - done);
        let mut originals = BTreeMap::new();
        for index in 0..batch {
            let path = lab.path(&format!("{:06}", done + index));
            let bytes = mutant(&sources, &mut numbers);
            fs::write(&path, &bytes)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            originals.insert(path, bytes);
        }
        slowest = slowest.max(run(lab.root(), &originals, &mut tally)?);
        done += batch;
    }
    println!("{done} damaged files: {tally:?}; {BATCH} at a time, at most {slowest:?}");
    let of = |word: &str| tally.get(word).copied().unwrap_or(0);
    same(of(BLAMED), 0, &format!("damaged files that pass for defects of the program: {tally:?}"))?;
    same(of("changed") > count / 20 && of("error") > count / 20, true, &format!("enough of each kind: {tally:?}"))
}

/// Plans for damaged files hold before the second parser, or there are none: the planner alone, for many more files than
/// runs can have.
fn planned() -> Done {
    let count = number("DRIVER_RUNPATH_MUTANTS", 20_000) as usize;
    let mut numbers = Numbers(number("DRIVER_RUNPATH_SEED", 0).wrapping_add(7));
    let sources = sources()?;
    let changes = changes();
    let (mut plans, mut blamed) = (0, BTreeMap::new());
    for index in 0..count {
        let bytes = mutant(&sources, &mut numbers);
        let Ok(image) = Image::parse(&bytes) else { continue };
        for change in &changes {
            let Ok(plan) = plan(&image, change) else { continue };
            plans += 1;
            let rung = plan.rung;
            if let Err(why @ driver_runpath::Error::Unverified(_)) = verify(plan) {
                let what = format!("{} by {rung}: {why}", keep(index, &bytes));
                blamed.entry(why.to_string()).or_insert_with(Vec::new).push(what);
            }
        }
    }
    println!("{plans} plans for {count} damaged files");
    let first: Vec<_> = blamed.values().map(|all| (all.len(), &all[0])).collect();
    same(first.is_empty(), true, &format!("damage that passes for a defect of the program: {first:#?}"))?;
    same(plans > count / 2, true, &format!("{plans} plans are enough"))
}

/// A short search path and a long one, each tag, and none; notes of the loader go, or are written anew.
fn changes() -> Vec<Change> {
    let long = format!("/run/opengl-driver/lib:/{}", "p".repeat(300));
    let paths = [Some("/run/opengl-driver/lib"), Some(long.as_str()), None];
    let notes = [NoteChange::Drop, NoteChange::Renew(b"libx.so\0=/n/libx.so\0\0".to_vec()), NoteChange::Drop];
    let change = |path: &Option<&str>, tag, note: &NoteChange| {
        path.map_or_else(|| Change::without(tag), |path| Change::new(tag, path).with_note(note.clone()))
    };
    let both = |(path, note)| [Tag::Runpath, Tag::Rpath].map(|tag| change(path, tag, note));
    paths.iter().zip(&notes).flat_map(both).collect()
}

/// One run over a directory, and what became of its files; how long it took.
fn run(
    tree: &Path,
    originals: &BTreeMap<PathBuf, Vec<u8>>,
    tally: &mut BTreeMap<String, usize>,
) -> Result<Duration, Failed> {
    let start = Instant::now();
    let output = Command::new("timeout")
        .args([SECONDS, "prlimit", MEMORY, env!("CARGO_BIN_EXE_driver-runpath"), "fix", "--all", "--json"])
        .arg(tree)
        .output()?;
    let taken = start.elapsed();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    same(output.status.code().is_some_and(|code| code <= 2), true, &format!("{:?} {errors}", output.status))?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    for file in report["files"].as_array().ok_or("no files")? {
        let path = PathBuf::from(OsString::from_vec(file["path"]["text"].as_str().ok_or("no path")?.into()));
        let outcome = file["outcome"].as_str().ok_or("no outcome")?;
        let reason = file["reason"].as_str().unwrap_or_default();
        *tally.entry(outcome.to_owned()).or_default() += 1;
        let (before, after) = (originals.get(&path).ok_or("another file")?, fs::read(&path)?);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let fault = |what: &str| -> Failed { format!("{}: {what}: {reason}", keep(&name, before)).into() };
        if reason.contains("internal error") {
            // Left as it was, as it must be; but the message blames the program for what is wrong with the file.
            keep(&name, before);
            *tally.entry(BLAMED.to_owned()).or_default() += 1;
        }
        let taken_back = file["warnings"].to_string().contains("took back");
        if outcome == "changed" {
            if is_loadable(before) && loads(&path, before)? && !loads(&path, &after)? && always_loads(&path, before)? {
                return Err(fault("the file loaded before"));
            }
        } else if after != *before && !taken_back {
            return Err(fault("changed without a word"));
        }
    }
    Ok(taken)
}

/// What another patchelf makes of the same files, and what ours does; for figures, nothing is asked of it.
fn beside() -> Done {
    let count = number("DRIVER_RUNPATH_MUTANTS", 20_000) as usize;
    let mut numbers = Numbers(number("DRIVER_RUNPATH_SEED", 0).wrapping_add(99));
    let sources = sources()?;
    let peer = std::env::var_os("DRIVER_RUNPATH_PEER").ok_or("no DRIVER_RUNPATH_PEER")?;
    let (ours, lab) = (env!("CARGO_BIN_EXE_driver-runpath").into(), super::support::lab::Lab::new()?);
    let mut tally: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for _ in 0..count {
        let bytes = mutant(&sources, &mut numbers);
        for (name, editor) in [("peer", &peer), ("ours", &ours)] {
            let path = lab.path("file");
            fs::write(&path, &bytes)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            let start = Instant::now();
            let mut command = Command::new("timeout");
            command.args(["-s", "KILL", "10"]).arg(editor);
            let status = command.args(["--set-rpath", "/run/opengl-driver/lib"]).arg(&path).output()?.status;
            let mut add = |what| *tally.entry((name, what)).or_default() += 1;
            match status.code() {
                Some(0) => add("done"),
                Some(124 | 137) => add("stopped after 10 s"),
                Some(code) if code < 128 => add("error"),
                _ => add("crash"),
            }
            let after = fs::read(&path)?;
            if start.elapsed().as_secs() >= 2 {
                add("over 2 s");
            }
            if after != bytes && !status.success() {
                add("changed after an error");
            }
            let asked = after != bytes && is_loadable(&bytes);
            if asked && always_loads(&path, &bytes)? {
                add("loaded before, asked again");
                if !loads(&path, &after)? {
                    add("loads no longer");
                }
            }
        }
    }
    println!("{count} damaged files: {tally:?}");
    Ok(())
}

/// The file stays for whoever looks into the failure.
fn keep(name: impl std::fmt::Display, bytes: &[u8]) -> String {
    let kept = std::env::temp_dir().join(format!("mutant-{name}"));
    let _ = fs::write(&kept, bytes);
    kept.display().to_string()
}

/// Of this machine's kind; the loader is asked for one in four.
fn is_loadable(bytes: &[u8]) -> bool {
    const X86_64: [u8; 2] = [62, 0];
    cfg!(target_arch = "x86_64")
        && bytes.get(18..20) == Some(&X86_64)
        && bytes.iter().map(|b| usize::from(*b)).sum::<usize>() % 4 == 0
}

/// Whether the loader takes the file, with all versions and search paths that it reads; nothing of the file runs.
fn loads(path: &Path, bytes: &[u8]) -> Result<bool, Failed> {
    let copy = path.with_extension("copy");
    fs::write(&copy, bytes)?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    let output = Command::new("timeout").args(["10", "/lib64/ld-linux-x86-64.so.2", "--list"]).arg(&copy).output()?;
    fs::remove_file(&copy)?;
    let said = [output.stdout, output.stderr].concat();
    Ok(output.status.success() && !String::from_utf8_lossy(&said).contains("version"))
}

/// Some damaged files load or do not by the addresses that they get.
fn always_loads(path: &Path, bytes: &[u8]) -> Result<bool, Failed> {
    const TRIES: usize = 20;
    for _ in 0..TRIES {
        if !loads(path, bytes)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Prebuilt files, and some in the middle of an edit.
fn sources() -> Result<Vec<Vec<u8>>, Failed> {
    let mut files = Vec::new();
    for architecture in fs::read_dir(testdata().join("prebuilt"))? {
        for file in fs::read_dir(architecture?.path())? {
            files.push(fs::read(file?.path())?);
        }
    }
    files.sort();
    let clean: Vec<_> = files.iter().filter(|bytes| Image::parse(bytes).is_ok()).cloned().collect();
    for bytes in clean.into_iter().take(20) {
        let edit = Interrupted::of(bytes, b"/run/opengl-driver/lib:/and/a/second/directory", Durability::Process);
        files.push(edit.after(edit.plan.edits.len() / 2));
    }
    Ok(files)
}

fn mutant(sources: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let entropy: Vec<u8> = (0..600).map(|_| numbers.below(256) as u8).collect();
    let mut bytes = match numbers.below(4) {
        0 => Spec::draw(&mut Entropy::new(&entropy)).build().unwrap_or_default(),
        _ => sources[numbers.below(sources.len())].clone(),
    };
    for _ in 0..=numbers.below(2) {
        match numbers.below(8) {
            0 | 1 => drop(damage(&mut bytes, &entropy[..48])),
            2 | 3 => change_dynamic(&mut bytes, numbers),
            4 => change_words(&mut bytes, numbers),
            5 | 6 => change_headers(&mut bytes, numbers),
            _ => change_tail(&mut bytes, numbers),
        }
    }
    bytes
}

/// Fields of program and section headers: moved a little, or with the value of another header's.
fn change_headers(bytes: &mut [u8], numbers: &mut Numbers) {
    let Ok(image) = Image::read(bytes) else { return };
    let layout = image.encoding.layout;
    let sections = image.sections.place.as_ref().map(|place| (place.start.0, image.sections.len(), layout.shdr_size));
    let segments = (image.segment_table.0, image.segments.len(), layout.phdr_size);
    let word = usize::from(layout.word);
    let is_little = image.encoding.endian == object::Endianness::Little;
    for _ in 0..=numbers.below(2) {
        let (start, count, size) =
            sections.filter(|sections| sections.1 > 0 && numbers.below(2) == 0).unwrap_or(segments);
        let field = numbers.below(size as usize / 4) * 4;
        let mut at = || start as usize + numbers.below(count) * size as usize + field;
        let (from, to) = (at(), at());
        let Some(other) = bytes.get(from..from + word).map(<[u8]>::to_vec) else { continue };
        let Some(target) = bytes.get_mut(to..to + word) else { continue };
        target.copy_from_slice(&other);
        let step = [0, 1, 8, 16, 0x10, 0x40, 0x1000][numbers.below(7)];
        let lowest = if is_little { 0..2 } else { word - 2..word };
        if let Some(Ok(low)) = target.get_mut(lowest).map(<&mut [u8; 2]>::try_from) {
            let value = if is_little { u16::from_le_bytes(*low) } else { u16::from_be_bytes(*low) };
            let value = if numbers.below(2) == 0 { value.wrapping_add(step) } else { value.wrapping_sub(step) };
            *low = if is_little { value.to_le_bytes() } else { value.to_be_bytes() };
        }
    }
}

/// Tags and values of the dynamic table, or what they lead to: strings, versions, hash tables.
fn change_dynamic(bytes: &mut [u8], numbers: &mut Numbers) {
    let places: Vec<(usize, usize)> = match Image::read(bytes) {
        Ok(image) => {
            let dynamic = (image.dynamic.offset.0 as usize, image.dynamic.entries.len() * 16);
            let targets = image.dynamic.entries.iter().filter_map(|entry| {
                let at = image.file_range_of(driver_runpath::elf::Vaddr(entry.value), 1)?.start;
                Some((at.0 as usize, 64usize))
            });
            std::iter::once(dynamic).chain(targets).collect()
        }
        _ => return,
    };
    for _ in 0..=numbers.below(3) {
        let (start, len) = places[if numbers.below(2) == 0 { 0 } else { numbers.below(places.len()) }];
        let at = start + numbers.below(len);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = [0, 1, 0xff, byte.wrapping_add(1), numbers.below(256) as u8][numbers.below(5)];
        }
    }
}

fn change_words(bytes: &mut [u8], numbers: &mut Numbers) {
    for _ in 0..=numbers.below(6) {
        let at = numbers.below(bytes.len()) & !3;
        if let Some(word) = bytes.get_mut(at..at + 4) {
            let value = [0, 1, u32::MAX, numbers.below(1 << 16) as u32][numbers.below(4)];
            word.copy_from_slice(&value.to_ne_bytes());
        }
    }
}

/// Cut off, with stray bytes, or with a journal of another file.
fn change_tail(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    match numbers.below(3) {
        0 => bytes.truncate(numbers.below(bytes.len() + 1)),
        1 => bytes.extend((0..numbers.below(5000)).map(|_| numbers.below(256) as u8).collect::<Vec<_>>()),
        _ => {
            let place = Undo::place(bytes.len() as u64).unwrap_or_default() as usize;
            bytes.resize(place, 0);
            let change = super::support::generated::change(driver_runpath::decide::Tag::Runpath, None);
            let ranges = vec![(numbers.below(place) as u64, driver_runpath::journal::Old::Bytes(vec![7; 9]))];
            let undo =
                Undo { old_len: numbers.below(place + 1) as u64, change, durability: Durability::Process, ranges };
            bytes.extend(undo.encode());
        }
    }
}
