//! What this machine has, for a new note.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Access, access};

use super::Probe;

/// The file system of this machine.
#[derive(Debug, Clone, Copy)]
pub struct ThisMachine;

impl Probe for ThisMachine {
    fn is_directory(&self, path: &[u8]) -> bool {
        Path::new(OsStr::from_bytes(path)).is_dir()
    }

    fn exists(&self, path: &[u8]) -> bool {
        access(path, Access::EXISTS).is_ok()
    }

    fn is_readable(&self, path: &[u8]) -> bool {
        access(path, Access::READ_OK).is_ok()
    }
}
