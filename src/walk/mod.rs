//! The files to look at: those named, and those in the directories named, each once, in parallel.
//!
//! ```
//! use driver_runpath::walk::{Exclude, walk};
//!
//! let walked = walk(&["testdata/prebuilt".into()], &Exclude::default(), |_path, source| source.bytes().len());
//! println!("{} ELF files of {} bytes", walked.files.len(), walked.files.iter().map(|found| found.seen).sum::<usize>());
//! ```

pub(crate) mod archive;
mod exclude;
pub(crate) mod pseudo;
#[doc(hidden)]
pub mod tree;
#[doc(hidden)]
pub mod watch;

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, hash_map};
use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, RawDirEntry, openat, statat};
use rustix::io::Errno;

use crate::Error;
use crate::apply::edit::{Editor, OpenOptions};
use crate::apply::links::COPY_PREFIX;
use crate::apply::place::{NameKey, Place, Root};
use crate::apply::source::Take;
pub use crate::apply::source::{Identity, Links, Source};
use archive::not_elf;
pub use exclude::{BadPattern, Exclude};
use pseudo::pseudo;

/// What the walk came upon.
///
/// ```
/// # use driver_runpath::walk::{Exclude, walk};
/// let walked = walk(&["testdata".into(), "no/such/file".into()], &Exclude::default(), |_, source| source.bytes().len());
/// assert_eq!((walked.problems.len(), walked.others > 0), (1, true));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Walked<T> {
    /// One entry for each ELF file, by path.
    pub files: Vec<Found<T>>,
    /// What could not be looked at, and named files that are no ELF files, by path.
    pub problems: Vec<(PathBuf, Error)>,
    /// Regular files without the ELF magic.
    pub others: u64,
}

/// An ELF file under the name it was first found by.
///
/// ```
/// # use driver_runpath::walk::{Exclude, walk};
/// let walked = walk(&["testdata/prebuilt".into()], &Exclude::default(), |_, source| source.bytes().len());
/// let largest = walked.files.iter().max_by_key(|found| found.seen).map(|found| &found.path);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Found<T> {
    /// That name.
    pub path: PathBuf,
    /// Whether the user named it, or a directory above it.
    pub links: Links,
    /// Which file it is.
    pub identity: Identity,
    /// The names that the walk found, where there is more than one in the file system.
    pub(crate) names: Vec<Place>,
    /// What `look` made of it.
    pub seen: T,
    root: Option<Arc<Root>>,
}

impl<T> Found<T> {
    /// Opens the file to edit it, under a lock.
    ///
    /// # Errors
    /// As [`Editor::open`]; [`Error::Changed`] where another file has the name by now.
    pub(crate) fn edit(&self, options: &OpenOptions) -> Result<Editor, Error> {
        Editor::found(self.place(), self.identity.inode, self.other_names(), options)
    }

    /// Where it was found.
    pub(crate) fn place(&self) -> Place {
        Place { path: self.path.clone(), root: self.root.clone() }
    }

    /// Its other names that the walk found.
    pub(crate) fn other_names(&self) -> Vec<Place> {
        self.names.iter().filter(|name| name.path != self.path).cloned().collect()
    }
}

/// Bytes of directory entries read at once.
const DIRECTORY_BUFFER: usize = 32 << 10;

/// Files of so many bytes are looked at one by one, and in parallel with the rest: a directory can hold all libraries of a
/// package.
const LARGE: u64 = 16 << 20;

/// From this number of files on, threads are worth their start.
const MANY_FILES: usize = 8;

