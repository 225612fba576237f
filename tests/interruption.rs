//! Stopped anywhere, a file loads with the old search path or the new one, and a second run ends the job.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use driver_runpath::apply::Durability;
use driver_runpath::elf::Image;
use driver_runpath::journal::{Journal, Undo};
use driver_runpath::plan::{Change, Content, EntryFor, Plan, Rung, Step, plan};
use libtest_mimic::{Arguments, Failed, Trial};
use support::lab::{Lab, driver_runpath, program, run_copy, same, succeed};
use support::tools::{fix_with_faults, root_trial, trial};

type Done = Result<(), Failed>;

/// How a program is linked, and the rung that its file takes.
struct Case {
    name: &'static str,
    tools: &'static [&'static str],
    flags: &'static [&'static str],
    rung: Rung,
    entry: fn(EntryFor) -> bool,
    /// Bytes that make the new path too long for slack.
    padding: usize,
}

const CASES: [Case; 10] = [
    Case {
        name: "slack",
        tools: &["cc"],
        flags: &["-pie", "-fPIE", "-Wl,--enable-new-dtags,-rpath,@OLD@"],
        rung: Rung::Slack,
        entry: is_spare,
        padding: 0,
    },
    Case {
        name: "evict_no_pie_first_search_path",
        tools: &["cc"],
        flags: &["-no-pie", "-fno-pie"],
        rung: Rung::Evict,
        entry: is_spare,
        padding: 0,
    },
    Case {
        name: "slot_over_the_live_string",
        tools: &["cc"],
        flags: &["-pie", "-fPIE", "-Wl,--enable-new-dtags,-rpath,@LONGER@"],
        rung: Rung::Slot,
        entry: is_spare,
        padding: 0,
    },
    Case {
        name: "append_in_a_reused_note",
        tools: &["cc"],
        flags: &["-no-pie", "-fno-pie", "-fcf-protection=full", "-Wl,-z,noseparate-code", "-Wl,-rpath,@OLD@"],
        rung: Rung::Append,
        entry: is_spare,
        padding: 5000,
    },
    Case {
        name: "append_and_head",
        tools: &["cc", "ld.lld"],
        flags: &["-fuse-ld=lld", "-pie", "-fPIE", "-Wl,--build-id", "-Wl,-rpath,@OLD@"],
        rung: Rung::AppendHead,
        entry: is_spare,
        padding: 0,
    },
    Case {
        name: "append_and_head_with_the_count_of_relocations_given_up",
        tools: &["cc", "ld.lld"],
        flags: &["-fuse-ld=lld", "-pie", "-fPIE"],
        rung: Rung::AppendHead,
        entry: |entry| matches!(entry, EntryFor::GivenUp(_)),
        padding: 0,
    },
    Case {
        name: "append_and_head_with_the_dynamic_table_moved",
        tools: &["cc", "ld.lld"],
        flags: &["-fuse-ld=lld", "-no-pie", "-fno-pie"],
        rung: Rung::AppendHead,
        entry: |entry| entry == EntryFor::MovedTable,
        padding: 0,
    },
    Case {
        name: "append_and_head_with_the_note_before_the_segments",
        tools: &["cc", "mold"],
        flags: &["-fuse-ld=mold", "-pie", "-fPIE", "-Wl,-z,norelro", "-Wl,-rpath,@OLD@"],
        rung: Rung::AppendHead,
        entry: is_spare,
        padding: 0,
    },
    Case {
        name: "append_and_head_no_pie_with_the_note_before_the_segments",
        tools: &["cc", "mold"],
        flags: &["-fuse-ld=mold", "-no-pie", "-fno-pie", "-Wl,-z,norelro", "-Wl,-rpath,@OLD@"],
        rung: Rung::AppendHead,
        entry: is_spare,
        padding: 0,
    },
    Case {
        name: "evict",
        tools: &["cc"],
        flags: &["-pie", "-fPIE", "-Wl,--enable-new-dtags,-rpath,@OLD@", "-rdynamic", "-DMANY"],
        rung: Rung::Evict,
        entry: is_spare,
        padding: 0,
    },
];

fn is_spare(entry: EntryFor) -> bool {
    entry == EntryFor::Spare
}

