//! Names of files, looked up from a directory that is held open.
//!
//! Others may be able to write to a tree while it is walked and edited. What the walk has found is found again from the
//! directory that the user named, one component at a time and without following links; what is then done with a name is
//! done in the directory that was opened. What somebody puts in the way of a path meanwhile leads nowhere.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, StatxAttributes, StatxFlags, fstat, openat, statat, statx,
};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::Error;
use crate::apply::directories::directory_of;
use crate::apply::source::{Links, Source};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A directory that the user named, held open.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    descriptor: OwnedFd,
}

impl Root {
    /// Opens it; here links are followed.
    ///
    /// # Errors
    /// Errors of the system call.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), descriptor: openat(CWD, path, DIRECTORY, Mode::empty())? })
    }

    /// The path that was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open directory.
    pub fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }
}

/// A path, and where it starts.
#[derive(Debug, Clone)]
pub struct Place {
    /// The path, as it is shown.
    pub path: PathBuf,
    /// The directory that the walk came from; without one the user named the file itself, perhaps by a link.
    pub root: Option<Arc<Root>>,
}

impl Place {
    /// Finds the directory of the file, and the file's name in it.
    ///
    /// # Errors
    /// What the system answers, also where a link now stands in the way.
    pub fn look_up(&self) -> io::Result<Name> {
        match &self.root {
            Some(root) => {
                let path = self.path.strip_prefix(&root.path).map_err(io::Error::other)?;
                Name::below(root.descriptor.as_fd().try_clone_to_owned()?, path)
            }
            None => {
                let real = fs::canonicalize(&self.path)?;
                Name::below(openat(CWD, "/", DIRECTORY, Mode::empty())?, &real)
            }
        }
    }
}

/// A name in an open directory.
#[derive(Debug)]
pub struct Name {
    directory: OwnedFd,
    name: OsString,
}

/// Where an output goes.
#[derive(Debug)]
pub enum Destination {
    /// To this name, whether there is such a file or not.
    Name(Name),
    /// To what a process has open: a name in /proc, such as /proc/self/fd/1, where /dev/stdout leads. The file's name that
    /// can be read there is no link that could be followed: it may be gone, or another file's by now, or none.
    Descriptor(Name),
}

impl Destination {
    /// Where an output called `path` goes: links at its end are followed as open(2) does where protected_symlinks is on
    /// (proc_sys_fs(5)), so that in a directory such as /tmp nobody else's link leads elsewhere. There need be no such
    /// file yet.
    ///
    /// # Errors
    /// What the system answers; too many links, or one that must not be followed.
    pub fn of(path: &Path) -> io::Result<Self> {
        // As many as the kernel follows (path_resolution(7)).
        const MOST_LINKS: usize = 40;
        let mut path = path.to_owned();
        for _ in 0..MOST_LINKS {
            let name = path.file_name().ok_or(rustix::io::Errno::ISDIR)?.to_owned();
            let above = directory_of(&path).to_owned();
            let directory = openat(CWD, &above, DIRECTORY, Mode::empty())?;
            if is_in_proc(&directory) {
                return Ok(Self::Descriptor(Name { directory, name }));
            }
            let link = match statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => stat,
                _ => return Ok(Self::Name(Name { directory, name })),
            };
            let around = fstat(&directory)?;
            let shared = around.st_mode & (STICKY | OTHERS_WRITE) == STICKY | OTHERS_WRITE;
            if shared && link.st_uid != rustix::process::geteuid().as_raw() && link.st_uid != around.st_uid {
                let why = "a link of another user in a directory that everybody can write to is not followed";
                return Err(io::Error::other(why));
            }
            let target = rustix::fs::readlinkat(&directory, &name, Vec::new())?;
            path = above.join(OsStr::from_bytes(target.as_bytes()));
        }
        Err(rustix::io::Errno::LOOP.into())
    }
}