/// Calls `look` for every ELF file at or below `paths`, each (device, inode) once, on several threads. Symbolic links are
/// followed where named, not where found.
///
/// ```
/// use driver_runpath::elf::Image;
/// use driver_runpath::walk::{Exclude, walk};
///
/// let walked = walk(&["testdata/prebuilt".into()], &Exclude::default(), |_path, source| {
///     Image::parse(source.bytes()).is_ok_and(|image| image.search_path().is_some())
/// });
/// let with_path = walked.files.iter().filter(|found| found.seen);
/// assert!(with_path.count() < walked.files.len());
/// ```
pub fn walk<T: Send>(paths: &[PathBuf], exclude: &Exclude, look: impl Fn(&Path, Source) -> T + Sync) -> Walked<T> {
    walk_for(Take::Elf, paths, exclude, look)
}

/// The same for other kinds of files.
pub(crate) fn walk_for<T: Send>(
    take: Take,
    paths: &[PathBuf],
    exclude: &Exclude,
    look: impl Fn(&Path, Source) -> T + Sync,
) -> Walked<T> {
    let kinds: Vec<_> = paths.iter().map(|path| (path, fs::metadata(path))).collect();
    let walk = Walk { take, look, exclude, state: Mutex::default(), others: AtomicU64::new(0) };
    let (directories, files): (Vec<_>, Vec<_>) =
        kinds.into_iter().partition(|(_, kind)| kind.as_ref().is_ok_and(fs::Metadata::is_dir));
    // A few files are looked at sooner than threads are started.
    let in_parallel = !directories.is_empty() || files.len() >= MANY_FILES;
    let named = |path: &PathBuf, kind: io::Result<fs::Metadata>| match kind {
        Ok(stat) if stat.is_file() => walk.named_file(path),
        Ok(_) => walk
            .problem(path.clone(), Error::io("cannot look at it")(io::Error::other("neither a file nor a directory"))),
        Err(error) => walk.problem(path.clone(), Error::io("cannot look at it")(error)),
    };
    if in_parallel {
        with_threads(|| {
            rayon::scope(|scope| {
                for (path, _) in directories {
                    match Root::open(path) {
                        Ok(root) => walk.directory(&Arc::new(root), None, path.clone(), scope),
                        Err(error) => walk.problem(path.clone(), Error::io("cannot read the directory")(error)),
                    }
                }
                for (path, kind) in files {
                    let named = &named;
                    scope.spawn(move |_| named(path, kind));
                }
            })
        });
    } else {
        files.into_iter().for_each(|(path, kind)| named(path, kind));
    }
    let state = walk.state.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    drop(state.known);
    let mut files: Vec<Found<T>> = state.files.into_iter().filter_map(Entry::finish).collect();
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let mut problems = state.problems;
    problems.sort_by(|a, b| a.0.cmp(&b.0));
    Walked { files, problems, others: walk.others.into_inner() }
}

/// What `work` makes of each file, in the order of the files. Of many files the largest are begun with, so that none is
/// left for the end.
pub(crate) fn for_each_file<'f, S: Sync, T: Send>(
    files: &'f [Found<S>],
    work: impl Fn(&'f Found<S>) -> T + Sync,
) -> Vec<T> {
    if files.len() < MANY_FILES {
        return files.iter().map(work).collect();
    }
    let mut order: Vec<usize> = (0..files.len()).collect();
    order.sort_by_key(|&index| files.get(index).map(|found| std::cmp::Reverse(found.identity.len)));
    let next = order.into_iter().filter_map(|index| Some((index, files.get(index)?)));
    let work = |(index, found)| (index, work(found));
    let mut done: Vec<(usize, T)> = with_threads(|| next.par_bridge().map(work).collect());
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Calls `work` in a pool with a thread for each processor; where the system grants no more threads, with the one that
/// runs.
fn with_threads<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    static MANY: OnceLock<Option<ThreadPool>> = OnceLock::new();
    thread_local!(static ONE: OnceCell<Option<ThreadPool>> = const { OnceCell::new() });
    if let Some(pool) = MANY.get_or_init(|| ThreadPoolBuilder::new().build().ok()) {
        return pool.install(work);
    }
    ONE.with(|one| {
        let build = || ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().ok();
        match one.get_or_init(build) {
            Some(pool) => pool.install(work),
            // The thread is one of a pool already.
            None => work(),
        }
    })
}

