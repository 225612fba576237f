//! Appends directories to the search path of every dynamic file of a directory, as `auditwheel repair` does for an unpacked
//! wheel: all of them, or none.
//!
//! ```console
//! $ cargo run --example relink_wheel -- unpacked/torch '$ORIGIN/../nvidia.libs'
//! ```
//!
//! The edits are made in a copy of the tree, which takes the tree's name when all of them have been made. Until then, and
//! after any error, the tree is as it was.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use driver_runpath::decide::PathOperation;
use driver_runpath::edit::{Editor, OpenOptions, Target};
use driver_runpath::elf::Image;
use driver_runpath::walk::{Exclude, walk};
use driver_runpath::{Error, elf::NotCandidate};
use rustix::fs::{CWD, RenameFlags, renameat_with};

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [tree, directories] = arguments.as_slice() else {
        eprintln!("usage: relink_wheel TREE DIRECTORY[:DIRECTORY…]");
        return ExitCode::from(2);
    };
    match relink(Path::new(tree), directories) {
        Ok(report) => {
            report.iter().for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}; {} is as it was", Path::new(tree).display());
            ExitCode::FAILURE
        }
    }
}

/// A line for each dynamic file.
fn relink(tree: &Path, directories: &OsStr) -> Result<Vec<String>, Failure> {
    let tree = fs::canonicalize(tree)?;
    let above = tree.parent().ok_or("the root directory has no name that a copy could take")?;
    let workshop = tempfile::Builder::new().prefix(".relink-").tempdir_in(above)?;
    let copy = workshop.path().join("new");
    copy_tree(&tree, &copy)?;

    // Which files are dynamic is known before the first one is edited.
    let walked =
        walk(std::slice::from_ref(&copy), &Exclude::default(), |_, source| Image::parse(source.bytes()).map(|_| ()));
    if let Some((path, error)) = walked.problems.first() {
        return Err(format!("{}: {error}", path.display()).into());
    }
    let mut report = Vec::new();
    for found in &walked.files {
        let name = found.path.strip_prefix(&copy)?.display();
        match found.seen.clone().map_err(Error::from).and_then(|()| append(&found.path, directories)) {
            Ok(line) => report.push(format!("{name}: {line}")),
            // Static programs, object files and their like have no search path.
            Err(Error::NotCandidate(reason)) if reason != NotCandidate::NotElf => {}
            Err(error) => return Err(format!("{name}: {error}").into()),
        }
    }

    // The two trees exchange their names, in one step; the old one goes with the workshop.
    renameat_with(CWD, &copy, CWD, &tree, RenameFlags::EXCHANGE)?;
    Ok(report)
}

fn append(path: &Path, directories: &OsStr) -> Result<String, Error> {
    let editor = Editor::open(path, &OpenOptions::default())?.ok_or(Error::Changed)?;
    let proposal = editor.propose(&PathOperation::Append(directories.as_bytes().to_vec()), None)?;
    let done = editor.commit(&proposal.changes, Target::Itself)?;
    let Some((tag, new)) = proposal.new else { return Ok("no search path".to_owned()) };
    let how =
        done.edited.map_or("already there".to_owned(), |edited| format!("{}, +{} bytes", edited.rung, edited.growth));
    Ok(format!("{tag} {}; {how}", String::from_utf8_lossy(&new)))
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, kind) = entry.and_then(|entry| entry.file_type().map(|kind| (entry, kind)))?;
        let target: PathBuf = to.join(entry.file_name());
        if kind.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    fs::set_permissions(to, fs::metadata(from)?.permissions())
}
