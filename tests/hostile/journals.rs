//! Journals that were forged, copied, or overtaken by another tool's edit.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use driver_runpath::apply::Durability;
use driver_runpath::decide::Tag;
use driver_runpath::elf::Image;
use driver_runpath::fixtures::{Access, Entry, Header, Load, Part, Resolution, Sections, Spec};
use driver_runpath::journal::{Journal, Undo};
use driver_runpath::plan::{Change, NoteChange, NoteOutcome, Plan, Step, plan};
use libtest_mimic::Trial;

use super::Done;
use super::support::lab::{Lab, contains, driver_runpath, program, same, succeed, testdata};
use super::support::tools::trial;

const BLOCK: usize = 4096;

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("a_journal_made_from_a_real_one_by_changes_is_not_obeyed", forged),
        Trial::test("a_journal_that_belongs_to_another_file_is_not_obeyed", foreign),
        Trial::test("an_interrupted_edit_of_a_resolution_note_is_taken_back", with_a_note),
        Trial::test("a_payload_that_ends_with_an_interrupted_library_stays", payload),
        Trial::test("an_interrupted_edit_of_a_file_that_loads_no_driver_is_taken_back_and_told", not_a_loader),
        Trial::test("a_dry_run_and_the_input_of_an_output_keep_an_interrupted_edit", kept),
        Trial::test("a_protected_file_keeps_an_interrupted_edit", protected),
        Trial::test("a_journal_that_ends_anywhere_even_within_the_path_is_taken_back", cut_off),
        Trial::test("an_edit_interrupted_while_it_was_taken_back_is_taken_back", while_rolling_back),
        Trial::test("after_a_power_failure_any_part_of_a_synced_edit_is_taken_back", after_a_power_failure),
        trial("an_edit_of_another_tool_after_a_kill_is_kept", &["cc", "patchelf", "strace"], overtaken),
    ]
}

/// A file in the middle of an edit.
pub struct Interrupted {
    pub original: &'static [u8],
    pub plan: Plan<'static>,
    pub undo: Undo,
}

impl Interrupted {
    pub fn of(original: Vec<u8>, path: &[u8], durability: Durability) -> Self {
        Self::of_change(original, path, NoteChange::Drop, durability)
    }

    fn of_change(original: Vec<u8>, path: &[u8], note: NoteChange, durability: Durability) -> Self {
        let change = Change::new(Tag::Runpath, path.to_vec()).with_note(note);
        // Kept to the end: the plan borrows it.
        let original: &'static [u8] = original.leak();
        let plan = plan(&Image::parse(original).expect("dynamic"), &change).expect("a rung fits");
        let undo = Undo::of_bytes(original, &plan, durability).expect("edits in the file");
        Self { original, plan, undo }
    }

    /// The file after so many edits, with its journal.
    pub fn after(&self, edits: usize) -> Vec<u8> {
        self.with_journal(self.plan.replay(edits).expect("edits in the file"))
    }

    /// The same with the file's bytes as given.
    pub fn with_journal(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.resize(Undo::place(self.plan.new_len).expect("a place") as usize, 0);
        bytes.extend(self.undo.encode());
        bytes
    }

    fn half(&self) -> Vec<u8> {
        self.after(self.plan.edits.len() / 2)
    }
}

fn sample(name: &str) -> Vec<u8> {
    fs::read(testdata().join("prebuilt").join(name)).expect("a prebuilt file")
}

fn samples() -> Vec<Interrupted> {
    let long = format!("/run/opengl-driver/lib:/{}", "p".repeat(5000));
    ["x86_64/libopens.so", "i386/program", "ppc64/libneeds.so", "aarch64/program-no-pie"]
        .into_iter()
        .flat_map(|name| {
            ["/run/opengl-driver/lib", long.as_str()]
                .map(|path| Interrupted::of(sample(name), path.as_bytes(), Durability::Process))
        })
        .collect()
}

/// What a run would make of the file, if it obeyed the journal.
fn obeyed(bytes: &[u8]) -> Option<Vec<u8>> {
    let journal = Journal::find(bytes)?;
    let mut undone = bytes.get(..usize::try_from(journal.old_len()).ok()?)?.to_vec();
    journal.prove(bytes, &mut undone).map(|_| undone)
}

