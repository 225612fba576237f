//! What the user says, checked before anything is done: all of it is looked at before the first write.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use driver_runpath::decide::{entries, tidy};
use driver_runpath::detect::DriverNames;
use driver_runpath::fix::DriverDirs;
use driver_runpath::loader::{Tokens, expand};
use driver_runpath::report::printable;

use super::Driver;

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

/// `DIR/lib`, and for 32-bit x86 what NixOS has beside it; a link that the user gives serves both. A directory that
/// holds driver libraries itself is taken as it is.
pub fn driver_dirs(driver: &Driver, names: &DriverNames) -> anyhow::Result<DriverDirs> {
    let Some(link) = &driver.driver_link else {
        return Ok(DriverDirs::default());
    };
    let given = shown(link);
    if link.is_empty() {
        bail!("--driver-link: an empty name");
    }
    let link = Path::new(link);
    if link.is_file() {
        bail!("--driver-link {given}: a file, not the directory in whose lib the driver lies");
    }
    let lib = link.join("lib");
    let serves = if lib.is_dir() {
        lib
    } else if holds_drivers(link, names) {
        link.to_owned()
    } else if link.file_name() == Some(OsStr::new("lib")) {
        let above = shown(link.parent().unwrap_or(Path::new("/")).as_os_str());
        bail!(
            "--driver-link {given}: {given}/lib would be searched; is --driver-link {above} meant? Should there really be a \
             lib in that lib, make the directory first"
        );
    } else {
        lib
    };
    let lib = directory(serves.into_os_string(), Relative::Refused).map_err(|why| {
        anyhow!("--driver-link: {}", format!("{why}").replace(", or insist with --allow-relative", ""))
    })?;
    Ok(DriverDirs::one(lib))
}

fn holds_drivers(directory: &Path, names: &DriverNames) -> bool {
    let mut files = fs::read_dir(directory).into_iter().flatten().flatten();
    files.any(|file| names.is_driver_soname(file.file_name().as_bytes()))
}

/// A directory as an entry of a search path.
///
/// # Errors
/// Why it is none.
pub fn directory(path: OsString, relative: Relative) -> anyhow::Result<Vec<u8>> {
    let name = shown(&path);
    let path = path.into_vec();
    if path.is_empty() {
        bail!("an empty directory would mean the current one");
    }
    if path.contains(&b':') {
        bail!("{name}: a search path cannot hold a directory with a colon in its name");
    }
    none_relative(&path, relative)?;
    Ok(path)
}

/// Whether relative directories are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relative {
    /// They are not.
    Refused,
    /// The user insists.
    Allowed,
}

impl Relative {
    /// As `--allow-relative` says.
    pub fn of(allowed: bool) -> Self {
        if allowed { Self::Allowed } else { Self::Refused }
    }
}

/// A relative directory is searched from wherever the program runs: a way to load somebody else's library.
///
/// # Errors
/// The first entry of the search path that is relative.
pub fn none_relative(path: &[u8], relative: Relative) -> anyhow::Result<()> {
    for entry in entries(path).filter(|entry| !entry.is_empty()) {
        let name = printable(entry);
        // What a shell leaves of "$ORIGIN/../lib".
        if entry.starts_with(b"/..") {
            bail!("{name}: nothing lies above /; a shell replaces $ORIGIN within \"…\", but not within '…'");
        }
        if relative == Relative::Refused && !is_absolute(entry) {
            bail!(
                "{name}: a relative directory is searched from wherever the program runs; start it with / or \
                 $ORIGIN, or insist with --allow-relative"
            );
        }
    }
    Ok(())
}

/// Whether the loader makes an absolute directory of the entry.
fn is_absolute(entry: &[u8]) -> bool {
    let tokens = Tokens { origin: Some(b"/"), lib: b"lib", platform: Some(b"platform") };
    expand(entry, &tokens).is_some_and(|path| path.starts_with(b"/"))
}

/// Whether an output called `path` goes to standard output, where a report would be in its way.
pub fn is_stdout(path: &Path) -> bool {
    let out = io::stdout().as_fd().try_clone_to_owned().map(fs::File::from).and_then(|out| out.metadata());
    let inode = |stat: fs::Metadata| (!stat.file_type().is_char_device()).then(|| (stat.dev(), stat.ino()));
    let out = out.ok().and_then(inode);
    out.is_some() && fs::metadata(path).ok().and_then(inode) == out
}

/// A word as a shell reads it, harmless on a terminal: `$'…'` (POSIX.1-2024, before that ksh, bash, zsh) for what cannot
/// be shown.
pub fn quoted(word: &OsStr) -> String {
    let bytes = word.as_bytes();
    if printable(bytes).as_bytes() == bytes {
        // A word with a NUL byte cannot have come from a command line.
        let quoted = shlex::bytes::try_quote(bytes).unwrap_or_default();
        return String::from_utf8_lossy(&quoted).into_owned();
    }
    let mut text = String::from("$'");
    for byte in bytes {
        match byte {
            b'\'' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => text.push(char::from(*byte)),
            // Of three octal digits: a digit that follows is none of them.
            _ => text.push_str(&format!("\\{byte:03o}")),
        }
    }
    text.push('\'');
    text
}

/// An argument as it may be printed.
pub fn shown(argument: &OsStr) -> String {
    printable(argument.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_loader_takes_for_absolute_is_absolute() {
        for entry in ["/a", "$ORIGIN", "$ORIGIN/../lib", "${ORIGIN}/lib"] {
            assert!(is_absolute(entry.as_bytes()), "{entry}");
        }
        for entry in ["lib", ".", "$LIB/x", "$HOME/lib", "$ORIGINAL/lib", "~/lib"] {
            assert!(!is_absolute(entry.as_bytes()), "{entry}");
        }
    }
}
