//! What cannot be done is said, and nothing is touched.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use libtest_mimic::Trial;

use super::runpath::runpath;
use super::support::lab::{Lab, contains, driver_runpath, same, stat};
use super::support::referee::Tag;
use super::{Done, patchelf, program_with};

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("a_flag_that_is_not_ours_is_refused_before_anything_is_touched", foreign_flags),
        Trial::test("conflicting_flags_are_refused", conflicts),
        Trial::test("a_value_with_a_nul_is_refused", nul),
        Trial::test("an_empty_entry_is_warned_of", empty_entry),
        Trial::test("what_is_no_dynamic_file_is_said_in_patchelfs_words", not_elf),
        Trial::test("runpath_names_what_is_wrong", runpath_errors),
    ]
}

/// Fails if `path` is touched by running patchelf with these arguments before it, or if that does not say `why`.
fn refused(arguments: &[&str], path: &Path, why: &str) -> Done {
    let before = (fs::read(path)?, stat(path)?);
    let all: Vec<&OsStr> = arguments.iter().map(OsStr::new).chain([path.as_os_str()]).collect();
    let run = patchelf(&all).expect(1)?;
    contains(&run.err, why)?;
    same(run.err.starts_with("patchelf: "), true, "who says it")?;
    same((fs::read(path)?, stat(path)?) == before, true, "bytes, mode, time, inode")
}

fn foreign_flags() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Runpath, &lab, "program")?;
    let name = path.display().to_string();
    for flags in [
        &["--set-interpreter", "/lib/ld.so"][..],
        &["--add-needed", "liba.so"],
        &["--replace-needed", "liba.so", "libb.so"],
        &["--set-soname", "liba.so"],
        &["--print-execstack"],
        &["--a-flag-of-a-later-version"],
    ] {
        let all = [&["--set-rpath", "/a", &name], flags].concat();
        refused(&all, &path, &format!("{}: this is driver-runpath", flags[0]))?;
        refused(&all, &path, "patchelf itself is the tool")?;
    }
    Ok(())
}

fn conflicts() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Runpath, &lab, "program")?;
    let name = path.display().to_string();
    refused(&["--set-rpath", "/a", "--add-rpath", "/b"], &path, "--set-rpath option not allowed with --add-rpath")?;
    refused(&["--remove-rpath", "--set-rpath", "/b"], &path, "--remove-rpath option not allowed with --set-rpath")?;
    let output = lab.path("output").display().to_string();
    refused(&["--output", &output, "--remove-rpath", &name], &path, "--output option only allowed with single input")?;
    refused(&["--page-size", "none"], &path, "invalid argument to --page-size")?;
    same(lab.path("output").exists(), false, "the output")
}

fn nul() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Runpath, &lab, "program")?;
    fs::write(lab.path("value"), b"/a\0/b")?;
    let value = format!("@{}", lab.path("value").display());
    for flag in ["--set-rpath", "--add-rpath"] {
        refused(&[flag, &value], &path, "a search path cannot hold a NUL byte")?;
    }
    refused(&["--set-rpath", "@/nowhere/value"], &path, "getting info about '/nowhere/value': No such file")
}

/// As asked for, but the loader takes an empty entry for the current directory.
fn empty_entry() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Runpath, &lab, "program")?;
    for value in ["/a:", ":/a", "/a::/b"] {
        let run = patchelf(&[OsStr::new("--set-rpath"), OsStr::new(value), path.as_os_str()]).expect(0)?;
        contains(&run.err, "warning: the new search path has an empty entry")?;
        let run = patchelf(&[OsStr::new("--print-rpath"), path.as_os_str()]).expect(0)?;
        same(run.out, format!("{value}\n"), "search path")?;
    }
    Ok(())
}

fn not_elf() -> Done {
    let lab = Lab::new()?;
    let whole = fs::read(program_with(Tag::Runpath, &lab, "program")?)?;
    let mut object = whole.clone();
    object.get_mut(16..18).ok_or("a short fixture")?.copy_from_slice(&[1, 0]);
    let half = whole.get(..whole.len() / 2).ok_or("a short fixture")?;
    for (name, bytes, why) in [
        ("text", &b"#!/bin/sh\n"[..], "not an ELF executable"),
        ("empty", b"", "not an ELF executable"),
        ("object.o", &object, "wrong ELF type"),
        ("short", b"\x7fELF\x02", "damaged ELF file: "),
        ("half", half, "damaged ELF file: "),
    ] {
        let path = lab.path(name);
        fs::write(&path, bytes)?;
        for arguments in [&["--print-rpath"][..], &["--set-rpath", "/a"], &["--remove-rpath"]] {
            refused(arguments, &path, why)?;
        }
    }
    let missing = lab.path("missing");
    let run = patchelf(&[OsStr::new("--print-rpath"), missing.as_os_str()]).expect(1)?;
    contains(&run.err, &format!("patchelf: getting info about '{}': No such file", missing.display()))
}

fn runpath_errors() -> Done {
    let lab = Lab::new()?;
    let path = program_with(Tag::Runpath, &lab, "program")?;
    let before = (fs::read(&path)?, stat(&path)?);
    let name = path.display().to_string();
    for value in ["", ":", "::"] {
        contains(&runpath(&["set", value], &path).expect(2)?.err, "\"runpath clear\" takes a search path away")?;
    }
    contains(
        &runpath(&["set", "--force-rpath", "--force-runpath", "/a"], &path).expect(2)?.err,
        "cannot be used with",
    )?;
    contains(&runpath(&["set", "--output", "x", "/a", &name], &path).expect(2)?.err, "--output is for one FILE")?;
    contains(&runpath(&["clear"], lab.root()).expect(2)?.err, "a directory")?;
    contains(&runpath(&["clear"], &lab.path("missing")).expect(2)?.err, "cannot look at it: No such file")?;
    fs::write(lab.path("text"), "text")?;
    contains(&runpath(&["clear"], &lab.path("text")).expect(2)?.err, "not an ELF file")?;
    contains(&runpath(&["print"], &lab.path("text")).expect(2)?.err, "not an ELF file")?;
    contains(&driver_runpath(["runpath", "set", "/a"]).expect(2)?.err, "FILE")?;
    same((fs::read(&path)?, stat(&path)?) == before, true, "bytes, mode, time, inode")
}
