//! The steps of a search, as a report tells them.

/// Why a place is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// `DT_RPATH` of the object with this number in the chain.
    Rpath(usize),
    /// `LD_LIBRARY_PATH`.
    LibraryPath,
    /// The resolution note of the object that asks.
    Note,
    /// `DT_RUNPATH` of the object that asks.
    Runpath,
    /// `ld.so.cache`.
    Cache,
    /// The default directories.
    Default,
    /// A name with a slash is a path.
    Path,
}

/// One step of the search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Why it is searched.
    pub rule: Rule,
    /// The directories, in order.
    pub directories: Vec<Directory>,
    /// What was tried outside of directories: the cache's entry, or the path.
    pub file: Option<Try>,
    /// Why nothing was tried.
    pub without: Option<String>,
}

impl Stage {
    pub(super) fn of(rule: Rule) -> Self {
        Self { rule, directories: Vec::new(), file: None, without: None }
    }
}

/// One directory of a search path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// The entry as the file or the variable has it.
    pub entry: Vec<u8>,
    /// The directory, with a slash at its end; empty for the current one.
    pub path: Vec<u8>,
    /// Why it is left out.
    pub dropped: Option<Dropped>,
    /// The files tried in it, in order. None where the search ended before, or an earlier step found no such directory.
    pub tries: Vec<Try>,
    /// Whether it was looked for and is not there.
    pub is_missing: bool,
}

/// Why the loader leaves an entry out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// The same directory came before in the same path.
    Duplicate,
    /// A token has no value, or nothing is left.
    NoValue,
}

/// One file that the loader tries to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    /// Its path.
    pub path: Vec<u8>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is there.
    Missing,
    /// It must not be read: as if nothing were there.
    Denied,
    /// It cannot be opened: the rest of this search path is left out.
    Failed(String),
    /// It is for the other class, 32-bit or 64-bit: passed over.
    OtherClass,
    /// It is for another machine: passed over.
    OtherMachine,
    /// It is loaded.
    Loaded,
    /// It ends the search with an error.
    Fatal(&'static str),
}

/// How the search ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// This file is loaded.
    Found(Vec<u8>),
    /// Nothing is found.
    NotFound,
    /// This file is an error.
    Fatal(Vec<u8>, &'static str),
}

/// The search for one library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// The steps that were taken.
    pub stages: Vec<Stage>,
    /// How it ends.
    pub ending: Ending,
}
