//! Operations on search paths, whatever the files load: the command `runpath`.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::apply::Durability;
use crate::apply::edit::{Done, Edited, OpenOptions, Proposal, Target};
use crate::apply::links::Protection;
use crate::apply::source::{Links, Source};
use crate::decide::{Current, PathOperation, Tag};
use crate::elf::Image;
use crate::walk::archive::not_elf;
use crate::walk::{self, Exclude, for_each_file, walk};

/// What the user asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What is done.
    pub operation: PathOperation,
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
    /// How.
    pub edited: Edited,
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
    let image = Image::read(source.bytes())?;
    Ok(image.search_paths().effective().map(|(tag, path)| (tag, path.to_vec())))
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
    let mut opening = OpenOptions::default();
    (opening.protection, opening.durability) = (options.protection.clone(), options.durability);
    let editor = found.edit(&opening)?;
    let Proposal { old, new, changes } = editor.propose(&options.operation, options.force)?;
    let target = options.output.as_deref().map_or(Target::Itself, Target::Output);
    let Done { edited, taken_back, link_broken } = match options.dry_run {
        true => Done { taken_back: false, ..editor.foresee(&changes, target)? },
        false => editor.commit(&changes, target)?,
    };
    let outcome = match edited {
        Some(edited) => Outcome::Changed(Changed { old, new, edited, link_broken }),
        None => Outcome::AlreadyRight(new),
    };
    Ok((outcome, taken_back))
}
