//! Operations on search paths, whatever the files load: the command `runpath`.

mod paths;

use std::path::{Path, PathBuf};

use crate::Error;
use crate::apply::Durability;
use crate::archive::not_elf;
use crate::decide::{Current, Tag};
use crate::edit::{Done, Edited, Opened, Target, edit};
use crate::elf::Image;
use crate::facts::search_paths;
use crate::links::{Mode, Protection, Way};
use crate::plan::{EntryFor, NoteOutcome, Rung};
use crate::resolution::{ThisMachine, renewal};
use crate::source::{Links, Source};
use crate::walk::{self, Exclude, for_each_file, walk};

pub use paths::{appended, changes, prepended, shrunk, tidy, without};

/// What is done to a search path. The result has neither empty entries nor duplicates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// This path, whatever was there.
    Set(Vec<u8>),
    /// These directories first.
    Prepend(Vec<u8>),
    /// These directories last.
    Append(Vec<u8>),
    /// Without these directories.
    Remove(Vec<u8>),
    /// No search path any more.
    Clear,
    /// Without the directories in which nothing is found that the file needs.
    Shrink {
        /// A directory must start with one of these; none: with anything.
        allowed_prefixes: Vec<Vec<u8>>,
    },
}

/// What the user asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What is done.
    pub operation: Operation,
    /// The tag to use whatever the file has.
    pub force: Option<Tag>,
    /// Write there; the file stays as it is. Good for one file only.
    pub output: Option<PathBuf>,
    /// Do everything but write.
    pub dry_run: bool,
    /// Files that are not edited in place.
    pub protection: Protection,
    /// What an edit is safe from.
    pub durability: Durability,
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It has another search path now.
    Changed(Changed),
    /// Its tag and path are what they should be.
    AlreadyRight(Option<(Tag, Vec<u8>)>),
}

/// How one file changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The search paths before.
    pub old: Current,
    /// Tag and path now.
    pub new: Option<(Tag, Vec<u8>)>,
    /// Where the string went.
    pub rung: Rung,
    /// Where the tag's entry came from.
    pub entry: EntryFor,
    /// Bytes that the file grew by.
    pub growth: u64,
    /// What became of the resolution note.
    pub note: NoteOutcome,
    /// Whether a copy took the file's name.
    pub link_broken: bool,
}

/// The result of a run.
#[derive(Debug)]
pub struct Report {
    /// What became of each file, by path.
    pub files: Vec<(PathBuf, Result<Outcome, Error>)>,
    /// The files in which the unfinished edit of an earlier run was taken back, by path.
    pub taken_back: Vec<PathBuf>,
    /// Whether nothing was written.
    pub dry_run: bool,
}

/// Runs the operation on the files named, none of them a directory.
pub fn run(paths: &[PathBuf], options: &Options) -> Report {
    // The walk knows which names are those of one file, so that hard links among them are edited once.
    let walked = walk(paths, &Exclude::default(), |_, _| ());
    let problems = walked.problems.into_iter().map(|(path, error)| (path, Err(error)));
    let change = |found: &walk::Found<()>| (found.path.clone(), change_file(found, options));
    let done = for_each_file(&walked.files, change);
    let taken = done.iter().filter(|(_, result)| matches!(result, Ok((_, true))));
    let taken_back = taken.map(|(path, _)| path.clone()).collect();
    let mut files: Vec<_> = done.into_iter().map(|(path, result)| (path, result.map(|(outcome, _)| outcome))).collect();
    files.extend(problems);
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    Report { files, taken_back, dry_run: options.dry_run }
}

/// The search path that loaders go by, and its tag.
///
/// # Errors
/// [`Error`] where the file cannot be read or has no dynamic table.
pub fn print(path: &Path) -> Result<Found, Error> {
    search_path_of(&Source::open(path, Links::Follow)?.ok_or_else(|| not_elf(path))?)
}

/// A search path and its tag, of a file that has one.
pub type Found = Option<(Tag, Vec<u8>)>;

fn search_path_of(source: &Source) -> Result<Found, Error> {
    let image = Image::read(source.bytes())?.map_err(Error::NotCandidate)?;
    Ok(search_paths(&image).effective().map(|(tag, path)| (tag, path.to_vec())))
}

/// The same of every dynamic file in a directory, by path, and what could not be looked at.
pub fn print_tree(directory: &Path) -> Vec<(PathBuf, Result<Found, Error>)> {
    let walked = walk(&[directory.to_owned()], &Exclude::default(), |_, source| search_path_of(&source));
    let found = walked.files.into_iter().map(|file| (file.path, file.seen));
    let dynamic = found.filter(|(_, seen)| !matches!(seen, Err(Error::NotCandidate(_))));
    dynamic.chain(walked.problems.into_iter().map(|(path, error)| (path, Err(error)))).collect()
}

/// What became of the file, and whether the unfinished edit of an earlier run was taken back.
fn change_file(found: &walk::Found<()>, options: &Options) -> Result<(Outcome, bool), Error> {
    let others = found.other_names();
    let (name, opened) = Opened::found(&found.place(), found.identity.inode)?;
    let (old, new, changes) = {
        let image = Image::read(opened.bytes())?.map_err(Error::NotCandidate)?;
        let old = search_paths(&image);
        let new = new_path(&image, &old, options);
        let wanted = new.as_ref().map(|(tag, path)| (*tag, path.as_slice()));
        let changes = changes(&old, wanted, renewal(&image, wanted, &ThisMachine));
        if let Some(reason) = image.ruled_out().filter(|_| new.is_some() && !changes.is_empty()) {
            return Err(Error::NotCandidate(reason));
        }
        (old, new, changes)
    };
    let mode = if options.dry_run { Mode::DryRun } else { Mode::Write };
    let (target, way) = match &options.output {
        Some(path) if !options.dry_run => (Target::Output(path), Way::InPlace),
        Some(_) => (Target::Nowhere, Way::InPlace),
        None if changes.is_empty() && !opened.is_interrupted() => (Target::Nowhere, Way::InPlace),
        None => Target::of(&opened, &name, &others, &options.protection, mode)?,
    };
    let Done { edited, taken_back } = edit(opened, &changes, target, options.durability)?;
    let link_broken = way == Way::Copy;
    let outcome = match edited {
        Some(Edited { rung, entry, growth, note }) => {
            Outcome::Changed(Changed { old, new, rung, entry, growth, note, link_broken })
        }
        None => Outcome::AlreadyRight(new),
    };
    Ok((outcome, taken_back))
}

/// Tag and path that the file shall have. The tag stays what it is.
fn new_path(image: &Image<'_>, old: &Current, options: &Options) -> Option<(Tag, Vec<u8>)> {
    let now = old.effective();
    let old_path = now.map_or(&b""[..], |(_, path)| path);
    let path = match &options.operation {
        Operation::Set(path) => tidy(path),
        Operation::Prepend(first) => tidy(&prepended(old_path, first)),
        Operation::Append(last) => tidy(&appended(old_path, last)),
        Operation::Remove(directories) => tidy(&without(old_path, directories)),
        Operation::Clear => Vec::new(),
        Operation::Shrink { allowed_prefixes } => tidy(&shrunk(old_path, image, allowed_prefixes)),
    };
    let tag = options.force.or(now.map(|(tag, _)| tag)).unwrap_or(Tag::Runpath);
    (!path.is_empty()).then_some((tag, path))
}
