//! One file, opened once: its descriptor, what the system says of it, and its bytes.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::Error;
use crate::apply::journal::{Journal, Undo};
use crate::apply::lock::lock;
use crate::apply::map::{PrivateMap, ReadMap, pages_lost};
use crate::elf::MAGIC;

/// Whether a symbolic link at the end of a path is followed.
///
/// ```
/// use driver_runpath::walk::{Links, Source};
///
/// let script = Source::open("testdata/demo.sh".as_ref(), Links::Follow)?;
/// assert!(script.is_none());
/// # Ok::<(), driver_runpath::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Links {
    /// A path that the user named.
    Follow,
    /// A path that the walk came upon.
    Refuse,
}

/// Which files are opened, by their first four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Take {
    /// ELF files.
    Elf,
    /// ELF files, and those that start like one of these.
    ElfOr(&'static [[u8; 4]]),
    /// Every file of at least four bytes.
    All,
}

impl Take {
    fn takes(self, magic: [u8; 4]) -> bool {
        match self {
            Self::Elf => magic == MAGIC,
            Self::ElfOr(others) => magic == MAGIC || others.contains(&magic),
            Self::All => true,
        }
    }
}

/// What tells that a file is still the one that was looked at.
///
/// ```
/// # use driver_runpath::walk::{Links, Source};
/// let path = std::path::Path::new("testdata/prebuilt/x86_64/libopens.so");
/// let source = Source::open(path, Links::Follow)?.ok_or("no ELF file")?;
/// assert_eq!(source.identity.len, path.metadata()?.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Identity {
    /// Device and inode number.
    pub inode: (u64, u64),
    /// Size in bytes.
    pub len: u64,
    /// Time of the last change of the bytes: seconds, nanoseconds.
    pub mtime: (i64, i64),
}

impl From<&Metadata> for Identity {
    fn from(stat: &Metadata) -> Self {
        Self { inode: (stat.dev(), stat.ino()), len: stat.len(), mtime: (stat.mtime(), stat.mtime_nsec()) }
    }
}

/// An ELF file that is open for reading.
///
/// ```
/// use driver_runpath::walk::{Links, Source};
///
/// let source = Source::open("testdata/prebuilt/x86_64/libopens.so".as_ref(), Links::Refuse)?.ok_or("no ELF file")?;
/// assert!(source.bytes().starts_with(b"\x7fELF"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Source {
    file: File,
    map: ReadMap,
    /// Which file this is.
    pub identity: Identity,
    /// The number of its names in the file system.
    pub links: u64,
    mode: u32,
    pages_lost: u64,
}

impl Source {
    /// Opens `path` if it is a regular file that starts with the ELF magic; `None` if it is another regular file.
    ///
    /// # Errors
    /// [`Error::Io`], also for what is no regular file.
    pub fn open(path: &Path, links: Links) -> Result<Option<Self>, Error> {
        Self::open_at(CWD, path, links)
    }

