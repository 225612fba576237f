//! The questions about search paths that the file system answers.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

#[cfg(feature = "cli")]
use crate::decide::shrunk as shrunk_by;
use crate::elf::{Image, MAGIC};

/// The path without the directories in which no library is that the file needs, or that no allowed prefix starts.
#[cfg(feature = "cli")]
pub(crate) fn shrunk(path: &[u8], image: &Image<'_>, allowed_prefixes: &[Vec<u8>]) -> Vec<u8> {
    let needed: Vec<&[u8]> = image.needed().collect();
    shrunk_by(path, &needed, allowed_prefixes, |directory, name| holds_library(directory, name, image))
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
