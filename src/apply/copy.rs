//! Copies of the bytes of a file: shared where the file system can, with their holes elsewhere.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom as Position};
use std::ops::Range;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Makes `to`, an empty file, a copy of the first `len` bytes of `from`, which has no more.
///
/// # Errors
/// What the system answers, a full disk among it.
pub(crate) fn copy_contents(from: &File, to: &File, len: u64) -> io::Result<()> {
    // Btrfs, XFS and others: both files have the same blocks until one of them is written to.
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    to.set_len(len)?;
    let mut at = 0;
    while let Some(data) = next_data(from, at, len)? {
        copy_range(from, to, &data)?;
        at = data.end;
    }
    Ok(())
}

/// The next bytes from `at` on that are no hole.
fn next_data(from: &File, at: u64, len: u64) -> io::Result<Option<Range<u64>>> {
    if at >= len {
        return Ok(None);
    }
    let start = match rustix::fs::seek(from, SeekFrom::Data(at)) {
        Ok(start) => start,
        // Holes to the end.
        Err(Errno::NXIO) => return Ok(None),
        // A file system that does not know its holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some(at..len)),
        Err(error) => return Err(error.into()),
    };
    let end = rustix::fs::seek(from, SeekFrom::Hole(start))?;
    Ok((start < len).then(|| start..end.clamp(start.saturating_add(1), len)))
}

fn copy_range(mut from: &File, mut to: &File, range: &Range<u64>) -> io::Result<()> {
    from.seek(Position::Start(range.start))?;
    to.seek(Position::Start(range.start))?;
    let wanted = range.end.saturating_sub(range.start);
    // The kernel copies within itself where it can.
    let copied = io::copy(&mut from.take(wanted), &mut to)?;
    if copied == wanted { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[test]
    fn a_copy_has_the_same_bytes_and_the_same_holes() {
        let file = |bytes: &[(u64, &[u8])], len: u64| {
            let file = tempfile::tempfile().expect("a temporary file");
            file.set_len(len).expect("it can be sized");
            bytes.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).expect("it can be written"));
            file
        };
        let read = |file: &File| {
            let mut bytes = vec![0; usize::try_from(file.metadata().expect("stat").len()).expect("small")];
            file.read_exact_at(&mut bytes, 0).expect("it can be read");
            bytes
        };
        const MIB: u64 = 1 << 20;
        for (bytes, len) in [
            (&[(0, &b"head"[..]), (3 * MIB, b"middle"), (8 * MIB - 4, b"tail")][..], 8 * MIB),
            (&[(MIB, &b"then a hole to the end"[..])], 4 * MIB),
            (&[], 2 * MIB),
            (&[(0, b"x")], 1),
            (&[], 0),
        ] {
            let from = file(bytes, len);
            let to = tempfile::tempfile().expect("a temporary file");
            copy_contents(&from, &to, len).expect("it can be copied");
            assert!(read(&from) == read(&to), "the bytes of a file of {len}");
            let blocks = |file: &File| file.metadata().expect("stat").blocks();
            assert!(blocks(&to) <= blocks(&from), "{} blocks for {}", blocks(&to), blocks(&from));
        }
    }
}
