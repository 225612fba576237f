//! What the kernel takes from a program that is written to: set-user-ID and set-group-ID bits, and capabilities.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::Error;
use crate::apply::map::is_open_for_writing;

/// Where capabilities(7) of a file are kept.
const CAPABILITY: &str = "security.capability";

const SET_USER_ID: u32 = 0o4000;
const SET_GROUP_ID: u32 = 0o2000;
const WRITE_OF_GROUP_AND_OTHERS: u32 = 0o022;

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
    /// [`Error::Io`]. [`Error::Privileged`] where they could not be given back: the kernel takes them at anybody's write,
    /// and nothing tells whose write it was. Given back after a stranger's, they would be that stranger's.
    pub fn of(file: &File) -> Result<Self, Error> {
        let stat = file.metadata().map_err(Error::io("cannot stat"))?;
        let privileges = Self { mode: stat.mode() & 0o7777, capability: capability(file) };
        if privileges.a_stranger_may_gain(&stat) {
            return Err(Error::Privileged);
        }
        Ok(privileges)
    }

    /// Whether bits that an edit costs could be given back: not where somebody has had the file open for writing since
    /// before it had them, for a write during the edit would look like ours. `file` is open for reading alone.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::PrivilegedAndOpen`].
    pub fn check_writers(file: &File) -> Result<(), Error> {
        let mode = file.metadata().map_err(Error::io("cannot stat"))?.mode();
        let has_some = mode & (SET_USER_ID | SET_GROUP_ID) != 0 || capability(file).is_some();
        if has_some && is_open_for_writing(file) == Some(true) {
            return Err(Error::PrivilegedAndOpen);
        }
        Ok(())
    }

    fn a_stranger_may_gain(&self, stat: &Metadata) -> bool {
        let for_all = self.mode & SET_GROUP_ID != 0 || self.capability.is_some();
        // An access list's writers show in the group's bits (acl(5)).
        let others = self.mode & WRITE_OF_GROUP_AND_OTHERS != 0;
        // What set-user-ID gives, the owner has already; the group and capabilities need not be the owner's.
        let owner = ![0, rustix::process::geteuid().as_raw()].contains(&stat.uid());
        others && (for_all || self.mode & SET_USER_ID != 0) || owner && for_all
    }

    /// Gives back what `file` has lost.
    ///
    /// # Errors
    /// [`Error::Io`]: the file has its new search path, but not its privileges.
    pub fn give_back(&self, file: &File) -> Result<(), Error> {
        let now = file.metadata().map_err(Error::io("cannot stat"))?.mode() & 0o7777;
        if now != self.mode {
            let mode = Permissions::from_mode(self.mode);
            file.set_permissions(mode).map_err(Error::io("patched, but its mode bits cannot be given back"))?;
        }
        if let Some(given) = self.capability.as_ref().filter(|given| capability(file).as_ref() != Some(given)) {
            rustix::fs::fsetxattr(file, CAPABILITY, given, rustix::fs::XattrFlags::empty())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_given_back_only_where_nobody_else_could_have_written() {
        let file = tempfile::tempfile().expect("a temporary file");
        let refused = |mode: u32| {
            file.set_permissions(Permissions::from_mode(mode)).expect("a mode");
            Privileges::of(&file).is_err()
        };
        for mode in [0o755, 0o777, 0o4755, 0o6755, 0o2711] {
            assert!(!refused(mode), "{mode:o}");
        }
        for mode in [0o4775, 0o4757, 0o2775, 0o6777] {
            assert!(refused(mode), "{mode:o}");
        }
    }
}