/// The checksum of a block, as `journal.rs` documents it, so that a change is not found out by it.
fn seal(block: &mut [u8]) {
    let words = block[40..].chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")));
    let sum = words.fold(0xcbf2_9ce4_8422_2325u64, |hash, word| (hash ^ word).wrapping_mul(0x0100_0000_01b3));
    block[32..40].copy_from_slice(&sum.to_le_bytes());
}

/// A small generator of numbers: the same at every run.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end.max(1)
    }
}

fn forged() -> Done {
    let samples = samples();
    let mut numbers = Numbers(13);
    let mut recognised = 0;
    for round in 0..12_000 {
        let sample = &samples[round % samples.len()];
        let mut bytes = sample.after(numbers.below(sample.plan.edits.len() + 1));
        let start = Undo::place(sample.plan.new_len).expect("a place") as usize;
        for _ in 0..=numbers.below(3) {
            match numbers.below(8) {
                0 => change_in(&mut bytes[..start], &mut numbers),
                1 => {
                    let count = 1 + numbers.below(40);
                    (0..count).for_each(|_| change_in(&mut bytes[..start], &mut numbers));
                }
                2 => {
                    // Another length.
                    let len = [0u64, 64, start as u64, numbers.below(start) as u64][numbers.below(4)];
                    bytes[start..]
                        .chunks_mut(BLOCK)
                        .for_each(|block| block[16..24].copy_from_slice(&len.to_le_bytes()));
                }
                3 => {
                    let cut = numbers.below((bytes.len() - start) / BLOCK) * BLOCK;
                    bytes.truncate(bytes.len() - cut);
                }
                _ => change_in(&mut bytes[start + 40..], &mut numbers),
            }
        }
        bytes[start..].chunks_mut(BLOCK).filter(|block| block.len() == BLOCK).for_each(seal);
        recognised += usize::from(Journal::find(&bytes).is_some());
        // What somebody has changed where the edit did not write is theirs, and stays.
        if let Some(undone) = obeyed(&bytes) {
            let mut expected = bytes;
            // With another length, growth can pass for a part of the file. It then stays, and nothing is lost.
            same(undone.len() >= sample.original.len(), true, &format!("round {round}: the file is cut"))?;
            expected.truncate(undone.len());
            for edit in &sample.plan.edits {
                let range = edit.at.0 as usize..(edit.range().end.0 as usize).min(sample.original.len());
                if !range.is_empty() {
                    expected[range.clone()].copy_from_slice(&sample.original[range]);
                }
            }
            // Old bytes that the edit has written over, and that nothing reads, can be invented: the new edit writes over
            // them again.
            let edited = |bytes: &[u8]| lay_over(&sample.plan, bytes);
            same(edited(&undone) == edited(&expected), true, &format!("round {round}: a forged journal is obeyed"))?;
        }
    }
    same(recognised > 5000, true, &format!("{recognised} journals got as far as the proof"))
}

/// The edits of a plan on other bytes than its own.
fn lay_over(plan: &Plan<'_>, original: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = original.to_vec();
    bytes.resize(plan.new_len as usize, 0);
    for edit in &plan.edits {
        let content = edit.content.resolve(original)?;
        bytes.get_mut(edit.at.0 as usize..)?.get_mut(..content.len())?.copy_from_slice(content);
    }
    Some(bytes)
}

fn change_in(bytes: &mut [u8], numbers: &mut Numbers) {
    let at = numbers.below(bytes.len());
    bytes[at] = bytes[at].wrapping_add(1 + numbers.below(255) as u8);
}

fn foreign() -> Done {
    let samples = samples();
    for (index, sample) in samples.iter().enumerate() {
        for other in samples.iter().skip(index + 1) {
            let mut bytes = sample.original.to_vec();
            bytes.resize(Undo::place(bytes.len().max(other.original.len()) as u64).ok_or("no place")? as usize, 0);
            bytes.extend(other.undo.encode());
            let taken = obeyed(&bytes);
            same(taken.is_none_or(|undone| undone == sample.original), true, "a foreign journal is obeyed")?;
        }
    }
    Ok(())
}

