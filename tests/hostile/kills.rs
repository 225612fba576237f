//! Runs that are killed, then, half of the times, another tool's edit, then a second run: what loaded before that run
//! loads after it, and nobody's edit is lost.
//!
//! `DRIVER_RUNPATH_KILLS` is the number of kills.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use driver_runpath::journal::Journal;
use libtest_mimic::{Failed, Trial};

use super::Done;
use super::journals::Numbers;
use super::support::lab::{Lab, program, same, succeed};
use super::support::tools::trial;

pub fn trials() -> Vec<Trial> {
    let needs = &["cc", "patchelf", "chrpath", "readelf"];
    vec![trial("after_a_kill_and_another_tools_edit_files_load_and_the_edit_is_there", needs, kills)]
}

/// Files of a tree.
const FILES: usize = 16;

/// How another tool edits, and what readelf then says of the file whatever we do afterwards: something that is there,
/// something that is not.
struct Other {
    command: &'static [&'static str],
    has: &'static str,
    lacks: &'static str,
}

/// The first one keeps the size of the file. Before 0.15, what the last one makes of a program has its notes under the
/// program headers.
const OTHERS: [Other; 4] = [
    Other { command: &["chrpath", "-r", "/other"], has: "/other", lacks: "/opt/aaaa" },
    Other { command: &["patchelf", "--set-rpath", "/other"], has: "/other", lacks: "/opt/aaaa" },
    Other { command: &["patchelf", "--remove-rpath"], has: "", lacks: "/opt/aaaa" },
    Other { command: &["patchelf", "--add-needed", "libdl.so.2"], has: "libdl.so.2", lacks: "nothing" },
];

/// Those that leave notes alone.
fn others() -> Result<&'static [Other], Failed> {
    let version = succeed(Command::new("patchelf").arg("--version"))?;
    let is_old = (0..15).any(|minor| version.starts_with(&format!("patchelf 0.{minor}.")));
    Ok(if is_old { &OTHERS[..3] } else { &OTHERS })
}

#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    in_an_edit: usize,
    edited_by_others: usize,
    refused_by_others: usize,
    broken_by_others: usize,
}

fn kills() -> Done {
    let kills: usize = std::env::var("DRIVER_RUNPATH_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let lab = Lab::new()?;
    let original = compiled(&lab)?;
    let others = others()?;
    let mut numbers = Numbers(5);
    let mut tally = Tally::default();
    let durations = [&[][..], &["--sync"]].map(|options| duration(&lab, &original, options));
    while tally.kills < kills {
        // With and without --sync, each with and without another's edit.
        let sync = tally.kills % 2;
        let options = if sync == 1 { &["--sync"][..] } else { &[] };
        let whole = durations[sync].as_ref().map_err(|failed| format!("{failed:?}"))?;
        let files = tree(&lab, &original)?;
        let mut run = fix(&lab, options).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        match tally.kills / 4 % 4 {
            // At any time.
            0 => std::thread::sleep(whole.mul_f64(numbers.below(1000) as f64 / 1000.0)),
            // While some file has a journal behind its end.
            _ => {
                wait_for_an_edit(&files, fs::metadata(&original)?.len(), *whole * 3);
                std::thread::sleep(Duration::from_micros(numbers.below(300) as u64));
            }
        }
        run.kill()?;
        run.wait()?;
        let other = (tally.kills / 2 % 2 == 1).then(|| &others[numbers.below(others.len())]);
        tally.kills += 1;
        second_run(&lab, &files, other, &mut tally)?;
    }
    println!("{tally:?}; 0 files that load no longer after a run of ours, 0 edits lost");
    same(tally.broken_by_others <= kills / 20, true, &format!("files that others broke: {tally:?}"))?;
    same(tally.in_an_edit > kills / 8, true, &format!("enough kills in the middle of an edit: {tally:?}"))
}

fn wait_for_an_edit(files: &[PathBuf], len: u64, most: Duration) {
    let start = Instant::now();
    let has_begun = |file: &PathBuf| fs::metadata(file).is_ok_and(|stat| stat.len() != len);
    while start.elapsed() < most && !files.iter().any(has_begun) {
        std::hint::spin_loop();
    }
}

/// What is there after the kill loads; so it does after the other's edit, and after another run of ours.
fn second_run(lab: &Lab, files: &[PathBuf], other: Option<&Other>, tally: &mut Tally) -> Done {
    let mut looked_at = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let is_interrupted = Journal::find(&fs::read(file)?).is_some();
        tally.in_an_edit += usize::from(is_interrupted);
        if !is_interrupted && index % 8 != 0 {
            continue;
        }
        loads(file, "after the kill")?;
        let mut is_edited = false;
        if let Some(other) = other {
            let done = Command::new(other.command[0]).args(&other.command[1..]).arg(file).output()?;
            is_edited = done.status.success();
            // chrpath takes a path that is no longer than the old one alone; patchelf of a file without one changes nothing.
            tally.refused_by_others += usize::from(!is_edited);
            tally.edited_by_others += usize::from(is_edited);
            // Editors that go by section headers can break a file whose section headers are not switched yet.
            if let Err(broken) = loads(file, &format!("after {:?}", other.command)) {
                tally.broken_by_others += 1;
                if is_interrupted { continue } else { return Err(broken) }
            }
        }
        looked_at.push((file, is_edited));
    }
    let output = fix(lab, &[]).output()?;
    same(output.status.success(), true, &String::from_utf8_lossy(&output.stderr))?;
    for (file, is_edited) in looked_at {
        loads(file, &format!("after the second run, {:?}", other.map(|other| other.command)))?;
        let table = succeed(Command::new("readelf").args(["-dW"]).arg(file))?;
        same(table.contains("/opt/driver/lib"), true, "the driver's directory")?;
        if let Some(other) = other.filter(|_| is_edited) {
            let kept = table.contains(other.has) && !table.contains(other.lacks);
            same(kept, true, &format!("{:?} is kept: {table}", other.command))?;
        }
        // A journal that another's edit has outdated proves nothing, and stays as any payload does.
        same(is_edited || Journal::find(&fs::read(file)?).is_none(), true, "nothing is left behind the file")?;
    }
    Ok(())
}