fn main() {
    let mut trials: Vec<Trial> = CASES
        .iter()
        .map(|case| {
            trial(&format!("every_prefix_loads_and_is_taken_back::{}", case.name), case.tools, move || {
                every_prefix(case)
            })
        })
        .collect();
    trials.push(trial("killed_at_random_nothing_is_lost", &["cc"], killed));
    trials.push(trial("a_second_run_on_the_same_tree_waits", &["cc"], two_runs));
    trials.push(trial("a_failing_write_leaves_the_file_as_it_was", &["strace"], failing_writes));
    trials.push(trial("a_program_that_runs_is_refused_and_left_as_it_was", &["cc"], text_busy));
    trials.push(root_trial("set_user_id_bits_and_capabilities_stay", &[], privileges));
    trials.push(root_trial("a_full_disk_leaves_the_file_as_it_was", &["mount", "umount"], full_disk));
    trials.push(root_trial("a_read_only_file_system_leaves_the_file_as_it_was", &["mount", "umount"], read_only_mount));
    trials.push(root_trial("an_immutable_file_is_left_as_it_was", &["chattr"], immutable));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// A program that says which probe it finds, with one in the old path's directory and one in the new one's.
struct Probe {
    lab: Lab,
    path: PathBuf,
    new: Vec<u8>,
}

const PROGRAM: &str = r#"
#include <dlfcn.h>
#include <stdio.h>
#ifdef MANY
#define F(n) int a_function_with_a_rather_long_name_##n(void) { return n; }
#define G(n) F(n##0) F(n##1) F(n##2) F(n##3) F(n##4) F(n##5) F(n##6) F(n##7)
G(1) G(2) G(3) G(4) G(5) G(6) G(7) G(8) G(9) G(10) G(11) G(12)
#endif
int main(void) {
    void *probe = dlopen("libprobe.so", RTLD_NOW);
    puts(probe ? ((const char *(*)(void))dlsym(probe, "which"))() : "none");
    return 0;
}
"#;

impl Probe {
    fn new(flags: &[&str]) -> Result<Self, Failed> {
        let lab = Lab::new()?;
        for which in ["old", "new"] {
            let source = lab.path(&format!("{which}.c"));
            fs::write(&source, format!("const char *which(void) {{ return \"{which}\"; }}\n"))?;
            fs::create_dir_all(lab.path(which))?;
            let library = lab.path(which).join("libprobe.so");
            succeed(Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source))?;
        }
        fs::write(lab.path("program.c"), PROGRAM)?;
        let old = lab.path("old").display().to_string();
        let new = lab.path("new").display().to_string();
        // Longer than the new path, so that this fits over it.
        let longer = format!("{old}:/some/other/directory/{}", "x".repeat(40));
        let flags = flags.iter().map(|flag| flag.replace("@OLD@", &old).replace("@LONGER@", &longer));
        let path = lab.path("program");
        succeed(Command::new("cc").args(flags).arg("-o").arg(&path).arg(lab.path("program.c")))?;
        let new = format!("{new}:{old}").into_bytes();
        Ok(Self { lab, path, new })
    }

    /// Which probe the program finds.
    fn finds(&self) -> Result<String, Failed> {
        Self::run(&self.path)
    }

    fn run(path: &Path) -> Result<String, Failed> {
        // Another test that starts a program just now can hold our descriptor for a moment: "Text file busy".
        for _ in 0..1000 {
            match program(path).env("LD_BIND_NOW", "1").output() {
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(error.into()),
                Ok(output) if output.status.success() => {
                    return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
                }
                Ok(output) => return Err(format!("{output:?}").into()),
            }
        }
        Err("the program stays busy".into())
    }

    fn plan<'data>(&self, bytes: &'data [u8]) -> Result<Plan<'data>, Failed> {
        let image = Image::parse(bytes)?;
        let change = Change::new(driver_runpath::decide::Tag::Runpath, self.new.clone());
        Ok(plan(&image, &change).map_err(|refusal| refusal.to_string())?)
    }
}

