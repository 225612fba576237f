//! Who needs whom among the files of a walk: the one question that a file alone cannot answer.
//!
//! A dependency without any search path of its own inherits the `DT_RPATH` of the objects that needed it (glibc,
//! elf/dl-load.c, `_dl_map_object`). A first `DT_RUNPATH` would end that.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::decide::entries;
use crate::facts::Facts;

/// The files of a walk by the names that others need them by.
#[derive(Debug, Default)]
pub struct Tree<'f> {
    /// Who needs a library: its SONAME or file name, and the files with such a `DT_NEEDED`.
    needed_by: HashMap<&'f [u8], Vec<(&'f Path, &'f Facts)>>,
}

impl<'f> Tree<'f> {
    /// Takes in all dynamic files of a walk.
    pub fn new(files: impl Iterator<Item = (&'f Path, &'f Facts)>) -> Self {
        let mut needed_by: HashMap<&[u8], Vec<(&Path, &Facts)>> = HashMap::new();
        for (path, facts) in files {
            for name in &facts.needed {
                needed_by.entry(name).or_default().push((path, facts));
            }
        }
        Self { needed_by }
    }

    /// Whether an object of the tree that needs `path`, directly or not, finds a library for it by `DT_RPATH`.
    /// `exists` looks for a file.
    pub fn inherits(&self, path: &Path, facts: &Facts, exists: impl Fn(&Path) -> bool) -> bool {
        if facts.needed.is_empty() {
            return false;
        }
        let mut seen: HashSet<&Path> = HashSet::new();
        let mut open: Vec<(&Path, &Facts)> = self.needing(path, facts).collect();
        while let Some((ancestor, ancestor_facts)) = open.pop() {
            if !seen.insert(ancestor) {
                continue;
            }
            let rpath = ancestor_facts.search.rpath.as_deref().filter(|_| ancestor_facts.search.runpath.is_none());
            let directories = rpath.into_iter().flat_map(entries).filter(|entry| !entry.is_empty());
            let finds = directories
                .map(|entry| expand_origin(entry, ancestor))
                .any(|directory| facts.needed.iter().any(|name| exists(&directory.join(OsStr::from_bytes(name)))));
            if finds {
                return true;
            }
            open.extend(self.needing(ancestor, ancestor_facts));
        }
        false
    }

    fn needing<'s>(&'s self, path: &Path, facts: &Facts) -> impl Iterator<Item = (&'f Path, &'f Facts)> + 's {
        let names = [facts.soname.as_deref(), path.file_name().map(OsStr::as_bytes)];
        let mut found = Vec::new();
        for name in names.into_iter().flatten() {
            found.extend(self.needed_by.get(name).into_iter().flatten().copied());
        }
        found.into_iter()
    }
}

/// Replaces `$ORIGIN` and `${ORIGIN}` by the directory of `object`.
pub fn expand_origin(entry: &[u8], object: &Path) -> PathBuf {
    let origin = object.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let origin = origin.as_os_str().as_bytes();
    let mut expanded = Vec::with_capacity(entry.len());
    let mut rest = entry;
    while let Some((first, tail)) = rest.split_first() {
        let token = [&b"$ORIGIN"[..], b"${ORIGIN}"].into_iter().find_map(|token| rest.strip_prefix(token));
        match token {
            Some(behind) => {
                expanded.extend_from_slice(origin);
                rest = behind;
            }
            None => {
                expanded.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsStr::from_bytes(&expanded))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Current;

    #[test]
    fn origin_is_the_directory_of_the_object() {
        let object = Path::new("/opt/app/lib/libx.so");
        for (entry, expanded) in [
            ("$ORIGIN", "/opt/app/lib"),
            ("${ORIGIN}/../stubs", "/opt/app/lib/../stubs"),
            ("/a/$ORIGIN", "/a//opt/app/lib"),
            ("/plain", "/plain"),
        ] {
            assert_eq!(expand_origin(entry.as_bytes(), object), Path::new(expanded));
        }
        assert_eq!(expand_origin(b"$ORIGIN", Path::new("libx.so")), Path::new("."));
    }

    fn facts(needed: &[&str], rpath: Option<&str>, runpath: Option<&str>) -> Facts {
        Facts {
            needed: needed.iter().map(|name| name.as_bytes().to_vec()).collect(),
            search: Current { rpath: rpath.map(Into::into), runpath: runpath.map(Into::into) },
            ..Facts::default()
        }
    }

    #[test]
    fn a_library_inherits_the_rpath_of_what_needs_it_through_another() {
        let program = facts(&["libouter.so"], Some("$ORIGIN/lib"), None);
        let outer = facts(&["libinner.so"], None, None);
        let inner = facts(&["libdep.so"], None, None);
        let (program_path, outer_path) = (Path::new("/t/program"), Path::new("/t/lib/libouter.so"));
        let inner_path = Path::new("/t/lib/libinner.so");
        let tree = Tree::new([(program_path, &program), (outer_path, &outer), (inner_path, &inner)].into_iter());
        let exists = |path: &Path| path == Path::new("/t/lib/libdep.so");
        assert!(tree.inherits(inner_path, &inner, exists));
        assert!(!tree.inherits(inner_path, &inner, |_| false), "nothing is found there");
        assert!(!tree.inherits(program_path, &program, |_| true), "nobody needs the program");
    }

    #[test]
    fn an_rpath_beside_a_runpath_is_not_inherited() {
        let program = facts(&["libx.so"], Some("/t/lib"), Some("/t/lib"));
        let library = facts(&["libdep.so"], None, None);
        let paths = (Path::new("/t/program"), Path::new("/t/lib/libx.so"));
        let tree = Tree::new([(paths.0, &program), (paths.1, &library)].into_iter());
        assert!(!tree.inherits(paths.1, &library, |_| true));
    }
}
