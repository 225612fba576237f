//! Files that must not be edited in place, and how to replace them by a copy of their own.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, linkat};
use tempfile::NamedTempFile;

use crate::Error;
use crate::apply::copy::copy_contents;
use crate::apply::place::{Name, Place};
use crate::apply::source::{Source, is_on_overlay};

/// How the names of copies in the making start.
pub(crate) const COPY_PREFIX: &str = ".driver-runpath-";

/// What protects files from an edit in place.
///
/// ```
/// use driver_runpath::edit::{OpenOptions, Protection};
///
/// let mut options = OpenOptions::default();
/// options.protection.store = Some("/gnu/store".into());
/// assert_ne!(options.protection, Protection::none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Protection {
    /// The Nix store, whose files must not change; `None` within a build, where the outputs are written.
    pub store: Option<PathBuf>,
    /// What is done with files that have names elsewhere.
    pub links: HardLinks,
}

/// What is done with a file that has hard links which were not given, as in a cache of uv or conda.
///
/// ```
/// use driver_runpath::edit::{HardLinks, Protection};
///
/// assert_eq!(Protection::default().links, HardLinks::Refuse);
/// let in_a_venv_of_uv = Protection::default().with_links(HardLinks::Break);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum HardLinks {
    /// It is refused.
    #[default]
    Refuse,
    /// A patched copy takes the names that were given; also of a file that runs.
    Break,
    /// It is changed under all its names, as patchelf does.
    ChangeAll,
}

impl Default for Protection {
    /// The store is that of the environment: `/nix/store`, or `NIX_STORE_DIR`, unless this is a build in it.
    fn default() -> Self {
        let in_build = std::env::var_os("NIX_BUILD_TOP").is_some();
        let store = std::env::var_os("NIX_STORE_DIR").unwrap_or_else(|| "/nix/store".into());
        Self { store: (!in_build).then(|| PathBuf::from(store)), links: HardLinks::default() }
    }
}

impl Protection {
    /// No file is protected.
    pub fn none() -> Self {
        Self { store: None, links: HardLinks::ChangeAll }
    }

    /// The same, with this for files that have names elsewhere.
    #[must_use]
    pub fn with_links(self, links: HardLinks) -> Self {
        Self { links, ..self }
    }
}

/// How a file may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// In place.
    InPlace,
    /// By a patched copy that takes the name.
    Copy,
}

impl Protection {
    /// How a file may be changed of which the walk has found a name and `others`.
    ///
    /// # Errors
    /// [`Error::InStore`], [`Error::Linked`] where it may not.
    pub(crate) fn method(&self, source: &Source, others: &[Place]) -> Result<Method, Error> {
        let in_store =
            self.store.as_ref().is_some_and(|store| source.real_path().is_some_and(|real| real.starts_with(store)));
        if in_store {
            // A copy would be as wrong there: the store knows its files by their hashes.
            return Err(Error::InStore);
        }
        if self.links == HardLinks::ChangeAll {
            return Ok(Method::InPlace);
        }
        let elsewhere = match source.links {
            0 | 1 => 0,
            links => {
                let is_still = |place: &&Place| {
                    place.look_up().and_then(|name| name.inode()).is_ok_and(|inode| inode == source.identity.inode)
                };
                links.saturating_sub(1).saturating_sub(others.iter().filter(is_still).count() as u64)
            }
        };
        if elsewhere > 0 {
            return if self.links == HardLinks::Break { Ok(Method::Copy) } else { Err(Error::Linked(elsewhere)) };
        }
        if source.links > 1 && is_on_overlay(source.file()) {
            // Written to, a file of a lower layer loses its other names to the file as it was.
            return Ok(Method::Copy);
        }
        // A running program keeps the old file; the name gets the new one.
        Ok(if self.links == HardLinks::Break && source.is_running() { Method::Copy } else { Method::InPlace })
    }
}

