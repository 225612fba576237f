//! Which libraries files open, and what the loader would find for them.
//!
//! `names` finds the names in one file, purely; here they are looked up as glibc's loader would for that file, and put
//! together for the whole tree.

mod names;

use crate::walk::watch::Watch;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use object::elf;

use crate::Error;
use crate::apply::source::{Links, Source};
use crate::commands::explain::{Disk, Link, Loader, system};
use crate::commands::fix::DriverDirs;
use crate::decide::{entries, same_directory_key};
use crate::detect::{DriverNames, OPENERS};
use crate::elf::{Image, ParseError};
use crate::loader::sysroot::Sysroot;
use crate::loader::{Ending, Header, Object, Rule, System, search};
use crate::walk::{Exclude, walk};
pub use names::{Named, Reason, names};

/// What the user asked for.
#[derive(Debug)]
pub struct Options {
    /// What the walk passes over.
    pub exclude: Exclude,
    /// Which SONAMEs are driver libraries.
    pub names: DriverNames,
    /// The driver directories.
    pub driver_dirs: DriverDirs,
    /// Names that are left out.
    pub ignore: Vec<glob::Pattern>,
    /// Names that must be missing, and no others.
    pub expect: Vec<String>,
}

/// What the loader would find for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// It is the file's own SONAME.
    Own,
    /// The file needs it anyway.
    Needed,
    /// This file, by this rule.
    Found(PathBuf, Rule),
    /// This file by a name with a version behind it, as programs try one after the other, or append themselves: cuDNN
    /// opens `libcudnn_ops.so` and `.9`.
    Versioned(PathBuf),
    /// The driver directory is in the file's search path; the driver is the running system's.
    Driver,
    /// A file of the tree has the name, but the search path does not lead to it.
    InTree(PathBuf),
    /// Nothing.
    Missing,
    /// Only running the program would tell.
    Unknown,
}

impl Lookup {
    /// Whether opening the name fails, as far as is known.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::InTree(_) | Self::Missing)
    }
}

/// A name that a file opens, and what is found for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The name.
    pub named: Named,
    /// What is found.
    pub lookup: Lookup,
}

/// One file that can open libraries.
#[derive(Debug)]
pub struct Audited {
    /// Its path.
    pub path: PathBuf,
    /// Whether the user named it.
    pub named: bool,
    /// What it opens; `None` where it can open nothing.
    pub openings: Result<Option<Vec<Opening>>, Error>,
    /// What is wrong with it.
    pub warnings: Vec<String>,
}

/// A name across the tree.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// The files that likely open it.
    pub opened_by: Vec<PathBuf>,
    /// How many of them find it.
    pub found: usize,
    /// How many would only tell when run.
    pub unknown: usize,
}

/// The result of a run.
#[derive(Debug)]
pub struct Report {
    /// The ELF files, by path.
    pub files: Vec<Audited>,
    /// What could not be looked at.
    pub problems: Vec<(PathBuf, Error)>,
    /// Files that are not ELF.
    pub others: u64,
    /// The names that are no mere text, with what became of them.
    pub tally: BTreeMap<String, Tally>,
    /// Missing names that are not expected to be.
    pub unexpected: BTreeSet<String>,
    /// Expected names that are not missing.
    pub not_missing: BTreeSet<String>,
}

/// What is kept of one file until all are seen.
struct Seen {
    names: Option<Vec<Named>>,
    warnings: Vec<String>,
    asker: Asker,
}

/// Who asks the loader for libraries.
pub(crate) struct Asker {
    /// The file, then who loaded it.
    pub(crate) chain: Vec<Object>,
    /// The loader's values.
    pub(crate) system: Arc<System>,
    /// Where files are looked for.
    pub(crate) root: Sysroot,
    soname: Option<String>,
    needed: BTreeSet<String>,
    /// Whether its search path has the driver directory.
    finds_driver: bool,
}

