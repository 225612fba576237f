//! One file, opened once: its descriptor, what the system says of it, and its bytes.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::Error;
use crate::elf::MAGIC;
use crate::map::ReadMap;

/// Whether a symbolic link at the end of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// A path that the user named.
    Follow,
    /// A path that the walk came upon.
    Refuse,
}

/// Which files are opened, by their first four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// ELF files.
    Elf,
    /// What can hold code for GPUs: ELF files, and see [`crate::gpu_code::MAGICS`].
    GpuCode,
}

impl Take {
    fn takes(self, magic: [u8; 4]) -> bool {
        magic == MAGIC || self == Self::GpuCode && crate::gpu_code::MAGICS.contains(&magic)
    }
}

/// What tells that a file is still the one that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
#[derive(Debug)]
pub struct Source {
    file: File,
    map: ReadMap,
    /// Which file this is.
    pub identity: Identity,
    /// The number of its names in the file system.
    pub links: u64,
    mode: u32,
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
    pub fn open_at(dir: impl AsFd, path: impl rustix::path::Arg, links: Links) -> Result<Option<Self>, Error> {
        Self::take_at(dir, path, links, Take::Elf)
    }

    /// The same for other kinds of files.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn take_at(
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

    /// The open descriptor.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The same as [`Self::open`], under an exclusive lock: another run on the same file waits for this one.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_locked(path: &Path, links: Links) -> Result<Option<Self>, Error> {
        let Some(source) = Self::open(path, links)? else { return Ok(None) };
        // A file system without locks has none to respect.
        let _ = rustix::fs::flock(&source.file, rustix::fs::FlockOperation::LockExclusive);
        source.renewed().map(Some)
    }

    /// The same open file, looked at anew: its size and bytes may have changed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn renewed(self) -> Result<Self, Error> {
        let stat = self.file.metadata().map_err(Error::io("cannot stat"))?;
        let identity = Identity::from(&stat);
        if identity == self.identity {
            return Ok(self);
        }
        let map = ReadMap::new(&self.file, stat.len()).map_err(Error::io("cannot map"))?;
        Ok(Self { map, identity, links: stat.nlink(), mode: stat.mode(), file: self.file })
    }

    /// Opens the same file, by its descriptor and not by its name, for writing as well.
    ///
    /// A read-only file is made writable for the moment of this call; its mode is back before it returns.
    ///
    /// # Errors
    /// [`Error::Io`] where the system refuses; [`Error::Changed`] where the file is not as it was.
    pub fn open_for_writing(&self) -> Result<File, Error> {
        let name = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let open = || OpenOptions::new().read(true).write(true).open(&name);
        let opened = match open() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && self.mode & OWNER_WRITE == 0 => {
                let mode = |mode| self.file.set_permissions(Permissions::from_mode(mode & 0o7777));
                mode(self.mode | OWNER_WRITE).map_err(Error::io("cannot make writable"))?;
                let opened = open();
                mode(self.mode).map_err(Error::io("cannot give the mode back"))?;
                opened
            }
            opened => opened,
        };
        let file = opened.map_err(|error| {
            let busy = error.kind() == io::ErrorKind::ExecutableFileBusy;
            Error::io(if busy { "a process is running it" } else { "cannot open for writing" })(error)
        })?;
        self.check_unchanged(&file)?;
        Ok(file)
    }

    /// The same open file with the size and the bytes that it has now.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn as_it_is_now(&self) -> Result<Self, Error> {
        Self::of(self.file.try_clone().map_err(Error::io("cannot open"))?)
    }

    fn of(file: File) -> Result<Self, Error> {
        let stat = file.metadata().map_err(Error::io("cannot stat"))?;
        if !stat.is_file() {
            return Err(Error::io("cannot read")(io::Error::other("not a regular file")));
        }
        let map = ReadMap::new(&file, stat.len()).map_err(Error::io("cannot map"))?;
        Ok(Self { file, map, identity: Identity::from(&stat), links: stat.nlink(), mode: stat.mode() })
    }

    /// # Errors
    /// [`Error::Changed`] where `file` is not the file, of the size and time, that was mapped.
    pub fn check_unchanged(&self, file: &File) -> Result<(), Error> {
        let stat = file.metadata().map_err(Error::io("cannot stat"))?;
        if Identity::from(&stat) == self.identity { Ok(()) } else { Err(Error::Changed) }
    }
}

const OWNER_WRITE: u32 = 0o200;