/// Whether a file could be changed by this `method`, as far as is known without writing.
///
/// # Errors
/// Why not, as the edit would say it.
pub(crate) fn check_possible(method: Method, source: &Source, name: &Name) -> Result<(), Error> {
    match method {
        Method::InPlace => source.check_writable(),
        Method::Copy => {
            let directory = name.directory_path();
            let allowed = rustix::fs::access(directory, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
            allowed.map_err(|error| cannot_create(error.into()))
        }
    }
}

/// A copy in the making. Until it has its metadata, nobody else can open it.
#[derive(Debug)]
pub(crate) struct Copy(NamedTempFile);

impl Copy {
    /// The open copy, for reading and writing.
    pub(crate) fn file(&self) -> &File {
        self.0.as_file()
    }

    /// Takes owner, mode and extended attributes of `from` as they are now, after its bytes were read: what a write by
    /// somebody else has cost the file, the copy does not get either.
    pub(crate) fn take_metadata(&self, from: &File) -> Result<(), Error> {
        let stat = from.metadata().map_err(Error::io("cannot stat"))?;
        copy_metadata(from, self.file(), &stat).map_err(Error::unwritten("cannot give the copy its owner and mode"))
    }
}

/// A copy of `bytes`, those of `source`, beside `name`.
///
/// # Errors
/// [`Error::Io`]; nothing is left behind.
pub(crate) fn copy_beside(source: &Source, bytes: &[u8], name: &Name) -> Result<Copy, Error> {
    copy_in_directory_of(source, bytes, name, 0o600)
}

/// A copy of `bytes`, those of `source`, that is to take `name`: with the mode of the file there, else with that of a new
/// program.
///
/// # Errors
/// [`Error::Io`]; nothing is left behind.
pub(crate) fn copy_as(source: &Source, bytes: &[u8], name: &Name) -> Result<Copy, Error> {
    const NEW_PROGRAM: u32 = 0o777;
    let copy = copy_in_directory_of(source, bytes, name, NEW_PROGRAM)?;
    if let Ok(there) = fs::symlink_metadata(name.path()) {
        // Only root can give a file away; whoever else may replace it becomes its owner.
        let _ = fchown(copy.file(), Some(there.uid()), Some(there.gid()));
        let mode = Permissions::from_mode(there.mode() & 0o777);
        copy.file().set_permissions(mode).map_err(Error::io("cannot give the output its mode"))?;
    }
    Ok(copy)
}

fn copy_in_directory_of(source: &Source, bytes: &[u8], name: &Name, mode: u32) -> Result<Copy, Error> {
    let copy = tempfile::Builder::new()
        .prefix(COPY_PREFIX)
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(name.directory_path())
        .map_err(cannot_create)?;
    let copied = if std::ptr::eq(bytes, source.bytes()) {
        copy_contents(source.file(), copy.as_file(), source.identity.len)
    } else {
        // Without the unfinished edit of an earlier run.
        copy.as_file().write_all(bytes)
    };
    copied.map_err(Error::unwritten("cannot copy"))?;
    source.check_unchanged(source.file())?;
    Ok(Copy(copy))
}

pub(crate) fn cannot_create(error: io::Error) -> Error {
    // Words of our own say more than their kind.
    let is_ours = error.kind() == io::ErrorKind::Other && error.raw_os_error().is_none();
    let is_loop = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    Error::unwritten("cannot create a file beside it")(if is_ours || is_loop { error } else { plain(&error) })
}

/// The system's answer without the name of the temporary file, which means nothing to the user.
fn plain(error: &io::Error) -> io::Error {
    io::Error::from(error.kind())
}

/// Gives `name` to `copy`, and returns it open. `was` is the inode that must have the name until now.
///
/// # Errors
/// [`Error::Io`]; [`Error::Changed`] where another file has the name by now.
pub(crate) fn give_name(copy: Copy, name: &Name, was: Option<(u64, u64)>) -> Result<File, Error> {
    if was.is_some_and(|was| name.inode().ok() != Some(was)) {
        return Err(Error::Changed);
    }
    let file = copy.0.persist(name.path()).map_err(|error| Error::unwritten("cannot rename the copy")(error.error))?;
    // Whoever can write to the directory may have replaced the copy meanwhile; that is their right.
    if name.inode().ok() == Some(inode(&file)?) { Ok(file) } else { Err(Error::Changed) }
}

/// Gives the open `copy` all names in `places` that the file with inode `was` still has.
///
/// # Errors
/// [`Error::Io`]: the file is patched under its first name, and some other has the old file.
pub(crate) fn give_other_names(copy: &File, places: &[Place], was: (u64, u64)) -> Result<(), Error> {
    let is = inode(copy)?;
    for place in places {
        let name = place.look_up().map_err(cannot_share)?;
        match name.inode().map_err(cannot_share)? {
            there if there == is => {}
            there if there == was => link_over(copy, &name)?,
            _ => return Err(cannot_share(io::Error::other("that name has another file by now"))),
        }
    }
    Ok(())
}

fn cannot_share(error: io::Error) -> Error {
    Error::io("patched, but another of its names cannot be given to the copy")(error)
}

/// Gives `name`, a name of another file, to the open `file` as well: a hard link that takes its place.
fn link_over(file: &File, name: &Name) -> Result<(), Error> {
    // The open file itself, whatever its names have become meanwhile.
    let descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = tempfile::Builder::new()
        .prefix(COPY_PREFIX)
        .make_in(name.directory_path(), |path| {
            linkat(CWD, &descriptor, CWD, path, AtFlags::SYMLINK_FOLLOW).map_err(io::Error::from)
        })
        .map_err(|error| cannot_share(plain(&error)))?;
    link.persist(name.path()).map_err(|error| cannot_share(error.error))?;
    Ok(())
}

fn inode(file: &File) -> Result<(u64, u64), Error> {
    let stat = file.metadata().map_err(Error::io("cannot stat"))?;
    Ok((stat.dev(), stat.ino()))
}

fn copy_metadata(from: &File, to: &File, stat: &fs::Metadata) -> io::Result<()> {
    let now = to.metadata()?;
    if (now.uid(), now.gid()) != (stat.uid(), stat.gid()) {
        fchown(to, Some(stat.uid()), Some(stat.gid()))?;
    }
    copy_attributes(from, to)?;
    // Last: a change of owner takes set-uid bits away.
    to.set_permissions(Permissions::from_mode(stat.mode() & 0o7777))
}

fn copy_attributes(from: &File, to: &File) -> io::Result<()> {
    let mut names = vec![0u8; 0x1_0000];
    let len = match rustix::fs::flistxattr(from, &mut names) {
        Ok(len) => len,
        // A file system without extended attributes has none to keep.
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let listed = names.get(..len).unwrap_or_default();
    for name in listed.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0u8; 0x1_0000];
        let len = rustix::fs::fgetxattr(from, name, &mut value)?;
        rustix::fs::fsetxattr(to, name, value.get(..len).unwrap_or_default(), rustix::fs::XattrFlags::empty())?;
    }
    Ok(())
}
