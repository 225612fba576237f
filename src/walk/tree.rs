//! Who needs whom among the files of a walk: the questions that a file alone cannot answer.
//!
//! A dependency without any search path of its own inherits the `DT_RPATH` of the objects that needed it (glibc,
//! elf/dl-load.c, `_dl_map_object`). A first `DT_RUNPATH` would end that. And a file that names
//! a driver library, but can open nothing, hands the name to a file that can.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::apply::directories::{expand_origin, has_unknown_token};
use crate::decide::entries;
use crate::facts::Facts;

/// A file of the walk.
type Member<'f> = (&'f Path, &'f Facts);

/// The files of a walk by the names that others need them by.
#[derive(Debug, Default)]
pub struct Tree<'f> {
    /// Who needs a library: its SONAME or file name, and the files with such a `DT_NEEDED`.
    needed_by: HashMap<&'f [u8], Vec<Member<'f>>>,
    /// The files by SONAME and file name.
    provided_by: HashMap<&'f [u8], Vec<Member<'f>>>,
    /// The files whose `DT_RPATH` counts. Those that share one and a directory are together: it leads all of them to the
    /// same places, and in a tree of hundreds each place is a question to the file system.
    with_rpath: HashMap<(Option<&'f Path>, &'f [u8]), Vec<Member<'f>>>,
}

impl<'f> Tree<'f> {
    /// Takes in all dynamic files of a walk.
    pub fn new(files: impl Iterator<Item = Member<'f>>) -> Self {
        let mut tree = Self::default();
        for (path, facts) in files {
            for name in &facts.needed {
                tree.needed_by.entry(name).or_default().push((path, facts));
            }
            if let (Some(rpath), None) = (&facts.search.rpath, &facts.search.runpath) {
                tree.with_rpath.entry((path.parent(), rpath)).or_default().push((path, facts));
            }
            for name in names_of(path, facts) {
                tree.provided_by.entry(name).or_default().push((path, facts));
            }
        }
        tree
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
            if finds_by_rpath(ancestor, ancestor_facts, facts.needed.iter().map(Vec::as_slice), &exists) {
                return true;
            }
            open.extend(self.needing(ancestor, ancestor_facts));
        }
        // Nothing tells which object opens it at run time; one whose DT_RPATH leads to it may.
        let own_name = path.file_name().map(OsStr::as_bytes);
        let mut others =
            self.with_rpath.values().filter_map(|objects| objects.iter().find(|(object, _)| *object != path));
        others.any(|(object, object_facts)| {
            finds_by_rpath(object, object_facts, own_name.into_iter(), &exists)
                && finds_by_rpath(object, object_facts, facts.needed.iter().map(Vec::as_slice), &exists)
        })
    }

    /// All names that files of the tree need.
    pub fn needed(&self) -> impl Iterator<Item = &'f [u8]> {
        self.needed_by.keys().copied()
    }

    /// The files that import `dlopen` among those that `facts` needs, directly or not, the nearest first.
    pub fn openers(&self, facts: &Facts) -> Vec<&'f Path> {
        let mut seen: HashSet<&[u8]> = HashSet::new();
        let mut openers: Vec<&Path> = Vec::new();
        let mut open: VecDeque<&Vec<u8>> = facts.needed.iter().collect();
        while let Some(name) = open.pop_front() {
            if !seen.insert(name) {
                continue;
            }
            for (path, provider) in self.provided_by.get(name.as_slice()).into_iter().flatten() {
                if provider.detection.opens && !openers.contains(path) {
                    openers.push(path);
                }
                open.extend(&provider.needed);
            }
        }
        openers
    }

    fn needing<'s>(&'s self, path: &Path, facts: &Facts) -> impl Iterator<Item = Member<'f>> + 's {
        let mut found = Vec::new();
        for name in names_of(path, facts) {
            found.extend(self.needed_by.get(name).into_iter().flatten().copied());
        }
        found.into_iter()
    }
}

/// The names that others may need a file by, each once: its SONAME and its file name.
fn names_of<'f>(path: &'f Path, facts: &'f Facts) -> impl Iterator<Item = &'f [u8]> {
    let file_name = path.file_name().map(OsStr::as_bytes);
    let soname = facts.soname.as_deref().filter(|soname| Some(*soname) != file_name);
    soname.into_iter().chain(file_name)
}

/// Whether the `DT_RPATH` of `object`, if it counts, leads to one of `names`. Where `$LIB` and `$PLATFORM` lead to is the
/// loader's secret: taken as yes.
fn finds_by_rpath<'n>(
    object: &Path,
    facts: &Facts,
    names: impl Iterator<Item = &'n [u8]> + Clone,
    exists: &impl Fn(&Path) -> bool,
) -> bool {
    let rpath = facts.search.rpath.as_deref().filter(|_| facts.search.runpath.is_none());
    let mut directories = rpath.into_iter().flat_map(entries).filter(|entry| !entry.is_empty());
    directories.any(|entry| {
        let directory = expand_origin(entry, object);
        let held = |name| exists(&directory.join(OsStr::from_bytes(name)));
        has_unknown_token(&directory) || names.clone().any(held)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Current;
    use crate::detect::Detection;

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
    fn the_opener_of_a_name_is_sought_among_the_dependencies_the_nearest_first() {
        let opens = |facts: Facts| Facts { detection: Detection { opens: true, ..Detection::default() }, ..facts };
        let plugin = facts(&["libwrapper.so.0", "libgone.so"], None, None);
        let wrapper = Facts {
            soname: Some(b"libwrapper.so.0".to_vec()),
            ..opens(facts(&["libfar.so", "libwrapper.so.0"], None, None))
        };
        let far = opens(facts(&[], None, None));
        let stranger = opens(facts(&[], None, None));
        let files = [
            ("/t/plugin.so", &plugin),
            ("/t/libfar.so", &far),
            ("/t/libwrapper.so.0.1", &wrapper),
            ("/t/libstranger.so", &stranger),
        ];
        let tree = Tree::new(files.iter().map(|(path, facts)| (Path::new(path), *facts)));
        assert_eq!(tree.openers(&plugin), [Path::new("/t/libwrapper.so.0.1"), Path::new("/t/libfar.so")]);
        assert_eq!(tree.openers(&far), [] as [&Path; 0]);
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
