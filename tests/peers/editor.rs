//! `patchelf --set-rpath` on copies of the files: the copy says what it was told to and all else as before, and a loader
//! takes it as before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use driver_runpath::elf::Image;
use libtest_mimic::Failed;

use super::readers::{Says, complaint, goblin_reads, object_reads};
use super::support::lab::{Lab, same};
use super::{Finding, Peer, Subject, loader};

/// The search paths: one that fits where another was, and one that fits nowhere.
#[derive(Clone, Copy, Debug)]
pub enum Length {
    Short,
    Long,
}

impl Length {
    fn path(self) -> String {
        match self {
            Self::Short => "/l".to_owned(),
            Self::Long => format!("/run/opengl-driver/lib:/opt/{}", "vendor/".repeat(60)),
        }
    }
}

/// A file that patchelf has written.
pub struct Edited<'s> {
    pub subject: &'s Subject,
    pub path: PathBuf,
    pub length: Length,
}

/// Edits a copy of each file, once for each length.
pub fn edit_all(subjects: &[Subject], patchelf: &Path, lab: &Lab) -> Result<Vec<Vec<Finding>>, Failed> {
    let mut findings: Vec<Vec<Finding>> = Vec::new();
    let mut written = Vec::new();
    for (index, subject) in subjects.iter().enumerate() {
        let mut found = Vec::new();
        for length in [Length::Short, Length::Long] {
            match edit(subject, patchelf, length)? {
                Ok(edited) => written.push((index, edited)),
                Err(what) => found.push(Finding { peer: Peer::PatchelfEdits, what: format!("{length:?}: {what}") }),
            }
        }
        findings.push(found);
    }
    let files: Vec<&Edited<'_>> = written.iter().map(|(_, edited)| edited).collect();
    for ((index, edited), failed) in written.iter().zip(loader::load(&files, lab)?) {
        let what = failed.map(|failed| format!("{:?}: the loader: {failed}", edited.length));
        findings[*index].extend(what.map(|what| Finding { peer: Peer::PatchelfEdits, what }));
    }
    Ok(findings)
}

fn edit<'s>(subject: &'s Subject, patchelf: &Path, length: Length) -> Result<Result<Edited<'s>, String>, Failed> {
    let path = subject.path.with_extension(format!("{length:?}"));
    fs::copy(&subject.path, &path)?;
    let output = Command::new(patchelf).args(["--set-rpath", &length.path()]).arg(&path).output()?;
    let error = complaint(&output.stderr);
    let bytes = fs::read(&path)?;
    if !output.status.success() {
        same(bytes == subject.bytes, true, &format!("{}: a refused file is as it was", path.display()))?;
        return Ok(Err(format!("{}: {error}", output.status)));
    }
    Ok(check(subject, &bytes, length).map(|()| Edited { subject, path, length }))
}

/// Three parsers read what was asked for, if they could read the file before.
fn check(subject: &Subject, bytes: &[u8], length: Length) -> Result<(), String> {
    let right = Says { rpath: None, runpath: Some(length.path().into_bytes()), ..subject.says.clone() };
    let had_both = subject.says.rpath.is_some() && subject.says.runpath.is_some();
    // Of two search paths it may change one: beside DT_RUNPATH no loader asks DT_RPATH.
    let in_force = |read: &Says| if had_both { Says { rpath: None, ..read.clone() } } else { read.clone() };
    let compare = |who: &str, read: Result<Says, String>| match read {
        Ok(read) if in_force(&read) == right => Ok(()),
        Ok(read) => Err(format!("{who} reads {read:?} instead of {right:?}")),
        Err(error) => Err(format!("{who}: {error}")),
    };
    compare("object", object_reads(bytes))?;
    if goblin_reads(&subject.bytes).is_ok() {
        compare("goblin", goblin_reads(bytes))?;
    }
    if Image::parse(&subject.bytes).is_ok() {
        compare("ours", ours(bytes))?;
    }
    Ok(())
}

fn ours(bytes: &[u8]) -> Result<Says, String> {
    let image = Image::parse(bytes).map_err(|error| format!("refuses: {error}"))?;
    let paths = image.search_paths();
    Ok(Says {
        soname: image.soname().map(<[u8]>::to_vec),
        needed: image.needed().map(<[u8]>::to_vec).collect(),
        rpath: paths.rpath,
        runpath: paths.runpath,
    })
}
