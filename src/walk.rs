//! The files to look at: those named, and those in the directories named, each once, in parallel.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rayon::prelude::*;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, openat, statat};
use rustix::io::Errno;

use crate::Error;
use crate::elf::NotCandidate;
use crate::links::COPY_PREFIX;
use crate::source::{Identity, Links, Source, Take};
use crate::tree::directory_of;

/// What the walk came upon.
#[derive(Debug)]
pub struct Walked<T> {
    /// One entry for each ELF file, by path.
    pub files: Vec<Found<T>>,
    /// What could not be looked at, and named files that are no ELF files, by path.
    pub problems: Vec<(PathBuf, Error)>,
    /// Regular files without the ELF magic.
    pub others: u64,
}

/// An ELF file under the name it was first found by.
#[derive(Debug)]
pub struct Found<T> {
    /// That name.
    pub path: PathBuf,
    /// Whether the user named it, or a directory above it.
    pub links: Links,
    /// Which file it is.
    pub identity: Identity,
    /// How many names the file system has for it, less those that the walk found: hard links elsewhere.
    pub links_elsewhere: u64,
    /// Its names that the walk found, where there is more than one in the file system.
    pub names: Vec<PathBuf>,
    /// What `look` made of it.
    pub seen: T,
}

/// What the walk passes over: names found in directories, never those that the user gave.
#[derive(Debug, Clone, Default)]
pub struct Exclude(Vec<glob::Pattern>);

impl Exclude {
    /// Patterns with `*`, `?`, `[…]` and `**`. One without a slash is compared with the name of each file and
    /// directory, one with a slash with the path from the directory given.
    ///
    /// # Errors
    /// The pattern that cannot be read, and why.
    pub fn new(patterns: impl IntoIterator<Item = String>) -> Result<Self, String> {
        // `tests/` is `tests`: what is excluded is not walked into.
        let read = |text: String| {
            let name = text.trim_end_matches('/');
            glob::Pattern::new(name).map_err(|error| format!("{text}: {error}"))
        };
        Ok(Self(patterns.into_iter().map(read).collect::<Result<_, _>>()?))
    }

    fn matches(&self, root: &Path, path: &Path) -> bool {
        self.0.iter().any(|pattern| {
            let subject = if pattern.as_str().contains('/') {
                path.strip_prefix(root).unwrap_or(path).as_os_str()
            } else {
                path.file_name().unwrap_or_default()
            };
            pattern.matches(&subject.to_string_lossy())
        })
    }
}

/// Bytes of directory entries read at once.
const DIRECTORY_BUFFER: usize = 32 << 10;

/// Files of so many bytes are looked at one by one, and in parallel with the rest: a directory can hold all libraries of a
/// package.
const LARGE: u64 = 16 << 20;

/// From this number of files on, threads are worth their start.
const MANY_FILES: usize = 8;

/// Calls `look` for every ELF file at or below `paths`, each (device, inode) once. Symbolic links are followed where
/// named, not where found.
pub fn walk<T: Send>(
    paths: &[PathBuf],
    exclude: &Exclude,
    look: impl Fn(&Path, &Source, Links) -> T + Sync,
) -> Walked<T> {
    walk_for(Take::Elf, paths, exclude, look)
}

/// The same for other kinds of files.
pub fn walk_for<T: Send>(
    take: Take,
    paths: &[PathBuf],
    exclude: &Exclude,
    look: impl Fn(&Path, &Source, Links) -> T + Sync,
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
        rayon::scope(|scope| {
            for (path, _) in directories {
                walk.directory(path, None, path.clone(), scope);
            }
            for (path, kind) in files {
                let named = &named;
                scope.spawn(move |_| named(path, kind));
            }
        });
    } else {
        files.into_iter().for_each(|(path, kind)| named(path, kind));
    }
    let state = walk.state.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut files: Vec<Found<T>> = state.files.into_values().filter_map(Entry::finish).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut problems = state.problems;
    problems.sort_by(|a, b| a.0.cmp(&b.0));
    Walked { files, problems, others: walk.others.into_inner() }
}