fn every_prefix(case: &Case) -> Done {
    let mut probe = Probe::new(case.flags)?;
    if case.padding > 0 {
        probe.new.extend(format!(":/{}", "p".repeat(case.padding)).bytes());
    }
    let original = fs::read(&probe.path)?;
    let plan = probe.plan(&original)?;
    same(plan.rung, case.rung, "rung")?;
    same((case.entry)(plan.entry), true, "the way of the entry")?;
    let undo = Undo::of_bytes(&original, &plan, Durability::Process).ok_or("an edit outside the file")?;
    let done = plan.replay(plan.edits.len()).ok_or("an edit from nowhere")?;
    let before = probe.finds()?;
    let mut seen = Vec::new();
    for state in states(&original, &plan)? {
        let mut bytes = state;
        bytes.resize(usize::try_from(plan.new_len)?, 0);
        bytes.resize(usize::try_from(Undo::place(plan.new_len).ok_or("no place")?)?, 0);
        bytes.extend(undo.encode());
        fs::write(&probe.path, &bytes)?;
        let found = probe.finds()?;
        if found != before && found != "new" {
            return Err(format!("{found:?} is found after {} states", seen.len()).into());
        }
        seen.push(found == "new");
        same(taken_back(&bytes)?.is_some_and(|back| back == original), true, "taken back")?;
    }
    same(seen.first().copied(), Some(false), "the first state")?;
    same(seen.last().copied(), Some(true), "the last state")?;
    same(seen.windows(2).filter(|pair| pair[0] != pair[1]).count(), 1, "switches")?;
    let checked = driver_runpath([OsStr::new("check"), probe.path.as_os_str()]);
    same(checked.err.contains("killed while it edited"), true, "check says so")?;
    // The binary itself ends the job, with the driver's directory in front.
    let driver = probe.lab.path("driver").display().to_string();
    let link = format!("--driver-link={driver}");
    let args = || [OsStr::new("fix"), OsStr::new("--all"), OsStr::new(&link), probe.path.as_os_str()];
    fs::write(&probe.path, &original)?;
    driver_runpath(args()).expect(0)?;
    let uninterrupted = fs::read(&probe.path)?;
    let middle = states(&original, &plan)?.into_iter().nth(seen.len() / 2).ok_or("no state in the middle")?;
    for mut bytes in [middle, done] {
        bytes.resize(usize::try_from(Undo::place(plan.new_len).ok_or("no place")?)?, 0);
        bytes.extend(undo.encode());
        fs::write(&probe.path, &bytes)?;
        driver_runpath(args()).expect(0)?;
        same(fs::read(&probe.path)? == uninterrupted, true, "the result of a run that was not interrupted")?;
    }
    Ok(())
}

/// The file before the edit that the journal at its end records, if that proves itself.
fn taken_back(bytes: &[u8]) -> Result<Option<Vec<u8>>, Failed> {
    let journal = Journal::find(bytes).ok_or("no journal is found")?;
    let mut undone = bytes.get(..usize::try_from(journal.old_len())?).ok_or("longer than the file")?.to_vec();
    Ok(journal.prove(bytes, &mut undone).map(|_| undone))
}

/// The file after every edit, and in the middle of those that are written in pieces.
fn states(original: &[u8], plan: &Plan<'_>) -> Result<Vec<Vec<u8>>, Failed> {
    let mut states = vec![original.to_vec()];
    for (count, edit) in plan.edits.iter().enumerate() {
        if edit.step == Step::Fill && edit.content.len() > 1 {
            let mut half = plan.clone();
            let content = edit.content.resolve(original).ok_or("an edit from nowhere")?;
            let bytes = content.get(..content.len() / 2).ok_or("no half")?.to_vec();
            half.edits.truncate(count + 1);
            half.edits[count].content = Content::Bytes(bytes);
            states.push(half.replay(count + 1).ok_or("an edit from nowhere")?);
        }
        states.push(plan.replay(count + 1).ok_or("an edit from nowhere")?);
    }
    Ok(states)
}

