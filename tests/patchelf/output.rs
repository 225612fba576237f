//! `--output`: a file, a link, a device, the file itself, and where there is no room or no permission.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use libtest_mimic::{Failed, Trial};

use super::support::lab::{Lab, Ran, contains, run_copy, same, stat};
use super::support::referee::Tag;
use super::{Done, check, edit, patchelf, program_with};

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("an_output_is_written_also_without_a_change", unchanged_copy),
        Trial::test("an_output_that_is_there_keeps_its_mode_and_the_input_its_bytes", existing),
        Trial::test("an_output_that_is_a_link_stays_one", link),
        Trial::test("an_output_that_is_a_device_stays_one", device),
        Trial::test("an_output_that_is_the_input_is_an_edit_in_place", itself),
        Trial::test("an_output_keeps_holes", holes),
        Trial::test("what_cannot_be_written_leaves_everything_as_it_was", unwritable),
        Trial::test("an_output_in_a_directory_of_someone_else_is_refused", not_permitted),
        full_disk(),
    ]
}

/// Runs with `--output`; the input must stay as it is, and nothing be left beside the output.
fn written(arguments: &[&str], input: &Path, output: &Path) -> Result<Ran, Failed> {
    let before = (fs::read(input)?, stat(input)?);
    let names = |path: &Path| -> Result<Vec<_>, Failed> {
        let Some(parent) = path.parent().filter(|parent| parent.is_dir()) else { return Ok(Vec::new()) };
        let names = fs::read_dir(parent)?.map(|entry| Ok(entry?.file_name()));
        names.filter(|name| name.as_ref().ok() != path.file_name().map(OsStr::to_owned).as_ref()).collect()
    };
    let others = names(output)?;
    let all = arguments.iter().map(OsStr::new).chain([OsStr::new("--output"), output.as_os_str(), input.as_os_str()]);
    let run = patchelf(&all.collect::<Vec<_>>());
    if fs::metadata(output).ok().map(|stat| stat.ino()) != Some(before.1.2) {
        same((fs::read(input)?, stat(input)?) == before, true, "the input is as it was")?;
    }
    same(names(output)?.len(), others.len(), "files beside the output")?;
    Ok(run)
}

fn unchanged_copy() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Runpath, &lab, "in/program")?;
    fs::create_dir(lab.path("out"))?;
    for (name, arguments) in [("same", &["--set-rpath", "/opt/lib"][..]), ("none", &[]), ("print", &["--print-rpath"])]
    {
        let output = lab.path("out").join(name);
        written(arguments, &path, &output)?.expect(0)?;
        same(fs::read(&output)? == fs::read(&path)?, true, "bytes")?;
        same(stat(&output)?.0 & 0o700, 0o700, "mode of a new file, as a linker's")?;
    }
    Ok(())
}

fn existing() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Runpath, &lab, "in/program")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o555))?;
    let output = lab.fixture("x86_64/libplain.so", "out/there")?;
    fs::set_permissions(&output, fs::Permissions::from_mode(0o640))?;
    let inode = stat(&output)?.2;
    written(&["--set-rpath", "/a"], &path, &output)?.expect(0)?;
    check(&fs::read(&path)?, &output, Some(Tag::Runpath), Some("/a"))?;
    same(stat(&output)?.0, 0o640, "mode")?;
    same(stat(&output)?.2 == inode, false, "a new file took the name")
}

fn link() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Runpath, &lab, "in/program")?;
    lab.fixture("x86_64/libplain.so", "target/file")?;
    fs::create_dir(lab.path("out"))?;
    // One to a file, one to a place where a file is to be.
    for (name, target) in [("there", "../target/file"), ("dangling", "../target/new")] {
        let output = lab.path("out").join(name);
        symlink(target, &output)?;
        written(&["--set-rpath", "/a"], &path, &output)?.expect(0)?;
        same(fs::read_link(&output)?.to_str(), Some(target), "the link")?;
        same(edit(&["--print-rpath"], &lab.path("out").join(target))?.as_str(), "/a\n", "the file behind it")?;
    }
    let circle = lab.path("out/circle");
    symlink("circle", &circle)?;
    contains(&written(&["--set-rpath", "/a"], &path, &circle)?.expect(1)?.err, "Too many levels of symbolic links")
}

fn device() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Runpath, &lab, "program")?;
    let kind = || fs::metadata("/dev/null").map(|stat| (stat.mode(), stat.rdev()));
    let before = kind()?;
    for arguments in [&["--set-rpath", "/a"][..], &[]] {
        let all: Vec<&OsStr> = arguments.iter().chain(&["--output", "/dev/null"]).map(OsStr::new).collect();
        patchelf(&[&all[..], &[path.as_os_str()]].concat()).expect(0)?;
    }
    same(kind()?, before, "/dev/null")
}

fn itself() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Runpath, &lab, "program")?;
    let other = lab.path("other");
    fs::hard_link(&path, &other)?;
    written(&["--set-rpath", "/a"], &path, &other)?.expect(0)?;
    same(edit(&["--print-rpath"], &path)?.as_str(), "/a\n", "search path")?;
    same(stat(&path)?.2, stat(&other)?.2, "inode")
}