/// What `work` makes of each file, in the order of the files. Of many files the largest are begun with, so that none is
/// left for the end.
pub fn for_each_file<'f, S: Sync, T: Send>(files: &'f [Found<S>], work: impl Fn(&'f Found<S>) -> T + Sync) -> Vec<T> {
    if files.len() < MANY_FILES {
        return files.iter().map(work).collect();
    }
    let mut order: Vec<usize> = (0..files.len()).collect();
    order.sort_by_key(|&index| files.get(index).map(|found| std::cmp::Reverse(found.identity.len)));
    let next = order.into_iter().filter_map(|index| Some((index, files.get(index)?)));
    let mut done: Vec<(usize, T)> = next.par_bridge().map(|(index, found)| (index, work(found))).collect();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

struct Walk<'e, L, T> {
    take: Take,
    look: L,
    exclude: &'e Exclude,
    state: Mutex<State<T>>,
    others: AtomicU64,
}

struct State<T> {
    files: HashMap<(u64, u64), Entry<T>>,
    problems: Vec<(PathBuf, Error)>,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self { files: HashMap::new(), problems: Vec::new() }
    }
}

/// A file in the making: its names may still grow while another thread looks at its bytes.
struct Entry<T> {
    path: PathBuf,
    links: Links,
    identity: Identity,
    link_count: u64,
    /// Names as directory and last component, so that `a` and `./a` are one. Empty where there is one link only.
    names: BTreeSet<(PathBuf, OsString)>,
    seen: Option<T>,
}

impl<T> Entry<T> {
    fn finish(self) -> Option<Found<T>> {
        let names = (self.names.len() as u64).max(1);
        Some(Found {
            path: self.path,
            links: self.links,
            identity: self.identity,
            links_elsewhere: self.link_count.saturating_sub(names),
            names: self.names.into_iter().map(|(directory, name)| directory.join(name)).collect(),
            seen: self.seen?,
        })
    }
}

