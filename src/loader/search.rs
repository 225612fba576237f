//! The order of the search (glibc, elf/dl-load.c, `_dl_map_object`, `fillin_rpath`, `open_path`).

use std::collections::{HashMap, HashSet};

use super::{
    Cache, Directory, Dropped, Ending, Fit, Outcome, Rule, Search, Selection, Stage, Target, Tokens, Try, expand,
};
use crate::resolution::{self, Element};

/// What the loader of a system has built in, and what it knows of the processor.
#[derive(Debug, Clone)]
pub struct System {
    /// The files that it loads.
    pub target: Target,
    /// The default directories, without the slash at the end.
    pub default_dirs: Vec<Vec<u8>>,
    /// What `$LIB` stands for.
    pub lib: Vec<u8>,
    /// What `$PLATFORM` stands for.
    pub platform: Option<Vec<u8>>,
    /// The directories tried under each directory before the directory itself, each with a slash at its end.
    pub subdirs: Vec<Vec<u8>>,
    /// The cache, or why there is none.
    pub cache: Result<Cache, String>,
    /// The level of an x86-64 processor.
    pub level: u8,
    /// See [`Selection::legacy`].
    pub legacy: Option<u64>,
}

/// An object that is loaded: who asks for a library, or who loaded the one that asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Object {
    /// The directory that `$ORIGIN` stands for.
    pub origin: Option<Vec<u8>>,
    /// `DT_RUNPATH`.
    pub runpath: Option<Vec<u8>>,
    /// `DT_RPATH`.
    pub rpath: Option<Vec<u8>>,
    /// What its resolution note says, where the loader reads it (see [`crate::resolution`]).
    pub note: Option<Vec<u8>>,
    /// `DF_1_NODEFLIB`: neither the default directories nor what the cache has of them.
    pub no_default_libs: bool,
}

/// Where the files are.
pub trait Files {
    /// Opens a path, absolute or relative to the current directory.
    fn open(&self, path: &[u8]) -> Opened;
    /// Whether a directory is there.
    fn is_directory(&self, path: &[u8]) -> bool;
}

/// What opening a path gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// Nothing is there.
    Missing,
    /// It must not be read.
    Denied,
    /// Another error.
    Failed(String),
    /// The first bytes, 64 of them if there are as many.
    File(Vec<u8>),
}

/// Searches for `name` as a loader does that has searched for nothing before.
///
/// `chain` is the object that asks, then who loaded it, up to the executable; `library_path` is `LD_LIBRARY_PATH`.
pub fn search(
    name: &[u8],
    chain: &[Object],
    library_path: Option<&[u8]>,
    system: &System,
    files: &impl Files,
) -> Search {
    let mut walk = Walk { name, system, files, known: HashMap::new(), stages: Vec::new(), ending: None };
    walk.run(chain, library_path);
    Search { stages: walk.stages, ending: walk.ending.unwrap_or(Ending::NotFound) }
}

struct Walk<'a, F> {
    name: &'a [u8],
    system: &'a System,
    files: &'a F,
    /// Which directories exist: for each path with its slash, one answer for each subdirectory, and for the directory
    /// itself (`dirp->status`).
    known: HashMap<(Vec<u8>, usize), bool>,
    stages: Vec<Stage>,
    ending: Option<Ending>,
}