fn holes() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Runpath, &lab, "in/program")?;
    fs::create_dir(lab.path("out"))?;
    // Bytes behind the ELF image stay; these are a hole of 64 MiB.
    fs::OpenOptions::new().write(true).open(&path)?.set_len(64 << 20)?;
    let output = lab.path("out/program");
    written(&["--set-rpath", "/a"], &path, &output)?.expect(0)?;
    let (from, to) = (fs::metadata(&path)?, fs::metadata(&output)?);
    same(to.len(), from.len(), "size")?;
    same(to.blocks() <= from.blocks() + 16, true, "blocks")
}

fn unwritable() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Runpath, &lab, "in/program")?;
    let directory = lab.path("directory");
    fs::create_dir(&directory)?;
    for (output, why) in [
        (lab.path("missing/program"), "cannot create a file beside it: "),
        (lab.path("in/program/x"), "cannot create a file beside it: not a directory"),
        (directory.clone(), "cannot write the output: "),
        ("/dev/full".into(), "cannot write the output: No space left on device"),
    ] {
        contains(&written(&["--set-rpath", "/a"], &path, &output)?.expect(1)?.err, why)?;
    }
    same(fs::read_dir(directory)?.count(), 0, "files in the directory")
}

/// Root may write everywhere, so as root this runs as the user `nobody`.
fn not_permitted() -> Done {
    const NOBODY: u32 = 65534;
    let lab = Lab::new()?;
    fs::set_permissions(lab.root(), fs::Permissions::from_mode(0o755))?;
    let path = program_with(Tag::Runpath, &lab, "program")?;
    let before = fs::read(&path)?;
    let binary = lab.path("patchelf");
    fs::copy(env!("CARGO_BIN_EXE_driver-runpath"), &binary)?;
    if !rustix::process::geteuid().is_root() {
        for name in [lab.root(), &path] {
            fs::set_permissions(name, fs::Permissions::from_mode(0o555))?;
        }
        // The owner may change the mode back, and the editor does: only the output is to be refused.
    }
    let run = |output: Option<&str>| {
        let mut command = Command::new(&binary);
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.args(["--set-rpath", "/a"]).arg(&path);
        command.args(output.map(|name| ["--output".into(), lab.path(name).into_os_string()]).into_iter().flatten());
        run_copy(&mut command)
    };
    let output = run(Some("output"))?;
    let in_place = if rustix::process::geteuid().is_root() { Some(run(None)?) } else { None };
    fs::set_permissions(lab.root(), fs::Permissions::from_mode(0o755))?;
    contains(&output.expect(1)?.err, "cannot create a file beside it: permission denied")?;
    if let Some(run) = in_place {
        contains(&run.expect(1)?.err, "cannot open for writing: Permission denied")?;
    }
    same(fs::read(&path)? == before, true, "bytes")
}

/// Needs the right to mount a file system of one page more than the input.
fn full_disk() -> Trial {
    const NAME: &str = "on_a_full_disk_nothing_changes";
    let possible = || -> Result<(Lab, Mounted), Failed> {
        let lab = Lab::new()?;
        let mounted = Mounted::new(&lab)?;
        Ok((lab, mounted))
    };
    if possible().is_err() {
        return Trial::test(NAME, || Ok(())).with_kind("needs the right to mount a tmpfs").with_ignored_flag(true);
    }
    Trial::test(NAME, move || {
        let (lab, mounted) = possible()?;
        let path = program_with(Tag::Runpath, &lab, "program")?;
        let before = fs::read(&path)?;
        let there = mounted.0.join("there");
        fs::copy(&path, &there)?;
        // A new file has no room.
        let run = written(&["--set-rpath", "/a"], &path, &mounted.0.join("new"))?.expect(1)?;
        contains(&run.err, "No space left on device")?;
        // Nor has a file that must grow.
        let long = "/long".repeat(4000);
        let run = patchelf(&[OsStr::new("--set-rpath"), OsStr::new(&long), there.as_os_str()]).expect(1)?;
        contains(&run.err, "No space left on device")?;
        same(fs::read(&there)? == before, true, "bytes")?;
        same(fs::read(&path)? == before, true, "bytes")
    })
}

struct Mounted(std::path::PathBuf);

impl Mounted {
    fn new(lab: &Lab) -> Result<Self, Failed> {
        let place = lab.path("disk");
        fs::create_dir(&place)?;
        let size = fs::metadata(super::support::lab::testdata().join("prebuilt/x86_64/program"))?.len();
        let options = format!("size={}", size.next_multiple_of(4096) + 4096);
        let arguments = [OsStr::new("-t"), OsStr::new("tmpfs"), OsStr::new("-o"), OsStr::new(&options)];
        let done = Command::new("mount").args(arguments).args([OsStr::new("none"), place.as_os_str()]).output()?;
        if done.status.success() { Ok(Self(place)) } else { Err("cannot mount".into()) }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}