impl<T: Send, L: Fn(&Path, &Source, Links) -> T + Sync> Walk<'_, L, T> {
    /// Looks at a directory by its descriptor: what another process puts in the way of `path` meanwhile leads nowhere.
    fn directory<'s>(&'s self, root: &'s Path, parent: Option<&OwnedFd>, path: PathBuf, scope: &rayon::Scope<'s>) {
        const LINKS: Links = Links::Refuse;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = match (parent, path.file_name()) {
            (Some(parent), Some(name)) => openat(parent, name, flags | OFlags::NOFOLLOW, Mode::empty()),
            _ => openat(CWD, &path, flags, Mode::empty()),
        };
        let cannot = |error: Errno| Error::io("cannot read the directory")(error.into());
        let directory = match opened {
            Ok(directory) => Arc::new(directory),
            Err(error) => return self.problem(path, cannot(error)),
        };
        let mut large = Vec::new();
        let mut buffer = Vec::with_capacity(DIRECTORY_BUFFER);
        let mut entries = RawDir::new(&directory, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return self.problem(path, cannot(error)),
            };
            let name = entry.file_name();
            // A copy that another run is working on, or has left when it was killed, is no file of the tree.
            if matches!(name.to_bytes(), b"." | b"..") || name.to_bytes().starts_with(COPY_PREFIX.as_bytes()) {
                continue;
            }
            // Most files are no ELF files: their whole path is not put together.
            let whole = || path.join(OsStr::from_bytes(name.to_bytes()));
            if !self.exclude.0.is_empty() && self.exclude.matches(root, &whole()) {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems do not say.
                FileType::Unknown => match statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(error) => {
                        self.problem(whole(), Error::io("cannot look at it")(error.into()));
                        continue;
                    }
                },
                known => known,
            };
            match kind {
                FileType::Directory => {
                    let (parent, path) = (Arc::clone(&directory), whole());
                    scope.spawn(move |scope| self.directory(root, Some(&parent), path, scope));
                }
                FileType::RegularFile => {
                    let opened = Source::take_at(&directory, name, LINKS, self.take);
                    match &opened {
                        // Opened once more in its turn, so that few files are open at a time.
                        Ok(Some(source)) if source.identity.len >= LARGE => large.push((name.to_owned(), whole())),
                        _ => self.file(whole, LINKS, opened),
                    }
                }
                _ => {}
            }
        }
        // What is spawned last is begun first: subdirectories are for the threads that have nothing to do.
        for (name, path) in large {
            let directory = Arc::clone(&directory);
            scope.spawn(move |_| {
                self.file(|| path.clone(), LINKS, Source::take_at(&directory, name.as_c_str(), LINKS, self.take));
            });
        }
    }

    fn named_file(&self, path: &Path) {
        self.file(|| path.to_owned(), Links::Follow, Source::take_at(CWD, path, Links::Follow, self.take));
    }

    fn file(&self, path: impl Fn() -> PathBuf, links: Links, opened: Result<Option<Source>, Error>) {
        let source = match opened {
            Ok(Some(source)) => source,
            Ok(None) => {
                self.others.fetch_add(1, Ordering::Relaxed);
                if links == Links::Follow {
                    self.problem(path(), Error::NotCandidate(NotCandidate::NotElf));
                }
                return;
            }
            Err(error) => return self.problem(path(), error),
        };
        let path = path();
        if !self.enter(&path, links, &source) {
            return;
        }
        let seen = (self.look)(&path, &source, links);
        if let Some(entry) = self.state().files.get_mut(&source.identity.inode) {
            entry.seen = Some(seen);
        }
    }

    /// Notes the file under this name; whether this is the first of its names.
    fn enter(&self, path: &Path, links: Links, source: &Source) -> bool {
        // A link that the user named is not one of the file's own names; where it leads is.
        let real = || if links == Links::Follow { fs::canonicalize(path).ok() } else { Some(path.to_owned()) };
        let name = (source.links > 1).then(|| one_spelling(&real()?)).flatten();
        let mut state = self.state();
        let mut first = false;
        let entry = state.files.entry(source.identity.inode).or_insert_with(|| {
            first = true;
            Entry {
                path: path.to_owned(),
                links,
                identity: source.identity,
                link_count: source.links,
                names: BTreeSet::new(),
                seen: None,
            }
        });
        entry.names.extend(name);
        first
    }

    fn problem(&self, path: PathBuf, error: Error) {
        self.state().problems.push((path, error));
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State<T>> {
        // A panic in another thread leaves the maps whole: each change is one insertion.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Directory and last component of a name, the directory without links and dots.
fn one_spelling(path: &Path) -> Option<(PathBuf, OsString)> {
    Some((fs::canonicalize(directory_of(path)).ok()?, path.file_name()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_without_a_slash_is_for_names_one_with_a_slash_for_paths() {
        let excludes = |pattern: &str, path: &str| {
            let exclude = Exclude::new([pattern.to_owned()]).expect("a good pattern");
            exclude.matches(Path::new("/out"), Path::new(path))
        };
        assert!(excludes("*.debug", "/out/lib/debug/libx.debug"));
        assert!(excludes("tests", "/out/share/tests"));
        assert!(excludes("tests/", "/out/share/tests"));
        assert!(excludes("lib/*.so", "/out/lib/libx.so"));
        assert!(!excludes("lib/*.so", "/out/x/lib/libx.so"));
        assert!(excludes("**/lib/*.so", "/out/x/lib/libx.so"));
        assert!(!excludes("out", "/out/lib"));
        assert!(Exclude::new(["[".to_owned()]).is_err());
    }
}