/// The note goes, says something else, or is new, with a descriptor of more than one block.
fn with_a_note() -> Done {
    let with = |descriptor: &[u8]| {
        let note = Resolution::new(descriptor);
        let mut spec = Spec::default().with(|spec| spec.resolution = vec![note]);
        spec.dynamic.insert(0, Entry::RunPath("/opt/old/with/a/name/longer/than/the/new/search/path".into()));
        // The note's segment ends the file.
        spec.sections = Sections::Before(spec.loads.len());
        spec.loads.push(Load::new(Access::Read, [Part::ResolutionNote(0)]));
        spec.headers.push(Header::Note(Part::ResolutionNote(0)));
        spec.build()
    };
    let without = || {
        let mut spec = Spec::default();
        spec.dynamic.insert(0, Entry::RunPath("/opt/old".into()));
        spec.headers.push(Header::Null);
        spec.headers.push(Header::Null);
        spec.build()
    };
    let old: &[u8] = b"libcuda.so.1\0=/nix/store/stubs/lib/stubs/libcuda.so.1\0\0";
    let long = [b"libx.so\0=/", &[b'n'; 6000][..], b"/libx.so\0\0"].concat();
    let path: &[u8] = b"/run/opengl-driver/lib:/opt/old";
    let cases = [
        (with(old)?, path, NoteChange::Drop, NoteOutcome::Dropped),
        (with(old)?, path, NoteChange::Renew(b"libcuda.so.1\0?/opt/old\0\0".to_vec()), NoteOutcome::Renewed),
        (with(old)?, path, NoteChange::Renew(long.clone()), NoteOutcome::Renewed),
        (without()?, b"/opt/old", NoteChange::Write(long), NoteOutcome::Written),
    ];
    for (original, path, note, outcome) in cases {
        let sample = Interrupted::of_change(original, path, note, Durability::Process);
        same(sample.plan.note, outcome, "what becomes of the note")?;
        for edits in 0..=sample.plan.edits.len() {
            let undone = obeyed(&sample.after(edits));
            same(undone.as_deref() == Some(sample.original), true, &format!("{outcome:?}, {edits} edits: taken back"))?;
        }
        // With what another note would say, it is no edit of ours.
        let mut forged = sample.undo.clone();
        forged.change.note = NoteChange::Renew(b"libcuda.so.1\0=/another/place\0\0".to_vec());
        let forged = Interrupted { undo: forged, original: sample.original, plan: sample.plan };
        same(obeyed(&forged.half()), None, &format!("{outcome:?} with another note"))?;
    }
    Ok(())
}

fn payload() -> Done {
    let lab = Lab::new()?;
    let library = Interrupted::of(sample("x86_64/libopens.so"), b"/run/opengl-driver/lib", Durability::Process);
    let mut bytes = sample("x86_64/program");
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 7);
    let start = bytes.len();
    bytes.extend(library.half());
    same(Journal::find(&bytes).is_some(), true, "the journal is seen")?;
    let path = lab.path("program");
    fs::write(&path, &bytes)?;
    driver_runpath([OsStr::new("fix"), path.as_os_str()]);
    same(fs::read(&path)?.get(start..) == bytes.get(start..), true, "the payload as it was")
}

fn not_a_loader() -> Done {
    let lab = Lab::new()?;
    let sample = Interrupted::of(sample("x86_64/libplain.so"), b"/some/where", Durability::Process);
    let path = lab.path("tree/libplain.so");
    fs::create_dir_all(lab.path("tree"))?;
    for command in [&["fix"][..], &["fix", "-v"], &["runpath", "shrink"], &["patchelf", "--shrink-rpath"]] {
        fs::write(&path, sample.half())?;
        let checked = driver_runpath([OsStr::new("check"), path.as_os_str()]);
        contains(&checked.err, "killed while it edited")?;
        let run = driver_runpath(command.iter().map(OsStr::new).chain([path.as_os_str()])).expect(0)?;
        contains(&run.err, "took back the edit of a run that was killed")?;
        same(fs::read(&path)? == sample.original, true, &format!("the file as it was before, {command:?}"))?;
    }
    Ok(())
}