fn compiled(lab: &Lab) -> Result<PathBuf, Failed> {
    let (source, to) = (lab.path("p.c"), lab.path("program"));
    let functions: String =
        (0..300).map(|n| format!("int a_function_with_a_long_name_{n}(void) {{ return {n}; }}\n")).collect();
    let main =
        "#include <math.h>\n#include <stdio.h>\nint main(int c, char **v) { printf(\"%f\\n\", cos(c)); return 0; }\n";
    fs::write(&source, format!("{main}{functions}"))?;
    let path = format!("-Wl,--enable-new-dtags,-rpath,/opt/aaaa:/opt/{}", "b".repeat(60));
    succeed(
        Command::new("cc")
            .args(["-rdynamic", "-Wno-unused-parameter"])
            .arg(&source)
            .arg(path)
            .arg("-o")
            .arg(&to)
            .arg("-lm"),
    )?;
    Ok(to)
}

fn tree(lab: &Lab, original: &Path) -> Result<Vec<PathBuf>, Failed> {
    let tree = lab.path("tree");
    let _ = fs::remove_dir_all(&tree);
    fs::create_dir_all(&tree)?;
    let files: Vec<_> = (0..FILES).map(|number| tree.join(format!("program{number}"))).collect();
    for file in &files {
        fs::copy(original, file)?;
    }
    Ok(files)
}

fn fix(lab: &Lab, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_driver-runpath"));
    let driver = "--driver-link=/opt/driver";
    command.args(["fix", "--all", driver].iter().chain(options).map(OsStr::new)).arg(lab.path("tree"));
    command
}

/// How long a run takes that is not killed.
fn duration(lab: &Lab, original: &Path, options: &[&str]) -> Result<Duration, Failed> {
    tree(lab, original)?;
    let start = Instant::now();
    succeed(&mut fix(lab, options))?;
    Ok(start.elapsed())
}

fn loads(file: &Path, when: &str) -> Done {
    let output = super::support::lab::run_copy(program(file).env("LD_BIND_NOW", "1"))?;
    same((output.status, output.out.as_str()), (0, "0.540302\n"), &format!("{when}: {}", output.err))
}
