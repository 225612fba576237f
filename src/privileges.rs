//! What the kernel takes from a program that is written to: set-user-ID and set-group-ID bits, and capabilities.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::Error;

/// Where capabilities(7) of a file are kept.
const CAPABILITY: &str = "security.capability";

/// A file's mode and capabilities, to be given back after an edit.
#[derive(Debug)]
pub struct Privileges {
    mode: u32,
    capability: Option<Vec<u8>>,
}

impl Privileges {
    /// Notes those of `file`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn of(file: &File) -> Result<Self, Error> {
        let mode = file.metadata().map_err(Error::io("cannot stat"))?.mode() & 0o7777;
        Ok(Self { mode, capability: capability(file) })
    }

    /// Gives back what `file` has lost.
    ///
    /// # Errors
    /// [`Error::Io`]: the file has its new search path, but not its privileges.
    pub fn give_back(&self, file: &File) -> Result<(), Error> {
        let now = Self::of(file)?;
        if now.mode != self.mode {
            let mode = Permissions::from_mode(self.mode);
            file.set_permissions(mode).map_err(Error::io("patched, but its mode bits cannot be given back"))?;
        }
        if let Some(capability) = self.capability.as_ref().filter(|_| now.capability != self.capability) {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::fsetxattr(file, CAPABILITY, capability, flags)
                .map_err(io::Error::from)
                .map_err(Error::io("patched, but its capabilities cannot be given back"))?;
        }
        Ok(())
    }
}

fn capability(file: &File) -> Option<Vec<u8>> {
    // vfs_cap_data has at most 24 bytes (linux/capability.h).
    let mut value = [0u8; 64];
    let len = rustix::fs::fgetxattr(file, CAPABILITY, &mut value).ok()?;
    value.get(..len).map(<[u8]>::to_vec)
}