fn kept() -> Done {
    let lab = Lab::new()?;
    let sample = Interrupted::of(sample("x86_64/libopens.so"), b"/some/where", Durability::Process);
    let (path, output) = (lab.path("libopens.so"), lab.path("output"));
    let expected = lab.path("expected");
    fs::write(&path, sample.original)?;
    let set = |to: &Path| {
        [
            OsStr::new("runpath"),
            OsStr::new("set"),
            OsStr::new("--output"),
            to.as_os_str(),
            OsStr::new("/x"),
            path.as_os_str(),
        ]
        .map(OsStr::to_owned)
    };
    driver_runpath(set(&expected)).expect(0)?;
    fs::write(&path, sample.half())?;
    driver_runpath([OsStr::new("fix"), OsStr::new("-n"), path.as_os_str()]).expect(0)?;
    same(fs::read(&path)? == sample.half(), true, "the file after a dry run")?;
    driver_runpath(set(&output)).expect(0)?;
    same(fs::read(&path)? == sample.half(), true, "the input of runpath --output")?;
    same(fs::read(&output)? == fs::read(&expected)?, true, "the output is one without the unfinished edit")?;
    let flags = ["patchelf", "--set-rpath", "/x", "--output"].map(OsStr::new);
    driver_runpath(flags.into_iter().chain([output.as_os_str(), path.as_os_str()])).expect(0)?;
    same(fs::read(&path)? == sample.half(), true, "the input of patchelf --output")?;
    // Printing writes nothing.
    for print in [["patchelf", "--print-rpath"], ["patchelf", "--print-needed"], ["runpath", "print"]] {
        driver_runpath(print.map(OsStr::new).into_iter().chain([path.as_os_str()])).expect(0)?;
        same(fs::read(&path)? == sample.half(), true, &format!("the file after {print:?}"))?;
    }
    Ok(())
}

fn protected() -> Done {
    let lab = Lab::new()?;
    let sample = Interrupted::of(sample("x86_64/libopens.so"), b"/some/where", Durability::Process);
    let path = lab.path("tree/libopens.so");
    fs::create_dir_all(lab.path("tree"))?;
    fs::write(&path, sample.half())?;
    fs::hard_link(&path, lab.path("outside"))?;
    let run = driver_runpath([OsStr::new("fix"), lab.path("tree").as_os_str()]).expect(1)?;
    contains(&run.err, "the file is unchanged")?;
    same(fs::read(&path)? == sample.half(), true, "the file with a hard link elsewhere")?;
    driver_runpath([OsStr::new("fix"), OsStr::new("--break-links"), path.as_os_str()]).expect(0)?;
    same(fs::read(lab.path("outside"))? == sample.half(), true, "the file behind the broken link")?;
    fs::write(lab.path("clean"), sample.original)?;
    driver_runpath([OsStr::new("fix"), lab.path("clean").as_os_str()]).expect(0)?;
    same(fs::read(&path)? == fs::read(lab.path("clean"))?, true, "the copy")
}

fn cut_off() -> Done {
    let lab = Lab::new()?;
    let long = format!("/run/opengl-driver/lib:/{}", "p".repeat(9000));
    for name in ["x86_64/libopens.so", "i386/program", "ppc64/libneeds.so", "aarch64/program-no-pie"] {
        let sample = Interrupted::of(sample(name), long.as_bytes(), Durability::Process);
        let blocks = sample.undo.encode();
        same(blocks.len() > 2 * BLOCK, true, "the path takes several blocks")?;
        for written in (BLOCK..blocks.len()).step_by(BLOCK) {
            let mut bytes = sample.original.to_vec();
            bytes.resize(Undo::place(sample.plan.new_len).ok_or("no place")? as usize, 0);
            bytes.extend(&blocks[..written]);
            same(obeyed(&bytes).as_deref() == Some(sample.original), true, "taken back")?;
            let path = lab.path("file");
            fs::write(&path, &bytes)?;
            contains(&driver_runpath([OsStr::new("check"), path.as_os_str()]).err, "killed while it edited")?;
            let run = driver_runpath([OsStr::new("runpath"), OsStr::new("shrink"), path.as_os_str()]).expect(0)?;
            contains(&run.err, "took back the edit of a run that was killed")?;
            same(fs::read(&path)?.len(), sample.original.len(), "what has grown is cut off")?;
            // What is not zero behind the file is somebody's.
            *bytes.get_mut(sample.original.len() + 1).ok_or("no growth")? = 1;
            same(obeyed(&bytes), None, "bytes of others")?;
        }
    }
    Ok(())
}

