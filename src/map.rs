//! Maps of files: the only `unsafe` code of the crate.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::unix::fs::FileExt;

use memmap2::{Mmap, MmapOptions, MmapRaw};

/// A file's bytes, mapped to be read.
#[derive(Debug)]
pub struct ReadMap(Option<Mmap>);

impl ReadMap {
    /// Maps the first `len` bytes of `file`.
    ///
    /// # Errors
    /// What mmap(2) answers.
    pub fn new(file: &File, len: u64) -> io::Result<Self> {
        if len == 0 {
            // mmap(2) refuses an empty range.
            return Ok(Self(None));
        }
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        // SAFETY: the map is shared and read-only. Another process may change bytes under it; every reader above takes
        // the bytes as untrusted and bounds each access by the length given here, so a changed byte can make a result
        // wrong, which `verify` and the comparison of size and time before `apply` catch, but not an access invalid.
        // A file that another process truncates raises SIGBUS, as in every program that maps files.
        let map = unsafe { MmapOptions::new().len(len).map(file)? };
        Ok(Self(Some(map)))
    }
}

impl Deref for ReadMap {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

/// A file that is written to in place, one word at a time.
///
/// Where the file system has no shared writable maps, each word is written by pwrite(2).
#[derive(Debug)]
pub struct EditMap<'f> {
    file: &'f File,
    map: Option<MmapRaw>,
}

impl<'f> EditMap<'f> {
    /// Maps the whole of `file`, which must be open for reading and writing.
    pub fn new(file: &'f File) -> Self {
        Self { file, map: MmapOptions::new().map_raw(file).ok() }
    }

    /// Writes `bytes`, at most a word, at `at` bytes from the start: with a single store where it is aligned.
    ///
    /// # Errors
    /// A place outside the map, or what pwrite(2) answers.
    pub fn store(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let Some(map) = &self.map else { return self.file.write_all_at(bytes, at) };
        let outside = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let start = usize::try_from(at).map_err(|_| outside())?;
        start.checked_add(bytes.len()).filter(|end| *end <= map.len()).ok_or_else(outside)?;
        // SAFETY: `start .. start + bytes.len()` lies within the map, as just checked. No reference to the map's bytes
        // exists: it is raw, and the map that the file is read through is another one, whose readers are done.
        unsafe {
            let target = map.as_mut_ptr().add(start);
            match *bytes {
                [a, b] if target.cast::<u16>().is_aligned() => {
                    target.cast::<u16>().write_volatile(u16::from_ne_bytes([a, b]));
                }
                [a, b, c, d] if target.cast::<u32>().is_aligned() => {
                    target.cast::<u32>().write_volatile(u32::from_ne_bytes([a, b, c, d]));
                }
                [a, b, c, d, e, f, g, h] if target.cast::<u64>().is_aligned() => {
                    target.cast::<u64>().write_volatile(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
                }
                _ => {
                    for (offset, byte) in bytes.iter().enumerate() {
                        target.add(offset).write_volatile(*byte);
                    }
                }
            }
        }
        Ok(())
    }
}