/// `DRIVER_RUNPATH_KILLS` is the number of kills; a few in the default tests.
fn killed() -> Done {
    let kills: u32 = std::env::var("DRIVER_RUNPATH_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let probe = Probe::new(&["-pie", "-fPIE", "-Wl,--enable-new-dtags,-rpath,@OLD@"])?;
    let original = fs::read(&probe.path)?;
    let tree = probe.lab.path("tree");
    let names: Vec<PathBuf> = (0..40).map(|number| tree.join(format!("program{number}"))).collect();
    let driver = probe.lab.path("driver");
    fs::create_dir_all(driver.join("lib"))?;
    fs::copy(probe.lab.path("new/libprobe.so"), driver.join("lib/libprobe.so"))?;
    let mut link = std::ffi::OsString::from("--driver-link=");
    link.push(&driver);
    let (mut stopped, mut delay) = (0, 0u64);
    while stopped < kills {
        if stopped % 10 == 0 {
            let _ = fs::remove_dir_all(&tree);
            fs::create_dir_all(&tree)?;
            for name in &names {
                fs::copy(&probe.path, name)?;
            }
        }
        let mut run = Command::new(env!("CARGO_BIN_EXE_driver-runpath"))
            .args([OsStr::new("fix"), OsStr::new("--all"), &link, tree.as_os_str()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        // Spread over the time of a run by a step that is prime to it.
        delay = (delay + 371) % 6000;
        std::thread::sleep(Duration::from_micros(delay));
        run.kill()?;
        let mut said = String::new();
        if let Some(mut stderr) = run.stderr.take() {
            stderr.read_to_string(&mut said)?;
        }
        run.wait()?;
        // What the run before has left.
        let others: Vec<_> = said.lines().filter(|line| !line.contains("took back the edit of a run")).collect();
        same(others, Vec::new(), "errors")?;
        stopped += 1;
        for name in names.iter().skip(stopped as usize % 7).step_by(7) {
            let found = Probe::run(name)?;
            same(["old", "new"].contains(&found.as_str()), true, "old or new")?;
        }
    }
    driver_runpath([OsStr::new("fix"), OsStr::new("--all"), &link, tree.as_os_str()]).expect(0)?;
    let mut uninterrupted = None;
    for name in &names {
        same(Probe::run(name)?.as_str(), "new", "found in the end")?;
        let bytes = fs::read(name)?;
        let expected = uninterrupted.get_or_insert_with(|| bytes.clone());
        same(bytes == *expected, true, "all files are the same in the end")?;
    }
    same(uninterrupted.is_some_and(|bytes| bytes.len() == original.len()), true, "nothing is left behind the file")
}

fn two_runs() -> Done {
    let probe = Probe::new(&["-pie", "-fPIE"])?;
    for _ in 0..20 {
        let tree = probe.lab.path("tree");
        let _ = fs::remove_dir_all(&tree);
        fs::create_dir_all(&tree)?;
        for number in 0..20 {
            fs::copy(&probe.path, tree.join(format!("program{number}")))?;
        }
        let start = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_driver-runpath"));
            command.args([OsStr::new("fix"), OsStr::new("--all"), tree.as_os_str()]).stdout(Stdio::piped()).spawn()
        };
        let (first, second) = (start()?, start()?);
        for run in [first, second] {
            let output = run.wait_with_output()?;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            same(output.status.code(), Some(0), &said)?;
        }
        let mut contents: Vec<Vec<u8>> = Vec::new();
        for number in 0..20 {
            contents.push(fs::read(tree.join(format!("program{number}")))?);
        }
        contents.dedup();
        same(contents.len(), 1, "different results")?;
    }
    Ok(())
}

/// Each write, cut and map fails once, by each error: the file must be as it was, and the message name the error.
fn failing_writes() -> Done {
    let lab = Lab::new()?;
    let path = lab.fixture("x86_64/libopens.so", "libopens.so")?;
    let original = fs::read(&path)?;
    let mut failures = 0;
    for (call, error, message) in [
        ("pwrite64", "EIO", "Input/output error"),
        ("pwrite64", "ENOSPC", "No space left on device"),
        ("pwrite64", "EDQUOT", "Disk quota exceeded"),
        ("ftruncate", "EIO", "Input/output error"),
    ] {
        for number in 1..40 {
            fs::write(&path, &original)?;
            let inject = format!("error={error}:when={number}");
            let output = fix_with_faults(&lab, &path, call, &inject)?;
            if output.status.code() == Some(0) {
                // There are fewer such calls than that.
                break;
            }
            failures += 1;
            same(output.status.code(), Some(2), &format!("status, {inject}"))?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            support::lab::contains(&said, message)?;
            same(fs::read(&path)? == original, true, &format!("the file as it was, {inject}"))?;
        }
    }
    same(failures >= 10, true, "enough calls failed")
}

fn text_busy() -> Done {
    let lab = Lab::new()?;
    let source = lab.path("waits.c");
    fs::write(&source, "#include <stdio.h>\nint main(void) { puts(\"up\"); fflush(stdout); getchar(); return 0; }\n")?;
    let path = lab.path("waits");
    succeed(Command::new("cc").arg("-o").arg(&path).arg(&source))?;
    let original = fs::read(&path)?;
    let mut running = program(&path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut up = [0; 3];
    running.stdout.as_mut().ok_or("no output")?.read_exact(&mut up)?;
    let run = driver_runpath([OsStr::new("fix"), OsStr::new("--all"), path.as_os_str()]);
    running.kill()?;
    running.wait()?;
    let run = run.expect(2)?;
    support::lab::contains(&run.err, "Text file busy")?;
    same(fs::read(&path)? == original, true, "the file as it was")
}

fn privileges() -> Done {
    const NOBODY: u32 = 65534;
    // vfs_cap_data, version 2: cap_net_raw permitted (linux/capability.h).
    const CAPABILITY: [u8; 20] = [0, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let lab = Lab::new()?;
    fs::set_permissions(lab.root(), fs::Permissions::from_mode(0o755))?;
    let binary = lab.path("driver-runpath");
    fs::copy(env!("CARGO_BIN_EXE_driver-runpath"), &binary)?;
    let path = lab.fixture("x86_64/program", "program")?;
    std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o6755))?;
    // To an ordinary owner's write the kernel answers by taking the bits away.
    let run = run_copy(Command::new(&binary).arg("fix").arg(&path).uid(NOBODY).gid(NOBODY))?.expect(0)?;
    support::lab::contains(&run.out, "1 changed")?;
    same(support::lab::stat(&path)?.0, 0o6755, "mode")?;

    let path = lab.fixture("x86_64/program", "capable")?;
    let file = fs::OpenOptions::new().write(true).open(&path)?;
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::fsetxattr(&file, "security.capability", &CAPABILITY, flags).is_err() {
        // A file system without capabilities has none to keep.
        return Ok(());
    }
    drop(file);
    driver_runpath([OsStr::new("fix"), path.as_os_str()]).expect(0)?;
    let mut value = [0; 64];
    let len = rustix::fs::getxattr(&path, "security.capability", &mut value)?;
    same(value.get(..len), Some(&CAPABILITY[..]), "capabilities")
}

/// A directory of its own file system, gone when dropped.
struct Mount {
    lab: Lab,
    dir: PathBuf,
}

impl Mount {
    fn new(options: &str) -> Result<Option<Self>, Failed> {
        let lab = Lab::new()?;
        let dir = lab.path("mount");
        fs::create_dir(&dir)?;
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&dir).output()?;
        // A container's root may not mount.
        Ok(mounted.status.success().then_some(Self { lab, dir }))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.dir).status();
    }
}

