//! Archives that somebody may take for what they hold.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::Error;
use crate::elf::NotCandidate;

/// What archives start with. Archives of object files (`ar`) are none of these: nobody unpacks them.
const MAGICS: [(&[u8], &str); 8] = [
    (b"PK\x03\x04", "a zip archive, such as a wheel"),
    (b"!<arch>\ndebian-binary", "a Debian package"),
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\xed\xab\xee\xdb", "an rpm package"),
];

/// Where `ustar` stands (POSIX.1-2017, pax, "ustar Interchange Format").
const USTAR: usize = 257;

/// What is to be said of a named file without the ELF magic.
pub fn not_elf(path: &Path) -> Error {
    match kind(path) {
        Some(kind) => Error::Archive(kind),
        None => Error::NotCandidate(NotCandidate::NotElf),
    }
}

fn kind(path: &Path) -> Option<&'static str> {
    let mut head = [0; USTAR + 5];
    let len = File::open(path).ok()?.read_at(&mut head, 0).ok()?;
    let head = head.get(..len)?;
    let known = MAGICS.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, kind)| *kind);
    known.or_else(|| (head.get(USTAR..) == Some(b"ustar")).then_some("tar"))
}
