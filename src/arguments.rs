//! What the user says, checked before anything is done: all of it is looked at before the first write.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use driver_runpath::decide::entries;
use driver_runpath::report::printable;
use driver_runpath::runpath::tidy;

/// What the paths of a command may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Files alone.
    Files,
    /// Files, and directories to walk.
    Trees,
}

/// Nothing that is named is missing, so that a slip of the pen does not leave half of the work done.
///
/// # Errors
/// All that is wrong, a line each.
pub fn all_there(paths: &[PathBuf], takes: Takes) -> anyhow::Result<()> {
    let wrong = |path: &PathBuf| match fs::metadata(path) {
        Err(error) => Some(format!("{}: cannot look at it: {error}", shown(path.as_os_str()))),
        Ok(stat) if stat.is_dir() && takes == Takes::Files => {
            Some(format!("{}: a directory, and this command takes files alone", shown(path.as_os_str())))
        }
        Ok(_) => None,
    };
    let wrong: Vec<String> =
        paths.iter().filter_map(wrong).map(|what| format!("{what}; nothing was changed")).collect();
    if wrong.is_empty() { Ok(()) } else { Err(anyhow!(wrong.join("\nerror: "))) }
}

/// The value of `runpath OPERATION`, which comes before the files.
///
/// # Errors
/// Why it is none.
pub fn search_path(path: OsString, operation: &str, what: &str) -> anyhow::Result<Vec<u8>> {
    let value = path.into_vec();
    if tidy(&value).is_empty() {
        bail!("{what} names no directory; \"runpath clear\" takes a search path away");
    }
    let files = entries(&value).map(OsStr::from_bytes).filter(|entry| Path::new(entry).is_file());
    if let Some(file) = files.into_iter().next() {
        let file = shown(file);
        bail!("{file} is a file, and {what} comes first: driver-runpath runpath {operation} {what} FILE...");
    }
    Ok(value)
}

/// An argument as it may be printed.
pub fn shown(argument: &OsStr) -> String {
    printable(argument.as_bytes())
}
