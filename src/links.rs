//! Files that must not be edited in place, and how to replace them by a copy of their own.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::Error;
use crate::copy::copy_contents;
use crate::edit::Target;
use crate::source::Source;
use crate::tree::directory_of;

/// How the names of copies in the making start.
pub(crate) const COPY_PREFIX: &str = ".driver-runpath-";

/// Gives `name`, a name of another file, to `file` as well: a hard link that takes its place.
///
/// # Errors
/// [`Error::Io`].
pub fn link_over(file: &Path, name: &Path) -> Result<(), Error> {
    let link = tempfile::Builder::new()
        .prefix(COPY_PREFIX)
        .make_in(directory_of(name), |path| fs::hard_link(file, path))
        .map_err(Error::io("cannot link the copy"))?;
    link.persist(name).map_err(|error| Error::io("cannot rename the link")(error.error))?;
    Ok(())
}

/// What protects files from an edit in place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Protection {
    /// The Nix store, whose files must not change; `None` within a build, where the outputs are written.
    pub store: Option<std::path::PathBuf>,
    /// Replace protected files by a patched copy instead of refusing them.
    pub break_links: bool,
}

/// How a file may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In place.
    InPlace,
    /// By a patched copy that takes the name.
    Copy,
}

impl Way {
    /// Where the changed file at `path` goes.
    pub fn target(self, path: &Path, dry_run: bool) -> Target<'_> {
        match self {
            _ if dry_run => Target::Nowhere,
            Self::InPlace => Target::InPlace,
            Self::Copy => Target::Copy(path),
        }
    }
}

impl Protection {
    /// How the file at `path`, with so many names elsewhere, may be changed.
    ///
    /// # Errors
    /// [`Error::Protected`] where it may not.
    pub fn way(&self, path: &Path, links_elsewhere: u64) -> Result<Way, Error> {
        let in_store =
            self.store.as_ref().is_some_and(|store| fs::canonicalize(path).is_ok_and(|real| real.starts_with(store)));
        let reason = if in_store {
            "it lies in the Nix store".to_owned()
        } else if links_elsewhere > 0 {
            format!("{links_elsewhere} more hard link(s) to it lie outside the paths given")
        } else {
            return Ok(Way::InPlace);
        };
        if self.break_links {
            Ok(Way::Copy)
        } else {
            Err(Error::Protected(format!("{reason}; --break-links replaces it by a patched copy")))
        }
    }
}

/// A copy of `source` beside `path`, with its mode, owner and extended attributes.
///
/// # Errors
/// [`Error::Io`]; nothing is left behind.
pub fn copy_beside(source: &Source, path: &Path) -> Result<NamedTempFile, Error> {
    let copy = copy_in_directory_of(source, path, 0o600)?;
    let stat = source.file().metadata().map_err(Error::io("cannot stat"))?;
    copy_metadata(source.file(), copy.as_file(), &stat)
        .map_err(Error::io("cannot give the copy its owner and mode"))?;
    Ok(copy)
}

/// A copy of `source` that is to become `path`: with the mode of the file there, else with that of a new program.
///
/// # Errors
/// [`Error::Io`]; nothing is left behind.
pub fn copy_as(source: &Source, path: &Path) -> Result<NamedTempFile, Error> {
    const NEW_PROGRAM: u32 = 0o777;
    let copy = copy_in_directory_of(source, path, NEW_PROGRAM)?;
    if let Ok(there) = fs::metadata(path) {
        // Only root can give a file away; whoever else may replace it becomes its owner.
        let _ = fchown(copy.as_file(), Some(there.uid()), Some(there.gid()));
        let mode = Permissions::from_mode(there.mode() & 0o777);
        copy.as_file().set_permissions(mode).map_err(Error::io("cannot give the output its mode"))?;
    }
    Ok(copy)
}

fn copy_in_directory_of(source: &Source, path: &Path, mode: u32) -> Result<NamedTempFile, Error> {
    let copy = tempfile::Builder::new()
        .prefix(COPY_PREFIX)
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(directory_of(path))
        .map_err(|error| Error::io("cannot create a file beside it")(plain(error)))?;
    copy_contents(source.file(), copy.as_file(), source.identity.len).map_err(Error::io("cannot copy"))?;
    source.check_unchanged(source.file())?;
    Ok(copy)
}

/// The system's answer without the name of the temporary file, which means nothing to the user.
fn plain(error: io::Error) -> io::Error {
    io::Error::from(error.kind())
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

/// Opens `copy` for an edit in place.
///
/// # Errors
/// [`Error::Io`] and [`Error::Malformed`], as [`Source::open`].
pub fn open_copy(copy: &NamedTempFile) -> Result<Source, Error> {
    let opened = Source::open(copy.path(), crate::source::Links::Refuse)?;
    opened.ok_or_else(|| Error::io("cannot read the copy")(io::Error::from(io::ErrorKind::InvalidData)))
}