fn full_disk() -> Done {
    let Some(mount) = Mount::new("size=64k")? else { return Ok(()) };
    let path = mount.dir.join("libopens.so");
    let original = fs::read(support::lab::testdata().join("prebuilt/mips/libopens.so"))?;
    fs::write(&path, &original)?;
    // All but nothing of the rest.
    let _ = fs::write(mount.dir.join("rest"), vec![1; 64 << 10]);
    let run = driver_runpath([OsStr::new("fix"), path.as_os_str()]).expect(2)?;
    support::lab::contains(&run.err, "No space left on device")?;
    same(fs::read(&path)? == original, true, "the file as it was")?;
    fs::remove_file(mount.dir.join("rest"))?;
    driver_runpath([OsStr::new("fix"), path.as_os_str()]).expect(0)?;
    Ok(())
}

fn read_only_mount() -> Done {
    let Some(mount) = Mount::new("size=1m")? else { return Ok(()) };
    let path = mount.dir.join("libopens.so");
    let original = fs::read(support::lab::testdata().join("prebuilt/x86_64/libopens.so"))?;
    fs::write(&path, &original)?;
    succeed(Command::new("mount").args(["-o", "remount,ro"]).arg(&mount.dir))?;
    let run = driver_runpath([OsStr::new("fix"), path.as_os_str()]).expect(2)?;
    support::lab::contains(&run.err, "Read-only file system")?;
    same(mount.lab.root().exists() && fs::read(&path)? == original, true, "the file as it was")
}

fn immutable() -> Done {
    let lab = Lab::new()?;
    let path = lab.fixture("x86_64/libopens.so", "libopens.so")?;
    let original = fs::read(&path)?;
    if !Command::new("chattr").arg("+i").arg(&path).output()?.status.success() {
        // A file system without the attribute.
        return Ok(());
    }
    let run = driver_runpath([OsStr::new("fix"), path.as_os_str()]);
    succeed(Command::new("chattr").arg("-i").arg(&path))?;
    support::lab::contains(&run.expect(2)?.err, "Operation not permitted")?;
    same(fs::read(&path)? == original, true, "the file as it was")
}