impl<F: Files> Walk<'_, F> {
    fn run(&mut self, chain: &[Object], library_path: Option<&[u8]>) {
        let default = Object::default();
        let asking = chain.first().unwrap_or(&default);
        if self.name.contains(&b'/') {
            let path = expand(self.name, &self.tokens(asking)).unwrap_or_default();
            let file = self.open(path);
            return self.stages.push(Stage { file: Some(file), ..Stage::of(Rule::Path) });
        }
        if asking.runpath.is_none() {
            for (index, object) in chain.iter().enumerate() {
                // An object with DT_RUNPATH has no DT_RPATH for the loader (elf/get-dynamic-info.h).
                if let Some(rpath) = object.rpath.as_deref().filter(|_| object.runpath.is_none()) {
                    self.path(Rule::Rpath(index), rpath, b":", object);
                }
            }
        }
        if let Some(variable) = library_path {
            // Tokens in the variable are those of the executable.
            self.path(Rule::LibraryPath, variable, b":;", chain.last().unwrap_or(&default));
        }
        if let Some(note) = &asking.note {
            self.note(note, asking);
        }
        if let Some(runpath) = &asking.runpath {
            self.path(Rule::Runpath, runpath, b":", asking);
        }
        self.cache(asking.no_default_libs);
        self.defaults(asking.no_default_libs);
    }

    fn tokens<'t>(&'t self, object: &'t Object) -> Tokens<'t> {
        Tokens { origin: object.origin.as_deref(), lib: &self.system.lib, platform: self.system.platform.as_deref() }
    }

    /// One search path: an empty one is none at all (`decompose_rpath`, `_dl_init_paths`).
    fn path(&mut self, rule: Rule, path: &[u8], separators: &[u8], object: &Object) {
        if self.ending.is_some() || path.is_empty() {
            return;
        }
        let mut seen: HashSet<Vec<u8>> = HashSet::new();
        let mut directories = Vec::new();
        for entry in path.split(|byte| separators.contains(byte)) {
            let expanded = directory(entry, &self.tokens(object));
            let dropped = match &expanded {
                None => Some(Dropped::NoValue),
                Some(path) if seen.contains(path) => Some(Dropped::Duplicate),
                Some(_) => None,
            };
            seen.extend(expanded.clone());
            let path = expanded.unwrap_or_default();
            directories.push(Directory { entry: entry.to_vec(), path, dropped, tries: Vec::new(), is_missing: false });
        }
        self.directories(rule, directories);
    }

    /// What the resolution note has for the name: files, and directories that are searched as those of a search path.
    fn note(&mut self, note: &[u8], object: &Object) {
        if self.ending.is_some() {
            return;
        }
        let Some(entry) = resolution::entries(note).find(|entry| entry.name == self.name) else {
            let without = Some("it does not name the library".to_owned());
            return self.stages.push(Stage { without, ..Stage::of(Rule::Note) });
        };
        let mut directories = Vec::new();
        for element in entry.elements() {
            let (entry, path) = match element {
                Element::File(file) => {
                    let end = memchr::memrchr(b'/', file).map_or(0, |slash| slash.saturating_add(1));
                    (file, Some(file.get(..end).unwrap_or_default().to_vec()))
                }
                Element::Directory(entry) => (entry, directory(entry, &self.tokens(object))),
            };
            let dropped = path.is_none().then_some(Dropped::NoValue);
            let path = path.unwrap_or_default();
            let mut place = Directory { entry: entry.to_vec(), path, dropped, tries: Vec::new(), is_missing: false };
            if self.ending.is_none() && dropped.is_none() {
                match element {
                    Element::File(file) => place.tries.push(self.open(file.to_vec())),
                    Element::Directory(_) => self.try_directories(std::slice::from_mut(&mut place)),
                }
            }
            directories.push(place);
        }
        self.stages.push(Stage { directories, ..Stage::of(Rule::Note) });
    }

    fn cache(&mut self, no_default_libs: bool) {
        if self.ending.is_some() {
            return;
        }
        let mut stage = Stage::of(Rule::Cache);
        let system = self.system;
        match &system.cache {
            Err(why) => stage.without = Some(why.clone()),
            Ok(cache) => match cache.lookup(self.name, &self.selection()) {
                None => stage.without = Some("no entry".to_owned()),
                Some(path) if no_default_libs && self.is_default(path) => {
                    stage.without = Some("its entry lies in a default directory (DF_1_NODEFLIB)".to_owned());
                }
                Some(path) => stage.file = Some(self.open(path.to_vec())),
            },
        }
        self.stages.push(stage);
    }

    fn selection(&self) -> Selection<'_> {
        let System { target, subdirs, level, legacy, .. } = self.system;
        Selection { target, subdirs, level: *level, legacy: *legacy }
    }

    fn is_default(&self, path: &[u8]) -> bool {
        let mut dirs = self.system.default_dirs.iter();
        dirs.any(|dir| path.strip_prefix(dir.as_slice()).is_some_and(|rest| rest.starts_with(b"/")))
    }

    fn defaults(&mut self, no_default_libs: bool) {
        if self.ending.is_some() {
            return;
        }
        if no_default_libs {
            let without = Some("the object wants none (DF_1_NODEFLIB)".to_owned());
            return self.stages.push(Stage { without, ..Stage::of(Rule::Default) });
        }
        let directory = |dir: &Vec<u8>| Directory {
            entry: dir.clone(),
            path: [dir, &b"/"[..]].concat(),
            dropped: None,
            tries: Vec::new(),
            is_missing: false,
        };
        self.directories(Rule::Default, self.system.default_dirs.iter().map(directory).collect());
    }

    fn directories(&mut self, rule: Rule, mut directories: Vec<Directory>) {
        self.try_directories(&mut directories);
        self.stages.push(Stage { directories, ..Stage::of(rule) });
    }

    /// Tries the directories one after the other (`open_path`).
    fn try_directories(&mut self, directories: &mut [Directory]) {
        for directory in directories.iter_mut().filter(|directory| directory.dropped.is_none()) {
            let mut failed = false;
            let mut is_there = false;
            let subdirs = self.system.subdirs.iter().map(Vec::as_slice).chain([&b""[..]]);
            for (index, subdir) in subdirs.enumerate() {
                let key = (directory.path.clone(), index);
                if self.known.get(&key) == Some(&false) {
                    continue;
                }
                let place = [&directory.path, subdir].concat();
                let tried = self.open([&place, self.name].concat());
                failed = matches!(tried.outcome, Outcome::Failed(_));
                directory.tries.push(tried);
                if self.ending.is_some() {
                    break;
                }
                is_there |= self.look_around(key, &place);
            }
            let itself = (directory.path.clone(), self.system.subdirs.len());
            directory.is_missing = self.known.get(&itself) == Some(&false);
            // Something is wrong with a file that is there.
            if self.ending.is_some() || failed && is_there {
                break;
            }
        }
    }

    /// Whether the directory exists; a relative one always does, the current directory might change.
    fn look_around(&mut self, key: (Vec<u8>, usize), place: &[u8]) -> bool {
        if !place.starts_with(b"/") {
            return true;
        }
        let files = self.files;
        *self.known.entry(key).or_insert_with(|| files.is_directory(place))
    }

    fn open(&mut self, path: Vec<u8>) -> Try {
        let outcome = match self.files.open(&path) {
            Opened::Missing => Outcome::Missing,
            Opened::Denied => Outcome::Denied,
            Opened::Failed(why) => Outcome::Failed(why),
            Opened::File(bytes) => match self.system.target.judge(&bytes) {
                Fit::Loads => Outcome::Loaded,
                Fit::OtherClass => Outcome::OtherClass,
                Fit::OtherMachine => Outcome::OtherMachine,
                Fit::Fatal(why) => Outcome::Fatal(why),
            },
        };
        self.ending = match outcome {
            Outcome::Loaded => Some(Ending::Found(path.clone())),
            Outcome::Fatal(why) => Some(Ending::Fatal(path.clone(), why)),
            _ => None,
        };
        Try { path, outcome }
    }
}

