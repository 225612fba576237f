//! How far a run has got, for whoever shows it.
//!
//! ```
//! let watch = driver_runpath::watch::Watch::default();
//! assert_eq!((watch.scanned(), watch.edited(), watch.to_edit()), (0, 0, 0));
//! ```

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::apply::directories::directory_of;

/// How far a run has got. Whoever started it keeps one end of the [`Arc`](std::sync::Arc), and asks from another thread.
///
/// ```
/// use driver_runpath::check::{Options, check};
///
/// let options = Options::default();
/// check(&["testdata/prebuilt/x86_64".into()], &options);
/// assert!(options.watch.scanned() > 0);
/// ```
#[derive(Debug, Default)]
pub struct Watch {
    scanned: AtomicU64,
    edited: AtomicU64,
    /// How many files are to be edited; 0 as long as nobody knows.
    to_edit: AtomicU64,
    at: Mutex<PathBuf>,
}

impl Watch {
    /// The run looks at an ELF file.
    pub(crate) fn scans(&self, path: &Path) {
        self.scanned.fetch_add(1, Ordering::Relaxed);
        self.is_at(path);
    }

    /// The run has looked at all files, and goes on with some of them.
    pub(crate) fn will_edit(&self, files: u64) {
        self.to_edit.store(files, Ordering::Relaxed);
    }

    /// The run edits a file.
    pub(crate) fn edits(&self, path: &Path) {
        self.edited.fetch_add(1, Ordering::Relaxed);
        self.is_at(path);
    }

    fn is_at(&self, path: &Path) {
        // A thread that ended in the middle of this has left a path, if an older one.
        let mut at = self.at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        at.clear();
        at.push(directory_of(path));
    }

    /// How many ELF files it has looked at.
    pub fn scanned(&self) -> u64 {
        self.scanned.load(Ordering::Relaxed)
    }

    /// How many files it has edited, or left as they are after a second look.
    pub fn edited(&self) -> u64 {
        self.edited.load(Ordering::Relaxed)
    }

    /// How many of these there will be; 0 as long as nobody knows.
    pub fn to_edit(&self) -> u64 {
        self.to_edit.load(Ordering::Relaxed)
    }

    /// What is done, and where: the directory of the last file.
    pub fn state(&self) -> (String, PathBuf) {
        let at = self.at.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let (edited, to_edit) = (self.edited(), self.to_edit());
        let what = match to_edit {
            0 => format!("{} ELF files scanned", self.scanned()),
            _ => format!("{edited} of {to_edit} files edited"),
        };
        (what, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_known_once_all_files_were_scanned() {
        let watch = Watch::default();
        watch.scans(Path::new("/v/lib/a.so"));
        watch.scans(Path::new("/v/bin/b"));
        assert_eq!(watch.state(), ("2 ELF files scanned".to_owned(), PathBuf::from("/v/bin")));
        watch.will_edit(2);
        watch.edits(Path::new("/v/lib/a.so"));
        assert_eq!(watch.state(), ("1 of 2 files edited".to_owned(), PathBuf::from("/v/lib")));
    }
}
