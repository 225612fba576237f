//! Which loader reads the note: one built with nixpkgs' patch of glibc, and no other.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::apply::source::{Links, Source};

/// A loader that reads the note has this string.
const MARK: &[u8] = b"RESCACHE";

/// Loaders have a few hundred KB; a file that claims to be one can have any size.
const MOST_BYTES: usize = 16 << 20;

/// Whether these bytes of a loader are those of one that reads the note.
pub fn reads_notes(loader: &[u8]) -> bool {
    memchr::memmem::find(loader.get(..MOST_BYTES).unwrap_or(loader), MARK).is_some()
}

/// Whether somebody reads the note of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reader {
    /// This loader does.
    Reads(PathBuf),
    /// The loaders that are named do not, this one among them.
    Ignores(PathBuf),
    /// No loader is named, or none that is there.
    Unknown,
}

/// The loaders that the programs of a tree name.
#[derive(Debug, Default)]
pub struct Loaders {
    known: HashMap<Vec<u8>, Option<bool>>,
    /// Of the programs of the tree.
    of_tree: Option<Reader>,
}

impl Loaders {
    /// Looks at the loaders that these programs name, each once.
    pub fn of<'n>(interpreters: impl Iterator<Item = &'n [u8]>) -> Self {
        let mut loaders = Self::default();
        for name in interpreters {
            let path = Path::new(OsStr::from_bytes(name));
            let reads = *loaders.known.entry(name.to_vec()).or_insert_with(|| {
                let source = Source::open(path, Links::Follow).ok()??;
                Some(reads_notes(source.bytes()))
            });
            match (reads, &loaders.of_tree) {
                (Some(true), Some(Reader::Reads(_))) | (Some(false), Some(_)) | (None, _) => {}
                (Some(true), _) => loaders.of_tree = Some(Reader::Reads(path.to_owned())),
                (Some(false), None) => loaders.of_tree = Some(Reader::Ignores(path.to_owned())),
            }
        }
        loaders
    }

    /// Who reads the note of a file that names this loader, or none: then, whoever loads the programs of the tree.
    pub fn reader(&self, interpreter: Option<&[u8]>) -> Reader {
        let Some(name) = interpreter else { return self.of_tree.clone().unwrap_or(Reader::Unknown) };
        let path = PathBuf::from(OsStr::from_bytes(name));
        match self.known.get(name) {
            Some(Some(true)) => Reader::Reads(path),
            Some(Some(false)) => Reader::Ignores(path),
            _ => Reader::Unknown,
        }
    }
}