struct Walk<'e, L, T> {
    take: Take,
    look: L,
    exclude: &'e Exclude,
    state: Mutex<State<T>>,
    others: AtomicU64,
}

struct State<T> {
    files: Vec<Entry<T>>,
    /// Where in `files` an inode is: a table keeps room for as many again, which entries are too large for.
    known: HashMap<(u64, u64), usize>,
    problems: Vec<(PathBuf, Error)>,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self { files: Vec::new(), known: HashMap::new(), problems: Vec::new() }
    }
}

/// A file in the making: its names may still grow while another thread looks at its bytes.
struct Entry<T> {
    path: PathBuf,
    links: Links,
    identity: Identity,
    root: Option<Arc<Root>>,
    /// Names told apart by their directories' inodes, so that `a` and `./a` are one. Empty where there is one link only.
    names: BTreeMap<NameKey, Place>,
    seen: Option<T>,
}

impl<T> Entry<T> {
    fn finish(self) -> Option<Found<T>> {
        Some(Found {
            path: self.path,
            links: self.links,
            identity: self.identity,
            names: self.names.into_values().collect(),
            seen: self.seen?,
            root: self.root,
        })
    }
}

/// A directory that the walk is in.
#[derive(Clone, Copy)]
struct Here<'a> {
    root: &'a Arc<Root>,
    directory: &'a Arc<OwnedFd>,
    path: &'a Path,
}

