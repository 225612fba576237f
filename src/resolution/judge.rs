//! Whether a note leads to the driver.

use super::{Element, entries};
use crate::decide::{self, is_cuda_compat, is_stub_directory, same_directory_key};
use crate::detect::DriverNames;

/// What a note says of one driver library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The library.
    pub name: Vec<u8>,
    /// Where it leads to.
    pub leads_to: LeadsTo,
}

/// Where a note leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeadsTo {
    /// To the driver directory, or to what shall win over it.
    Driver,
    /// To this file of a directory of stubs, or to this directory.
    Stub(Vec<u8>),
    /// To this file, past the driver directory.
    Elsewhere(Vec<u8>),
    /// Nowhere in particular: the search path decides.
    SearchPath,
}

impl Said {
    /// Whether a loader that reads the note misses the driver.
    pub fn misses(&self) -> bool {
        matches!(self.leads_to, LeadsTo::Stub(_) | LeadsTo::Elsewhere(_))
    }
}

/// What the note says of each driver library that it names. `path` is the search path beside it.
pub fn of_drivers(descriptor: &[u8], path: &[u8], driver_dir: &[u8], names: &DriverNames) -> Vec<Said> {
    let said = |entry: super::Entry<'_>| Said {
        name: entry.name.to_vec(),
        leads_to: leads_to(entry.elements(), path, driver_dir),
    };
    entries(descriptor).filter(|entry| names.is_driver_soname(entry.name)).map(said).collect()
}

fn leads_to<'a>(elements: impl Iterator<Item = Element<'a>>, path: &[u8], driver_dir: &[u8]) -> LeadsTo {
    for element in elements {
        let (directory, place) = match element {
            Element::File(file) => (parent(file), file),
            Element::Directory(directory) => (directory, directory),
        };
        if is_same(directory, driver_dir) || is_cuda_compat(directory) {
            return LeadsTo::Driver;
        }
        if is_stub_directory(directory) {
            return LeadsTo::Stub(place.to_vec());
        }
        // What lies in a directory, nobody knows yet; a file was there.
        if matches!(element, Element::File(_)) {
            // The search path wants it so.
            let first = decide::entries(path).take_while(|entry| !is_same(entry, driver_dir));
            let mut first = first.filter(|entry| is_same(entry, directory));
            return if first.next().is_some() { LeadsTo::Driver } else { LeadsTo::Elsewhere(place.to_vec()) };
        }
    }
    LeadsTo::SearchPath
}

fn is_same(a: &[u8], b: &[u8]) -> bool {
    same_directory_key(a) == same_directory_key(b)
}

fn parent(file: &[u8]) -> &[u8] {
    let end = memchr::memrchr(b'/', file).unwrap_or(0);
    file.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRIVER: &str = "/run/opengl-driver/lib";

    fn said(list: &str, path: &str) -> LeadsTo {
        let descriptor = format!("libc.so.6\0=/glibc/libc.so.6\0libcuda.so.1\0{list}\0\0");
        let names = DriverNames::default();
        let mut said = of_drivers(descriptor.as_bytes(), path.as_bytes(), DRIVER.as_bytes(), &names);
        assert_eq!(said.len(), 1, "libc is no driver library");
        said.remove(0).leads_to
    }

    #[test]
    fn the_first_file_or_driver_directory_decides() {
        let stub = "/nix/store/h-cuda_cudart-13.0-stubs/lib/stubs/libcuda.so.1";
        for (list, expected) in [
            ("?/run/opengl-driver/lib:=/x/libcuda.so.1", LeadsTo::Driver),
            ("=/run/opengl-driver/lib/libcuda.so.1", LeadsTo::Driver),
            ("?$ORIGIN:?/run/opengl-driver/lib/", LeadsTo::Driver),
            ("=/nix/store/h-cuda_compat-13/compat/libcuda.so.1", LeadsTo::Driver),
            (&format!("={stub}"), LeadsTo::Stub(stub.into())),
            ("?/c/lib/stubs:?/run/opengl-driver/lib", LeadsTo::Stub(b"/c/lib/stubs".to_vec())),
            ("?$ORIGIN:=/x/libcuda.so.1", LeadsTo::Elsewhere(b"/x/libcuda.so.1".to_vec())),
            ("?$ORIGIN", LeadsTo::SearchPath),
        ] {
            assert_eq!(said(list, DRIVER), expected, "{list}");
        }
    }

    #[test]
    fn a_directory_that_the_search_path_has_before_the_driver_s_may_win() {
        assert_eq!(said("=/x/libcuda.so.1", "/x/:/run/opengl-driver/lib"), LeadsTo::Driver);
        assert_eq!(
            said("=/x/libcuda.so.1", "/run/opengl-driver/lib:/x"),
            LeadsTo::Elsewhere(b"/x/libcuda.so.1".to_vec())
        );
    }
}