impl Asker {
    pub(crate) fn new(
        image: &Image<'_>,
        chain: Vec<Object>,
        system: Arc<System>,
        root: Sysroot,
        driver_dirs: &DriverDirs,
    ) -> Self {
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let driver_dir = driver_dirs.of(image.machine == elf::EM_386);
        let own = chain.first();
        let search_path = own.and_then(|own| own.runpath.as_deref().or(own.rpath.as_deref())).unwrap_or_default();
        let is_driver = |entry: &[u8]| same_directory_key(entry) == same_directory_key(driver_dir);
        Self {
            soname: image.soname().map(text),
            needed: image.needed().map(text).collect(),
            finds_driver: !search_path.is_empty() && entries(search_path).any(is_driver),
            chain,
            system,
            root,
        }
    }
}

/// What one file opens, and what is found for it; nothing where it can open nothing.
pub(crate) fn openings_of(image: &Image<'_>, asker: &Asker, drivers: &DriverNames) -> Vec<Opening> {
    if !image.imports_any(&OPENERS) {
        return Vec::new();
    }
    let names = names(image, drivers, &mut Vec::new()).into_iter().filter(|named| named.reason != Reason::Text);
    names.map(|named| Opening { lookup: lookup(&named, asker, &Tree::new(), drivers), named }).collect()
}

/// Looks at `paths`. `watch` knows how far that is, for whoever shows it.
pub fn audit(paths: &[PathBuf], options: &Options, watch: &Watch) -> Report {
    let systems = Systems::default();
    let walked = walk(paths, &options.exclude, |path, source| {
        watch.scans(path);
        look(path, &source, options, &systems)
    });
    // Who has which name, for names that the search does not lead to.
    let mut tree: Tree = BTreeMap::new();
    for found in &walked.files {
        let own = found.path.file_name().map(|name| name.to_string_lossy().into_owned());
        let soname = found.seen.as_ref().ok().and_then(Option::as_ref).and_then(|seen| seen.asker.soname.clone());
        for name in own.into_iter().chain(soname) {
            tree.entry(name).or_insert_with(|| found.path.clone());
        }
    }
    let audited = crate::walk::for_each_file(&walked.files, |found| match &found.seen {
        Ok(Some(seen)) => (Some(openings(seen, &tree, options)), seen.warnings.clone()),
        _ => (None, Vec::new()),
    });
    let files = walked.files.into_iter().zip(audited).map(|(found, (openings, warnings))| Audited {
        named: found.links == Links::Follow,
        openings: found.seen.map(|_| openings.flatten()),
        path: found.path,
        warnings,
    });
    summarised(files.collect(), walked.problems, walked.others, options)
}

/// The files of the walk by their names.
type Tree = BTreeMap<String, PathBuf>;

/// The loaders' values, by what they load: reading the cache once is enough.
#[derive(Default)]
struct Systems(Mutex<HashMap<Key, Arc<System>>>);

type Key = (Option<PathBuf>, [u8; 20]);

impl Systems {
    fn of(&self, link: &Link, header: &Header, bytes: &[u8]) -> Arc<System> {
        let ident = bytes.first_chunk().copied().unwrap_or([0; 20]);
        let key = (link.interpreter.clone(), ident);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(key).or_insert_with(|| {
            let root = Sysroot::default();
            let loader = Loader::find(link.interpreter.as_deref(), &header.target, &root);
            Arc::new(system(&loader, &header.target, &root))
        }))
    }
}

fn look(path: &Path, source: &Source, options: &Options, systems: &Systems) -> Result<Option<Seen>, Error> {
    let Ok(image) = ParseError::apart(Image::parse(source.bytes()))? else { return Ok(None) };
    let Some(header) = Header::read(source.bytes()) else { return Ok(None) };
    let mut warnings = Vec::new();
    let opens = image.imports_any(&OPENERS);
    let root = Sysroot::default();
    let name = root.name(path).map_err(Error::io("cannot look at it"))?;
    let link = Link::of(&image, &name, &root);
    let system = systems.of(&link, &header, source.bytes());
    Ok(Some(Seen {
        names: opens.then(|| names(&image, &options.names, &mut warnings)),
        warnings,
        asker: Asker::new(&image, vec![link.object], system, root, &options.driver_dirs),
    }))
}