impl<T: Send, L: Fn(&Path, Source) -> T + Sync> Walk<'_, L, T> {
    /// Looks at a directory by its descriptor: what another process puts in the way of `path` meanwhile leads nowhere.
    fn directory<'s>(&'s self, root: &Arc<Root>, parent: Option<&OwnedFd>, path: PathBuf, scope: &rayon::Scope<'s>) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = match (parent, path.file_name()) {
            (Some(parent), Some(name)) => openat(parent, name, flags | OFlags::NOFOLLOW, Mode::empty()),
            // A descriptor has one place to read at, and the root's may be in use: named twice.
            _ => openat(root.descriptor(), ".", flags, Mode::empty()),
        };
        let cannot = |error: Errno| Error::io("cannot read the directory")(error.into());
        let directory = match opened {
            Ok(directory) => Arc::new(directory),
            Err(error) => return self.problem(path, cannot(error)),
        };
        if let Some(kind) = pseudo(&directory) {
            if parent.is_none() {
                self.problem(path, Error::Pseudo(kind));
            }
            return;
        }
        let here = Here { root, directory: &directory, path: &path };
        let mut large = Vec::new();
        let mut buffer = Vec::with_capacity(DIRECTORY_BUFFER);
        let mut entries = RawDir::new(&directory, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            match entry {
                Ok(entry) => large.extend(self.entry(here, &entry, scope)),
                Err(error) => return self.problem(path, cannot(error)),
            }
        }
        // What is spawned last is begun first: subdirectories are for the threads that have nothing to do.
        for (name, path) in large {
            let (root, directory) = (Arc::clone(root), Arc::clone(&directory));
            scope.spawn(move |_| {
                let opened = Source::take_at(&directory, name.as_c_str(), Links::Refuse, self.take);
                self.file(|| path.clone(), Some((&root, &directory)), opened);
            });
        }
    }

    /// Looks at one entry of a directory; a large file is handed back, to be opened once more in its turn, so that few files
    /// are open at a time.
    fn entry<'s>(
        &'s self,
        here: Here<'_>,
        entry: &RawDirEntry<'_>,
        scope: &rayon::Scope<'s>,
    ) -> Option<(CString, PathBuf)> {
        let Here { root, directory, path } = here;
        let name = entry.file_name();
        // A copy that another run is working on, or has left when it was killed, is no file of the tree.
        if matches!(name.to_bytes(), b"." | b"..") || name.to_bytes().starts_with(COPY_PREFIX.as_bytes()) {
            return None;
        }
        // Most files are no ELF files: their whole path is not put together.
        let whole = || path.join(OsStr::from_bytes(name.to_bytes()));
        if !self.exclude.is_empty() && self.exclude.matches(root.path(), &whole()) {
            return None;
        }
        let stat = || statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
        let kind = match entry.file_type() {
            // Some file systems do not say.
            FileType::Unknown => stat().map(|stat| FileType::from_raw_mode(stat.st_mode)),
            known => Ok(known),
        };
        match kind {
            Err(error) => self.problem(whole(), Error::io("cannot look at it")(error.into())),
            Ok(FileType::Directory) => {
                let (root, parent, path) = (Arc::clone(root), Arc::clone(directory), whole());
                scope.spawn(move |scope| self.directory(&root, Some(&parent), path, scope));
            }
            Ok(FileType::RegularFile) => match Source::take_at(directory, name, Links::Refuse, self.take) {
                // What is empty is no ELF file, whether it may be read or not.
                Err(_) if stat().is_ok_and(|stat| stat.st_size == 0) => {
                    self.others.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Some(source)) if source.identity.len >= LARGE => return Some((name.to_owned(), whole())),
                opened => self.file(whole, Some((root, directory)), opened),
            },
            Ok(_) => {}
        }
        None
    }

    fn named_file(&self, path: &Path) {
        self.file(|| path.to_owned(), None, Source::take_at(CWD, path, Links::Follow, self.take));
    }

    /// `found` is where the walk is; `None` for a file that the user named.
    fn file(
        &self,
        path: impl Fn() -> PathBuf,
        found: Option<(&Arc<Root>, &OwnedFd)>,
        opened: Result<Option<Source>, Error>,
    ) {
        let links = if found.is_some() { Links::Refuse } else { Links::Follow };
        let source = match opened {
            Ok(Some(source)) => source,
            Ok(None) => {
                self.others.fetch_add(1, Ordering::Relaxed);
                if links == Links::Follow {
                    self.problem(path(), not_elf(&path()));
                }
                return;
            }
            Err(error) => return self.problem(path(), error),
        };
        let path = path();
        let Some(index) = self.enter(&path, found, &source) else { return };
        let seen = (self.look)(&path, source);
        if let Some(entry) = self.state().files.get_mut(index) {
            entry.seen = Some(seen);
        }
    }

    /// Notes the file under this name; its index, if this is the first of its names.
    fn enter(&self, path: &Path, found: Option<(&Arc<Root>, &OwnedFd)>, source: &Source) -> Option<usize> {
        let place = || Place { path: path.to_owned(), root: found.map(|(root, _)| Arc::clone(root)) };
        let key = || match found {
            Some((_, directory)) => NameKey::of(directory, path.file_name()?),
            // A link that the user named is not one of the file's own names; where it leads is.
            None => place().look_up().ok()?.key(),
        };
        let name = (source.links > 1).then(key).flatten();
        let mut state = self.state();
        let State { files, known, .. } = &mut *state;
        let (index, is_first) = match known.entry(source.identity.inode) {
            hash_map::Entry::Occupied(known) => (*known.get(), false),
            hash_map::Entry::Vacant(unknown) => {
                let Place { path, root } = place();
                let links = if root.is_some() { Links::Refuse } else { Links::Follow };
                files.push(Entry { path, links, identity: source.identity, root, names: BTreeMap::new(), seen: None });
                (*unknown.insert(files.len().saturating_sub(1)), true)
            }
        };
        if let (Some(name), Some(entry)) = (name, files.get_mut(index)) {
            entry.names.entry(name).or_insert_with(place);
        }
        is_first.then_some(index)
    }

    fn problem(&self, path: PathBuf, error: Error) {
        self.state().problems.push((path, error));
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State<T>> {
        // A panic in another thread leaves them whole: a file is there before its index is.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