/// The directory of one entry: tokens replaced, one slash at its end; empty for an empty entry, which is the current
/// directory. `None` where the loader drops the entry (`fillin_rpath`).
fn directory(entry: &[u8], tokens: &Tokens<'_>) -> Option<Vec<u8>> {
    if entry.is_empty() {
        return Some(Vec::new());
    }
    let mut path = expand(entry, tokens).filter(|path| !path.is_empty())?;
    while path.len() > 1 && path.ends_with(b"/") {
        path.pop();
    }
    if !path.ends_with(b"/") {
        path.push(b'/');
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use object::elf;

    use super::*;

    /// Files by path; a directory exists if a file lies in it.
    struct Tree(BTreeMap<&'static str, Opened>);

    impl Files for Tree {
        fn open(&self, path: &[u8]) -> Opened {
            let path = std::str::from_utf8(path).expect("ASCII");
            self.0.get(path).cloned().unwrap_or(Opened::Missing)
        }

        fn is_directory(&self, path: &[u8]) -> bool {
            let path = std::str::from_utf8(path).expect("ASCII");
            self.0.keys().any(|file| file.starts_with(path))
        }
    }

    const NAME: &str = "libcuda.so.1";

    fn library(class: u8, machine: u8) -> Opened {
        let mut bytes = b"\x7fELF".to_vec();
        bytes.resize(64, 0);
        (bytes[4], bytes[5], bytes[6]) = (class, 1, 1);
        (bytes[16], bytes[18], bytes[20], bytes[54]) = (3, machine, 1, 56);
        Opened::File(bytes)
    }

    fn system() -> System {
        System {
            target: Target { class: elf::ELFCLASS64, data: elf::ELFDATA2LSB, machine: elf::EM_X86_64 },
            default_dirs: vec![b"/lib".to_vec(), b"/usr/lib".to_vec()],
            lib: b"lib64".to_vec(),
            platform: Some(b"x86_64".to_vec()),
            subdirs: vec![b"glibc-hwcaps/x86-64-v2/".to_vec()],
            cache: Err("no file".to_owned()),
            level: 2,
            legacy: None,
        }
    }

    fn object(rpath: Option<&str>, runpath: Option<&str>) -> Object {
        Object {
            origin: Some(b"/opt/app".to_vec()),
            rpath: rpath.map(Into::into),
            runpath: runpath.map(Into::into),
            note: None,
            no_default_libs: false,
        }
    }

    /// The paths tried, without those in subdirectories.
    fn tried(chain: &[Object], library_path: Option<&str>, files: Vec<(&'static str, Opened)>) -> Vec<String> {
        let found = search(
            NAME.as_bytes(),
            chain,
            library_path.map(str::as_bytes),
            &system(),
            &Tree(files.into_iter().collect()),
        );
        let directories = found.stages.iter().flat_map(|stage| &stage.directories);
        let paths = directories.flat_map(|directory| &directory.tries);
        let text = paths.map(|tried| String::from_utf8(tried.path.clone()).expect("ASCII"));
        text.filter(|path| !path.contains("hwcaps")).map(|path| path.replace(NAME, "")).collect()
    }

    #[test]
    fn an_rpath_is_inherited_and_comes_before_the_variable() {
        let chain = [object(Some("/a"), None), object(None, None), object(Some("/exe"), None)];
        assert_eq!(tried(&chain, Some("/env"), vec![]), ["/a/", "/exe/", "/env/", "/lib/", "/usr/lib/"]);
    }

    #[test]
    fn a_runpath_ends_the_inheritance_and_comes_behind_the_variable() {
        let chain = [object(Some("/a"), Some("/b")), object(Some("/exe"), None)];
        assert_eq!(tried(&chain, Some("/env"), vec![]), ["/env/", "/b/", "/lib/", "/usr/lib/"]);
        let chain = [object(None, None), object(Some("/exe"), Some("/not/inherited"))];
        assert_eq!(tried(&chain, None, vec![]), ["/lib/", "/usr/lib/"], "an RPATH beside a RUNPATH is none");
        let chain = [object(None, Some("")), object(Some("/exe"), None)];
        assert_eq!(tried(&chain, Some(""), vec![]), ["/lib/", "/usr/lib/"], "an empty RUNPATH still ends it");
    }

    #[test]
    fn a_note_is_asked_behind_the_variable_and_before_the_runpath() {
        let note = b"libcuda.so.1\0?$ORIGIN/n:=/x/libcuda.so.1:?/n\0\0";
        let chain = [Object { note: Some(note.to_vec()), ..object(None, Some("/b")) }];
        let all = ["/env/", "/opt/app/n/", "/x/", "/n/", "/b/", "/lib/", "/usr/lib/"];
        assert_eq!(tried(&chain, Some("/env"), vec![]), all);
        let file = vec![("/x/libcuda.so.1", library(2, 62))];
        assert_eq!(tried(&chain, Some("/env"), file), all[..3], "the file that it names is taken");
        let inherits = [Object { rpath: Some(b"/a".into()), runpath: None, ..chain[0].clone() }];
        assert_eq!(tried(&inherits, None, vec![])[..2], ["/a/", "/opt/app/n/"], "DT_RPATH comes before it");
    }

    #[test]
    fn a_note_that_does_not_name_the_library_is_passed_over() {
        let chain = [Object { note: Some(b"libz.so\0=/z/libz.so\0\0".to_vec()), ..object(None, Some("/b")) }];
        assert_eq!(tried(&chain, None, vec![]), ["/b/", "/lib/", "/usr/lib/"]);
    }

    #[test]
    fn entries_are_expanded_and_duplicates_left_out() {
        let chain = [object(None, Some("$ORIGIN/x:/a//:/a::/a/$LIB:/b"))];
        let expected = ["/opt/app/x/", "/a/", "", "/a/lib64/", "/b/", "/lib/", "/usr/lib/"];
        assert_eq!(tried(&chain, None, vec![]), expected);
    }

    #[test]
    fn a_directory_known_to_be_missing_is_passed_over() {
        let chain = [object(None, Some("/gone:/there"))];
        let files = vec![("/there/other.so", Opened::Missing)];
        assert_eq!(tried(&chain, Some("/gone:/there"), files), ["/gone/", "/there/", "/there/", "/lib/", "/usr/lib/"]);
    }

    #[test]
    fn a_library_for_another_machine_is_passed_over_and_damage_ends_the_search() {
        let chain = [object(None, Some("/a:/b:/c:/d"))];
        let files = |last: Opened| {
            vec![("/a/libcuda.so.1", library(1, 3)), ("/b/libcuda.so.1", library(2, 183)), ("/c/libcuda.so.1", last)]
        };
        assert_eq!(tried(&chain, None, files(library(2, 62))), ["/a/", "/b/", "/c/"]);
        let text = files(Opened::File(vec![b'#'; 64]));
        let found = search(NAME.as_bytes(), &chain, None, &system(), &Tree(text.into_iter().collect()));
        assert_eq!(found.ending, Ending::Fatal(b"/c/libcuda.so.1".to_vec(), "invalid ELF header"));
        let failed = Opened::Failed("too many links".to_owned());
        assert_eq!(tried(&chain, None, files(failed)), ["/a/", "/b/", "/c/", "/lib/", "/usr/lib/"]);
    }

    #[test]
    fn subdirectories_for_capabilities_come_before_their_directory() {
        let files = Tree(BTreeMap::from([("/a/glibc-hwcaps/x86-64-v2/libcuda.so.1", library(2, 62))]));
        let found = search(NAME.as_bytes(), &[object(None, Some("/a"))], None, &system(), &files);
        assert_eq!(found.ending, Ending::Found(b"/a/glibc-hwcaps/x86-64-v2/libcuda.so.1".to_vec()));
    }

    #[test]
    fn a_name_with_a_slash_is_a_path() {
        let files = Tree(BTreeMap::from([("/opt/app/libcuda.so.1", library(2, 62))]));
        let found = search(b"$ORIGIN/libcuda.so.1", &[object(Some("/a"), None)], None, &system(), &files);
        assert_eq!(found.ending, Ending::Found(b"/opt/app/libcuda.so.1".to_vec()));
    }

    #[test]
    fn an_object_can_do_without_default_directories() {
        let alone = Object { no_default_libs: true, ..object(None, Some("/a")) };
        assert_eq!(tried(&[alone], None, vec![]), ["/a/"]);
    }
}
