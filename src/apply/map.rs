//! Maps of files, what the kernel answers where a mapped file is cut off, and who else writes to one: the only `unsafe` code
//! of the crate.

use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use memmap2::{Mmap, MmapMut, MmapOptions, MmapRaw};

/// A file's bytes, mapped to be read.
#[derive(Debug)]
pub struct ReadMap(Option<Mmap>);

impl ReadMap {
    /// Maps the first `len` bytes of `file`.
    ///
    /// # Errors
    /// What mmap(2) answers.
    pub fn new(file: &File, len: u64) -> io::Result<Self> {
        let Some(len) = mappable(len)? else { return Ok(Self(None)) };
        // SAFETY: the map is shared and read-only. Another process may change bytes under it; every reader takes the
        // bytes as untrusted and bounds each access by the length given here, so a changed byte can make a result wrong,
        // which `verify` and the comparison of size and time before `apply` catch, but not an access invalid. This
        // process does not write to a file that it has mapped so: `edit` drops the map before `apply` begins. What
        // happens where another process cuts the file off: see `outlive_truncation`.
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

/// A file's bytes, mapped to be changed in memory alone. Only pages that are changed take memory.
#[derive(Debug)]
pub struct PrivateMap(Option<MmapMut>);

impl PrivateMap {
    /// Maps the first `len` bytes of `file`, which has no fewer.
    ///
    /// # Errors
    /// What mmap(2) answers.
    pub fn new(file: &File, len: u64) -> io::Result<Self> {
        let Some(len) = mappable(len)? else { return Ok(Self(None)) };
        // SAFETY: as for `ReadMap`; writes go to pages of this process alone (MAP_PRIVATE), within `len`.
        let map = unsafe { MmapOptions::new().len(len).map_copy(file)? };
        Ok(Self(Some(map)))
    }
}

impl Deref for PrivateMap {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl DerefMut for PrivateMap {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.as_deref_mut().unwrap_or_default()
    }
}

/// `None` for an empty file: mmap(2) refuses an empty range.
fn mappable(len: u64) -> io::Result<Option<usize>> {
    let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    Ok(Some(len).filter(|len| *len > 0))
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
        // SAFETY: `start .. start + bytes.len()` lies within the map, as just checked. No reference to the bytes exists:
        // this map is raw, and `apply` has no other map of the file; it reads what it copies through the descriptor.
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

/// Whether some process has `file`, open here for reading alone, open or mapped for writing. `None` where neither the file
/// system nor the rights of this process tell: the question is whether a read lease is to be had (fcntl(2), `F_SETLEASE`).
pub fn is_open_for_writing(file: &File) -> Option<bool> {
    /// Linux, include/uapi/asm-generic/fcntl.h.
    const F_SETSIG: libc::c_int = 10;
    let ask = |command: libc::c_int, value: libc::c_int| {
        // SAFETY: the descriptor is open for as long as `file` is borrowed, and no pointer is passed.
        let answer = unsafe { libc::fcntl(file.as_raw_fd(), command, value) };
        if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // If somebody opens the file while the lease is held, the kernel sends a signal: by default SIGIO, which ends the
    // process; so one that is ignored.
    ask(F_SETSIG, libc::SIGURG).ok()?;
    match ask(libc::F_SETLEASE, libc::F_RDLCK) {
        Ok(()) => ask(libc::F_SETLEASE, libc::F_UNLCK).ok().map(|()| false),
        Err(error) => (error.kind() == io::ErrorKind::WouldBlock).then_some(true),
    }
}

/// How often a page of a mapped file was no longer there.
static PAGES_LOST: AtomicU64 = AtomicU64::new(0);
static PAGE_SIZE: AtomicUsize = AtomicUsize::new(0);

/// How many pages of mapped files were found missing so far, in the whole process. Only a process that called
/// [`outlive_truncation`] counts; others do not live to see it.
pub fn pages_lost() -> u64 {
    PAGES_LOST.load(Ordering::Relaxed)
}

/// From now on, a file that another process cuts off while it is mapped does not end this one (SIGBUS): the missing page
/// reads as zeros and is counted, and an edit of the file is [`Error::Changed`](crate::Error::Changed). A write beyond a limit of
/// size (SIGXFSZ) is an error of the write alone.
///
/// The binary calls it first of all. A library leaves signals to its user: in a program that maps files itself, missing
/// pages of those read as zeros, too.
///
/// ```
/// driver_runpath::outlive_truncation();
/// ```
pub fn outlive_truncation() {
    // SAFETY: `sysconf` and `signal` have no preconditions here. `action` is a valid sigaction: all zeros but for the
    // handler and its flag, and an empty mask. The handler has the signature that SA_SIGINFO asks for.
    unsafe {
        let size = libc::sysconf(libc::_SC_PAGESIZE);
        let Ok(size) = usize::try_from(size) else { return };
        PAGE_SIZE.store(size, Ordering::Relaxed);
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_bus_error as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
    }
}

extern "C" fn on_bus_error(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo. BUS_ADRERR comes from a page of a mapped file that lies behind the
    // file's end; the maps of this module are the only ones that can have such a page, and nobody else uses the page's
    // addresses, so a page of zeros may take its place. `mmap` and `signal` are plain system calls here, and allowed in
    // a handler. Any other bus error ends the process when the instruction runs again.
    unsafe {
        if (*info).si_code == libc::BUS_ADRERR {
            let size = PAGE_SIZE.load(Ordering::Relaxed);
            let page = (*info).si_addr().map_addr(|at| at & !(size.wrapping_sub(1)));
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
            if libc::mmap(page, size, access, kind, -1, 0) != libc::MAP_FAILED {
                PAGES_LOST.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        libc::signal(libc::SIGBUS, libc::SIG_DFL);
    }
}