fn openings(seen: &Seen, tree: &Tree, options: &Options) -> Option<Vec<Opening>> {
    let names = seen.names.as_ref()?.iter();
    let wanted = names.filter(|named| !options.ignore.iter().any(|pattern| pattern.matches(&named.name)));
    Some(
        wanted
            .map(|named| Opening { named: named.clone(), lookup: lookup(named, &seen.asker, tree, &options.names) })
            .collect(),
    )
}

fn lookup(named: &Named, asker: &Asker, tree: &Tree, drivers: &DriverNames) -> Lookup {
    let name = named.name.as_str();
    if named.reason == Reason::Format {
        return Lookup::Unknown;
    }
    if asker.soname.as_deref() == Some(name) {
        return Lookup::Own;
    }
    if asker.needed.contains(name) {
        return Lookup::Needed;
    }
    if drivers.is_driver_soname(name.as_bytes()) && asker.finds_driver {
        return Lookup::Driver;
    }
    if let Some((path, rule)) = searched(name, asker) {
        return Lookup::Found(path, rule);
    }
    // `libx.so.1` of the tree, or what the file needs anyway.
    let prefix = format!("{name}.");
    let with_version = |other: &&String| other.starts_with(&prefix);
    let in_tree = tree.range(prefix.clone()..).map(|(other, _)| other).take_while(with_version);
    let needed = asker.needed.range(prefix.clone()..).take_while(with_version);
    if let Some((path, _)) = in_tree.chain(needed).take(MOST_VERSIONS).find_map(|other| searched(other, asker)) {
        return Lookup::Versioned(path);
    }
    let file = name.rsplit('/').next().unwrap_or(name);
    tree.get(file).map_or(Lookup::Missing, |path| Lookup::InTree(path.clone()))
}

/// Names with a version that are tried for one without.
const MOST_VERSIONS: usize = 8;

/// What the loader finds.
fn searched(name: &str, asker: &Asker) -> Option<(PathBuf, Rule)> {
    let found = search(name.as_bytes(), &asker.chain, None, &asker.system, &Disk(&asker.root));
    let Ending::Found(path) = &found.ending else { return None };
    Some((PathBuf::from(OsStr::from_bytes(path)), found.stages.last()?.rule))
}

fn summarised(files: Vec<Audited>, problems: Vec<(PathBuf, Error)>, others: u64, options: &Options) -> Report {
    let mut tally: BTreeMap<String, Tally> = BTreeMap::new();
    let opening = files.iter().filter_map(|file| Some((file, file.openings.as_ref().ok()?.as_ref()?)));
    for (file, openings) in opening {
        for opening in openings.iter().filter(|opening| opening.named.reason != Reason::Text) {
            let tally = tally.entry(opening.named.name.clone()).or_default();
            tally.opened_by.push(file.path.clone());
            tally.found += usize::from(!opening.lookup.is_missing() && opening.lookup != Lookup::Unknown);
            tally.unknown += usize::from(opening.lookup == Lookup::Unknown);
        }
    }
    let is_missing = |tally: &Tally| tally.found.saturating_add(tally.unknown) < tally.opened_by.len();
    let missing = tally.iter().filter(|(_, tally)| is_missing(tally)).map(|(name, _)| name.clone());
    let missing: BTreeSet<String> = missing.collect();
    let expected: BTreeSet<String> = options.expect.iter().cloned().collect();
    Report {
        unexpected: missing.difference(&expected).cloned().collect(),
        not_missing: expected.difference(&missing).cloned().collect(),
        files,
        problems,
        others,
        tally,
    }
}
