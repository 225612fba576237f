//! Which files refer to a package of link-time stubs: with one such path in an output, Nix keeps the stubs in its closure,
//! and what was linked against them may find them there.
//!
//! Nix knows references by the 32 characters in front of a package's name, wherever they stand in a regular file or in a
//! symbolic link (Nix manual, "Store Derivation and Deriver", references). The name behind them tells what the package is.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use memchr::memmem;

use crate::Error;
use crate::apply::source::Take;
use crate::decide::is_stub_package;
use crate::walk::{Exclude, walk_for};

/// Characters of a store path's hash.
const HASH: usize = 32;

/// One file that refers to a package of stubs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// The file, or the symbolic link.
    pub path: PathBuf,
    /// The package: the hash and the name, without the store.
    pub package: Vec<u8>,
}

/// The packages of stubs that `bytes` name, each once.
pub fn stub_packages(bytes: &[u8]) -> BTreeSet<&[u8]> {
    const ENDING: &[u8] = b"-stubs";
    let ends = memmem::find_iter(bytes, ENDING).filter_map(|at| at.checked_add(ENDING.len()));
    let names = ends.filter_map(|end| {
        let (head, tail) = bytes.split_at_checked(end)?;
        if tail.first().is_some_and(|&byte| is_name_byte(byte)) {
            return None;
        }
        let start = head.iter().rposition(|&byte| !is_name_byte(byte)).map_or(0, |before| before.saturating_add(1));
        head.get(start..).filter(|name| has_hash(name) && is_stub_package(name))
    });
    names.collect()
}

/// What a store path's name consists of (Nix, `checkName` in src/libstore/path.cc).
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+-._?=".contains(&byte)
}

fn has_hash(name: &[u8]) -> bool {
    let hash = name.split_at_checked(HASH);
    hash.is_some_and(|(hash, rest)| {
        rest.starts_with(b"-") && hash.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

/// The files at and below `paths` that refer to packages of stubs, by path, and what could not be looked at. A package of
/// stubs may refer to itself.
pub fn scan(paths: &[PathBuf], exclude: &Exclude) -> (Vec<Reference>, Vec<(PathBuf, Error)>) {
    let of = |path: &Path, bytes: &[u8]| -> Vec<Reference> {
        let is_own = |package: &[u8]| path.components().any(|part| part.as_os_str().as_bytes() == package);
        let packages = stub_packages(bytes).into_iter().filter(|package| !is_own(package));
        packages.map(|package| Reference { path: path.to_owned(), package: package.to_vec() }).collect()
    };
    let walked = walk_for(Take::All, paths, exclude, |path, source| -> Result<Vec<Reference>, Error> {
        let found = of(path, source.bytes());
        source.check_whole()?;
        Ok(found)
    });
    let mut problems = walked.problems;
    let mut references = Vec::new();
    for found in walked.files {
        match found.seen {
            Ok(found) => references.extend(found),
            Err(error) => problems.push((found.path, error)),
        }
    }
    for root in paths {
        links(root, root, exclude, &mut |path, target| references.extend(of(path, target)));
    }
    references.sort();
    references.dedup();
    (references, problems)
}

/// Calls `look` for each symbolic link at and below `path` with what it says. What cannot be read, the walk has reported.
fn links(root: &Path, path: &Path, exclude: &Exclude, look: &mut impl FnMut(&Path, &[u8])) {
    let Ok(stat) = path.symlink_metadata() else { return };
    if stat.is_symlink() {
        if let Ok(target) = fs::read_link(path) {
            look(path, target.as_os_str().as_bytes());
        }
    } else if stat.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.filter(|entry| !exclude.matches(root, entry)).for_each(|entry| links(root, &entry, exclude, look));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "0123456789abcdfghijklmnpqrsvwxyz-cuda13.0-cuda_cudart-13.0.48-stubs";

    fn found(text: &str) -> Vec<String> {
        stub_packages(text.as_bytes()).into_iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    }

    #[test]
    fn a_package_of_stubs_is_known_by_its_hash_and_its_name() {
        for text in [
            NAME.to_owned(),
            format!("/nix/store/{NAME}/lib/stubs"),
            format!("x\0/gnu/store/{NAME}\0y"),
            format!("\"/nix/store/{NAME}/lib:/nix/store/{NAME}\""),
        ] {
            assert_eq!(found(&text), [NAME], "{text}");
        }
        for text in [
            format!("/nix/store/{}", &NAME[1..]),
            format!("/nix/store/{}", NAME.replace("-cuda", "-other")),
            format!("/nix/store/{NAME}-dev"),
            format!("/nix/store/{}", NAME.replacen('-', "/", 1)),
            format!("/nix/store/{}", NAME.to_uppercase()),
            "-stubs".to_owned(),
            String::new(),
        ] {
            assert_eq!(found(&text), [] as [&str; 0], "{text}");
        }
    }
}