    /// The same for a `path` from the directory `dir` on. What is one component cannot lead out of the directory.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn open_at(dir: impl AsFd, path: impl rustix::path::Arg, links: Links) -> Result<Option<Self>, Error> {
        Self::take_at(dir, path, links, Take::Elf)
    }

    /// The same for other kinds of files.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn take_at(
        dir: impl AsFd,
        path: impl rustix::path::Arg,
        links: Links,
        take: Take,
    ) -> Result<Option<Self>, Error> {
        let mut flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        if links == Links::Refuse {
            flags |= OFlags::NOFOLLOW;
        }
        let file = openat(dir, path, flags, Mode::empty()).map_err(|error| Error::io("cannot open")(error.into()))?;
        let file = File::from(file);
        let mut magic = [0; 4];
        // A short file has no magic; a directory or a pipe has no offset to read at.
        match file.read_exact_at(&mut magic, 0) {
            Ok(()) if take.takes(magic) => {}
            Ok(()) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(Error::io("cannot read")(error)),
        }
        Self::of(file).map(Some)
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// The open descriptor alone: the map is gone.
    pub(crate) fn into_file(self) -> File {
        self.file
    }

    /// The open descriptor.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The same open file under an exclusive lock, looked at anew: another run on it has ended or waits for this one.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Io`].
    pub(crate) fn locked(self, patience: Duration) -> Result<Self, Error> {
        lock(&self.file, patience)?;
        let stat = self.file.metadata().map_err(Error::io("cannot stat"))?;
        let identity = Identity::from(&stat);
        if identity == self.identity {
            return Ok(Self { links: stat.nlink(), mode: stat.mode(), ..self });
        }
        Self::of(self.file)
    }

    /// Whether all of the file was there to be read so far.
    ///
    /// # Errors
    /// [`Error::Changed`] where another process cut it off meanwhile.
    pub fn check_whole(&self) -> Result<(), Error> {
        if pages_lost() == self.pages_lost { Ok(()) } else { self.check_unchanged(&self.file) }
    }

    /// The path that the kernel knows the open file by, without links.
    pub(crate) fn real_path(&self) -> Option<PathBuf> {
        std::fs::read_link(self.descriptor_path()).ok()
    }

    fn descriptor_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// The edit that an earlier run left unfinished in the file, if there is the proof of one.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn interrupted(&self) -> Result<Option<Interrupted>, Error> {
        let Some(journal) = Journal::find(self.bytes()) else { return Ok(None) };
        let undone = PrivateMap::new(&self.file, journal.old_len());
        let mut undone = undone.map_err(Error::io("cannot map"))?;
        Ok(journal.prove(self.bytes(), &mut undone).map(|undo| Interrupted { undone, undo }))
    }

    /// Opens the same file, by its descriptor and not by its name, for writing as well.
    ///
    /// A read-only file is made writable for the moment of this call; its mode is back before it returns.
    ///
    /// # Errors
    /// [`Error::Io`] where the system refuses; [`Error::Changed`] where the file is not as it was.
    pub(crate) fn open_for_writing(&self, patience: Duration) -> Result<File, Error> {
        let name = self.descriptor_path();
        let open = || OpenOptions::new().read(true).write(true).open(&name);
        let opened = match open() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && self.mode & OWNER_WRITE == 0 => {
                let mode = |mode| self.file.set_permissions(Permissions::from_mode(mode & 0o7777));
                mode(self.mode | OWNER_WRITE).map_err(Error::unwritten("cannot make writable"))?;
                let opened = open();
                mode(self.mode).map_err(Error::io("cannot give the mode back"))?;
                opened
            }
            opened => opened,
        };
        let file = opened.map_err(|error| {
            let busy = error.kind() == io::ErrorKind::ExecutableFileBusy;
            if busy { Error::Running(error) } else { Error::unwritten("cannot open for writing")(error) }
        })?;
        match self.check_unchanged(&file) {
            Err(Error::Changed) if self.was_copied_up(&file) => lock(&file, patience)?,
            checked => checked?,
        }
        Ok(file)
    }

    /// Whether a process is running the file: nobody can write to it then.
    pub(crate) fn is_running(&self) -> bool {
        let opened = OpenOptions::new().write(true).open(self.descriptor_path());
        opened.is_err_and(|error| error.kind() == io::ErrorKind::ExecutableFileBusy)
    }

    /// Whether [`Self::open_for_writing`] is likely to succeed. Changes nothing, the mode for a moment neither.
    ///
    /// # Errors
    /// Why it is not, as that says it.
    pub(crate) fn check_writable(&self) -> Result<(), Error> {
        let cannot = Error::unwritten("cannot open for writing");
        if rustix::fs::fstatvfs(&self.file)
            .is_ok_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
        {
            return Err(cannot(rustix::io::Errno::ROFS.into()));
        }
        match OpenOptions::new().write(true).open(self.descriptor_path()) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => Err(Error::Running(error)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && self.mode & OWNER_WRITE == 0 => {
                let stat = self.file.metadata().map_err(Error::io("cannot stat"))?;
                // The owner can make it writable.
                if stat.uid() == rustix::process::geteuid().as_raw() { Ok(()) } else { Err(cannot(error)) }
            }
            Err(error) => Err(cannot(error)),
        }
    }

    /// Whether `file` is the copy that an overlay makes of a file of a lower layer when it is opened for writing: it can
    /// have another inode number, but it has the same bytes.
    fn was_copied_up(&self, file: &File) -> bool {
        let Ok(stat) = file.metadata() else { return false };
        let now = Identity::from(&stat);
        let is_alike = (now.len, now.mtime) == (self.identity.len, self.identity.mtime);
        is_alike
            && is_on_overlay(file)
            && ReadMap::new(file, now.len).is_ok_and(|map| *map == *self.bytes())
            && self.check_unchanged(&self.file).is_ok()
    }

    /// The open file with the size and the bytes that it has now.
    ///
    /// # Errors
    /// [`Error::Io`], also for what is no regular file.
    pub(crate) fn of(file: File) -> Result<Self, Error> {
        let pages_lost = pages_lost();
        let stat = file.metadata().map_err(Error::io("cannot stat"))?;
        if !stat.is_file() {
            return Err(Error::io("cannot read")(io::Error::other("not a regular file")));
        }
        let map = ReadMap::new(&file, stat.len()).map_err(Error::io("cannot map"))?;
        Ok(Self { file, map, identity: Identity::from(&stat), links: stat.nlink(), mode: stat.mode(), pages_lost })
    }

    /// # Errors
    /// [`Error::Changed`] where `file` is not the file, of the size and time, that was mapped.
    pub(crate) fn check_unchanged(&self, file: &File) -> Result<(), Error> {
        let stat = file.metadata().map_err(Error::io("cannot stat"))?;
        if Identity::from(&stat) == self.identity { Ok(()) } else { Err(Error::Changed) }
    }
}

const OWNER_WRITE: u32 = 0o200;

/// An edit that an earlier run left unfinished.
#[derive(Debug)]
pub(crate) struct Interrupted {
    /// The file as it was before that edit.
    pub undone: PrivateMap,
    /// How to get there.
    pub undo: Undo,
}

/// Whether the file lies on an overlay (OVERLAYFS_SUPER_MAGIC in linux/magic.h), as in a container.
pub(crate) fn is_on_overlay(file: &File) -> bool {
    const OVERLAY: u64 = 0x794c_7630;
    #[allow(clippy::unnecessary_cast, reason = "the field has other types on other architectures")]
    rustix::fs::fstatfs(file).is_ok_and(|stat| stat.f_type as u64 == OVERLAY)
}
