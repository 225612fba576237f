//! The directories of a search path: what they are from one object, and whether they hold what it needs.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::detect::DriverNames;
use crate::elf::{Image, MAGIC};

/// Whether a token is left that only the loader can expand.
pub fn has_unknown_token(directory: &Path) -> bool {
    directory.as_os_str().as_bytes().contains(&b'$')
}

/// The directory that a name is in; `.` for a name alone.
pub fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Replaces `$ORIGIN` and `${ORIGIN}` by the directory of `object`.
pub fn expand_origin(entry: &[u8], object: &Path) -> PathBuf {
    let origin = directory_of(object).as_os_str().as_bytes();
    let mut expanded = Vec::with_capacity(entry.len());
    let mut rest = entry;
    while let Some((first, tail)) = rest.split_first() {
        let token = [&b"$ORIGIN"[..], b"${ORIGIN}"].into_iter().find_map(|token| rest.strip_prefix(token));
        match token {
            Some(behind) => {
                expanded.extend_from_slice(origin);
                rest = behind;
            }
            None => {
                expanded.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsStr::from_bytes(&expanded))
}

/// Whether a stub directory must stay: it holds a library which the file needs and which no driver provides.
///
/// A token that only the loader can expand counts as yes: a directory too many costs a look-up.
pub(crate) fn holds_needed_library<'n>(
    entry: &[u8],
    object: &Path,
    needed: impl Iterator<Item = &'n [u8]>,
    names: &DriverNames,
) -> bool {
    // A program's $ORIGIN is where its links lead to, a library's where it was found.
    let real = fs::canonicalize(object).unwrap_or_else(|_| object.to_owned());
    let mut directories = vec![expand_origin(entry, object), expand_origin(entry, &real)];
    directories.dedup();
    if directories.iter().any(|directory| has_unknown_token(directory)) {
        return true;
    }
    let below = |directory: &PathBuf| fs::read_dir(directory.join("glibc-hwcaps")).into_iter().flatten().flatten();
    let hwcaps: Vec<PathBuf> = directories.iter().flat_map(below).map(|entry| entry.path()).collect();
    directories.extend(hwcaps);
    needed
        .filter(|name| !names.is_driver_soname(name))
        .any(|name| directories.iter().any(|directory| directory.join(OsStr::from_bytes(name)).exists()))
}

/// Whether `directory` holds a library `name` for the machine of `image`.
pub(crate) fn holds_library(directory: &[u8], name: &[u8], image: &Image<'_>) -> bool {
    // Identification and e_machine (gABI, "ELF Header") are in the same place in both classes.
    let mut header = [0; 20];
    let path = Path::new(OsStr::from_bytes(directory)).join(OsStr::from_bytes(name));
    let is_file = path.metadata().is_ok_and(|stat| stat.is_file());
    let read = is_file && File::open(&path).is_ok_and(|file| file.read_exact_at(&mut header, 0).is_ok());
    // Class and byte order as in the file itself; then e_machine in that order.
    read && header.starts_with(&MAGIC)
        && header.get(4..6) == image.data.get(4..6)
        && header.get(18..20) == image.data.get(18..20)
}