/// PROC_SUPER_MAGIC (linux/magic.h).
fn is_in_proc(directory: &OwnedFd) -> bool {
    const PROC: u64 = 0x9fa0;
    #[allow(clippy::unnecessary_cast, reason = "the field has other types on other architectures")]
    rustix::fs::fstatfs(directory).is_ok_and(|stat| stat.f_type as u64 == PROC)
}

impl Name {
    /// What `path` names from `directory` on, without following links.
    fn below(mut directory: OwnedFd, path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        for component in directory_of(path).components() {
            match component {
                Component::Normal(step) => {
                    directory = openat(&directory, step, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
                }
                Component::RootDir | Component::CurDir => {}
                _ => return Err(io::ErrorKind::InvalidInput.into()),
            }
        }
        Ok(Self { directory, name })
    }

    /// Opens the file for reading; `None` if it has no ELF magic.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn source(&self) -> Result<Option<Source>, Error> {
        Source::open_at(&self.directory, &self.name, Links::Refuse)
    }

    /// Opens a [`Destination::Descriptor`] to be written to. What this process has open is written where it stands: behind
    /// what is there already.
    ///
    /// # Errors
    /// Errors of the system call.
    pub fn open_descriptor(&self) -> io::Result<File> {
        let own = fs::read_link(self.directory_path())?;
        let is_own = own.starts_with(format!("/proc/{}", std::process::id())) && own.ends_with("fd");
        let number: Option<i32> = self.name.to_str().and_then(|name| name.parse().ok()).filter(|_| is_own);
        let duplicate = match number {
            Some(0) => Some(io::stdin().as_fd().try_clone_to_owned()?),
            Some(1) => Some(io::stdout().as_fd().try_clone_to_owned()?),
            Some(2) => Some(io::stderr().as_fd().try_clone_to_owned()?),
            // Kernels before 5.6 have no such call, and some sandboxes forbid it.
            Some(number) => pidfd_open(getpid(), PidfdFlags::empty())
                .and_then(|own| pidfd_getfd(own, number, PidfdGetfdFlags::empty()))
                .ok(),
            None => None,
        };
        let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = duplicate.map_or_else(|| openat(&self.directory, &self.name, flags, Mode::empty()), Ok)?;
        Ok(File::from(opened))
    }

    /// Device and inode number of what has the name now; a link is not followed.
    ///
    /// # Errors
    /// Errors of the system call.
    pub fn inode(&self) -> io::Result<(u64, u64)> {
        let stat = statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(inode_of(&stat))
    }

    /// A path that leads to the open directory, whatever has its name by now.
    pub fn directory_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.directory.as_raw_fd()))
    }

    /// The same for the name in it.
    pub fn path(&self) -> PathBuf {
        self.directory_path().join(&self.name)
    }

    /// What tells this name from all others: the inode of its directory, and the name itself. `None` where the name is
    /// a mount point of its own: the file is there, but the file system has no such name for it.
    pub fn key(&self) -> Option<NameKey> {
        NameKey::of(&self.directory, &self.name)
    }
}

/// See [`Name::key`]. A directory that is mounted in two places has the same names in both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameKey((u64, u64), OsString);

impl NameKey {
    /// The same for a `name` in an open `directory`.
    pub fn of(directory: &impl AsFd, name: &OsStr) -> Option<Self> {
        // Kernels before 5.8 do not tell; some sandboxes refuse to be asked.
        let stat = statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
        if stat.is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)) {
            return None;
        }
        let stat = fstat(directory).ok()?;
        Some(Self(inode_of(&stat), name.to_owned()))
    }
}

#[allow(clippy::useless_conversion, reason = "the fields have other types on other architectures")]
fn inode_of(stat: &Stat) -> (u64, u64) {
    (u64::from(stat.st_dev), u64::from(stat.st_ino))
}

const STICKY: u32 = 0o1000;
const OTHERS_WRITE: u32 = 0o002;
