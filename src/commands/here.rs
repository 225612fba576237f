//! What this machine has of a driver: search paths alone are judged, for the file may be meant for another machine.

use std::path::{Path, PathBuf};

use crate::commands::explain::{Found, found_anyway, wanted};
use crate::detect::{Detection, DriverNames};

/// What this machine has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Here {
    /// The driver directories that files were judged by, and whether each exists.
    pub directories: Vec<(Vec<u8>, bool)>,
    /// The driver libraries that files want, and what the loader finds without a search path. Only where that makes a
    /// difference: a directory does not exist, or is not in the search path of some file.
    pub libraries: Vec<(Vec<u8>, Option<Found>)>,
}

/// A file that loads the driver.
pub struct Loading<'a> {
    /// Its path.
    pub path: &'a Path,
    /// The names that it wants.
    pub detection: &'a Detection,
    /// The directory that it was judged by.
    pub directory: &'a [u8],
    /// Whether that is in its search path.
    pub has_it: bool,
}

impl Here {
    /// Looks around.
    pub fn look<'a>(files: impl Iterator<Item = Loading<'a>>, names: &DriverNames) -> Self {
        /// Few files want more, and each costs a search.
        const MOST_LIBRARIES: usize = 4;
        let mut here = Self::default();
        for file in files {
            let exists = match here.directories.iter().find(|(known, _)| known == file.directory) {
                Some((_, exists)) => *exists,
                None => {
                    let exists = is_directory(file.directory);
                    here.directories.push((file.directory.to_vec(), exists));
                    exists
                }
            };
            if exists && file.has_it {
                continue;
            }
            for (name, _) in wanted(file.detection, names) {
                if here.libraries.len() < MOST_LIBRARIES && !here.libraries.iter().any(|(known, _)| *known == name) {
                    let found = found_anyway(file.path, &name);
                    here.libraries.push((name, found));
                }
            }
        }
        here
    }

    /// The directories that do not exist.
    pub fn missing(&self) -> impl Iterator<Item = &[u8]> {
        self.directories.iter().filter(|(_, exists)| !exists).map(|(directory, _)| directory.as_slice())
    }
}

/// Whether there is such a directory.
pub fn is_directory(path: &[u8]) -> bool {
    use std::os::unix::ffi::OsStringExt;
    PathBuf::from(std::ffi::OsString::from_vec(path.to_vec())).is_dir()
}