/// Each piece is put back from its end to its start, the last one first.
fn while_rolling_back() -> Done {
    for sample in samples() {
        let mut bytes = sample.after(sample.plan.edits.len());
        for (at, old) in sample.undo.ranges.iter().rev() {
            let (at, old) = (*at as usize, old.bytes());
            for done in [old.len() / 2, 0] {
                bytes[at + done..at + old.len()].copy_from_slice(&old[done..]);
                let is_store =
                    sample.plan.edits.iter().any(|edit| edit.at.0 as usize == at && edit.step == Step::Store);
                if done > 0 && is_store {
                    continue;
                }
                let undone = obeyed(&bytes).ok_or("an edit that is being taken back is not proven")?;
                same(undone == sample.original, true, "taken back")?;
            }
        }
    }
    Ok(())
}

fn after_a_power_failure() -> Done {
    let mut numbers = Numbers(7);
    for round in 0..200 {
        let durability = if round % 2 == 0 { Durability::Power } else { Durability::Process };
        let sample = Interrupted::of(sample("x86_64/libopens.so"), b"/run/opengl-driver/lib", durability);
        let mut some = sample.plan.clone();
        some.edits.retain(|_| numbers.below(2) == 0);
        let bytes = sample.with_journal(some.replay(usize::MAX).ok_or("an edit from nowhere")?);
        let is_prefix = (0..=sample.plan.edits.len()).any(|edits| sample.after(edits) == bytes);
        let undone = obeyed(&bytes);
        if durability == Durability::Power || is_prefix {
            same(undone.as_deref() == Some(sample.original), true, "taken back")?;
        } else {
            same(undone, None, "without --sync, edits are written in their order")?;
        }
    }
    Ok(())
}

fn overtaken() -> Done {
    let lab = Lab::new()?;
    let source = lab.path("p.c");
    fs::write(
        &source,
        "#include <math.h>\n#include <stdio.h>\nint main(int c, char **v) { printf(\"%f\\n\", cos(c)); return 0; }\n",
    )?;
    let path = lab.path("prog");
    let old = format!("-Wl,-rpath,/opt/{}", "a".repeat(60));
    for edits in [&["--remove-rpath"][..], &["--set-rpath", "/other"], &["--add-needed", "libdl.so.2"]] {
        succeed(Command::new("cc").arg(&source).arg(&old).arg("-o").arg(&path).arg("-lm"))?;
        let fix = |command: &mut Command| command.args(["fix", "--all", "--prepend", "/opt/yyy"]).arg(&path).output();
        let killed = fix(Command::new("strace")
            .args(["-o", "/dev/null", "-e", "inject=ftruncate:signal=KILL:when=1"])
            .arg(env!("CARGO_BIN_EXE_driver-runpath")))?;
        same(killed.status.success(), false, "the run is killed")?;
        same(Journal::find(&fs::read(&path)?).is_some(), true, "the journal is there")?;
        succeed(Command::new("patchelf").args(edits).arg(&path))?;
        succeed(&mut program(&path))?;
        fix(&mut Command::new(env!("CARGO_BIN_EXE_driver-runpath")))?;
        succeed(&mut program(&path))?;
        let table = Command::new("readelf").args(["-dW"]).arg(&path).output()?;
        let table = String::from_utf8_lossy(&table.stdout).into_owned();
        same(table.contains("aaaa"), edits[0] == "--add-needed", "the other tool's search path")?;
        same(table.contains("libdl.so.2"), edits[0] == "--add-needed", "the other tool's DT_NEEDED")?;
    }
    Ok(())
}
