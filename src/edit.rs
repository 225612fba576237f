//! From wanted changes to a changed file: plan, verify, apply, at one of the places where the result can go.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::Error;
use crate::apply::{Durability, apply, recover};
use crate::elf::Image;
use crate::journal::Undo;
use crate::links::{copy_as, copy_beside, open_copy};
use crate::plan::{Change, EntryFor, NoteOutcome, Plan, Rung, plan};
use crate::privileges::Privileges;
use crate::source::{Links, Source};
use crate::verify::verify;

/// Where the changed file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'p> {
    /// Nowhere: a dry run.
    Nowhere,
    /// Into the file itself.
    InPlace,
    /// A copy with the file's mode, owner and attributes takes this name, which is one of the file's own.
    Copy(&'p Path),
    /// Another file, written anew whether there are changes or not.
    Output(&'p Path),
}

/// How a file was changed, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edited {
    /// Where the string went.
    pub rung: Rung,
    /// Where the tag's entry came from.
    pub entry: EntryFor,
    /// Bytes that the file grew by.
    pub growth: u64,
    /// What became of the resolution note.
    pub note: NoteOutcome,
}

/// Opens `path` for [`edit`]: another run on it waits for this one, and what an earlier run left in the middle of an edit
/// is taken back, unless this is a dry run. `None`: it is no ELF file.
///
/// # Errors
/// [`Error::Io`].
pub fn open_to_edit(path: &Path, links: Links, dry_run: bool) -> Result<Option<Source>, Error> {
    let Some(source) = Source::open_locked(path, links)? else { return Ok(None) };
    match Undo::find(source.bytes()).filter(|_| !dry_run) {
        Some(undo) => {
            recover(&source.open_for_writing()?, &undo)?;
            source.renewed().map(Some)
        }
        None => Ok(Some(source)),
    }
}

/// Makes `changes` one after another; `None` if there are none. `image` is that of the bytes of `source`.
///
/// # Errors
/// [`Error`], and the file is as it was: a change that is refused is refused before the first one is made.
pub fn edit(
    source: &Source,
    image: &Image<'_>,
    changes: &[Change],
    target: Target<'_>,
    durability: Durability,
) -> Result<Option<Edited>, Error> {
    let plans = changes.iter().map(|change| planned(image, change)).collect::<Result<Vec<_>, _>>()?;
    let steps =
        plans.split_first().map(|(first, _)| Steps { first, later: changes.get(1..).unwrap_or_default(), durability });
    match target {
        Target::Nowhere => {}
        Target::InPlace => {
            if let Some(steps) = &steps {
                steps.write(source)?;
            }
        }
        Target::Copy(path) => {
            // A link that was named stays; the file that it leads to gets the copy.
            let path = fs::canonicalize(path).map_err(Error::io("cannot follow the link"))?;
            take_name(copy_beside(source, &path)?, &path, steps.as_ref())?;
        }
        Target::Output(path) => output(source, path, steps.as_ref())?,
    }
    Ok(plans.first().map(|first| Edited {
        rung: first.rung,
        entry: first.entry,
        growth: first.growth(source.identity.len),
        note: first.note,
    }))
}

/// Writes `source` to `path` as it is.
///
/// # Errors
/// [`Error`]; what `path` names is as it was.
pub fn copy_to(source: &Source, path: &Path) -> Result<(), Error> {
    output(source, path, None)
}

fn planned(image: &Image<'_>, change: &Change) -> Result<Plan, Error> {
    let plan = plan(image, change)?;
    verify(image.data, &plan)?;
    Ok(plan)
}

/// Changes of one file. The first one is planned; each later one is planned anew for what the one before it made.
struct Steps<'a> {
    first: &'a Plan,
    later: &'a [Change],
    durability: Durability,
}

impl Steps<'_> {
    /// Makes them in `source`, which has the bytes that the first one is planned for.
    fn write(&self, source: &Source) -> Result<(), Error> {
        let file = source.open_for_writing()?;
        let privileges = Privileges::of(&file)?;
        apply(&file, source.bytes(), self.first, self.durability)?;
        for change in self.later {
            let now = source.as_it_is_now()?;
            let image = Image::read(now.bytes())?.map_err(Error::NotCandidate)?;
            apply(&file, now.bytes(), &planned(&image, change)?, self.durability)?;
        }
        privileges.give_back(&file)
    }

    /// The changed bytes in memory.
    fn replay(&self, original: &[u8]) -> Result<Vec<u8>, Error> {
        let all = |plan: &Plan, bytes: &[u8]| {
            plan.replay(bytes, usize::MAX).ok_or_else(|| Error::Unverified("an edit copies from nowhere".into()))
        };
        let mut bytes = all(self.first, original)?;
        for change in self.later {
            let image = Image::read(&bytes)?.map_err(Error::NotCandidate)?;
            bytes = all(&planned(&image, change)?, &bytes)?;
        }
        Ok(bytes)
    }
}

fn take_name(copy: NamedTempFile, path: &Path, steps: Option<&Steps<'_>>) -> Result<(), Error> {
    if let Some(steps) = steps {
        steps.write(&open_copy(&copy)?)?;
    }
    copy.persist(path).map_err(|error| Error::io("cannot rename the copy")(error.error))?;
    Ok(())
}

fn output(source: &Source, path: &Path, steps: Option<&Steps<'_>>) -> Result<(), Error> {
    match fs::metadata(path) {
        Ok(stat) if (stat.dev(), stat.ino()) == source.identity.inode => {
            steps.map_or(Ok(()), |steps| steps.write(source))
        }
        Ok(stat) if stat.is_dir() => {
            Err(Error::io("cannot write the output")(std::io::Error::from(std::io::ErrorKind::IsADirectory)))
        }
        // A device or a pipe keeps its name.
        Ok(stat) if !stat.is_file() => {
            let changed = steps.map(|steps| steps.replay(source.bytes())).transpose()?;
            let file = OpenOptions::new().write(true).open(path).map_err(Error::io("cannot open the output"))?;
            write_all(file, changed.as_deref().unwrap_or(source.bytes()))
        }
        _ => {
            let path = behind_links(path)?;
            take_name(copy_as(source, &path)?, &path, steps)
        }
    }
}

fn write_all(mut file: File, bytes: &[u8]) -> Result<(), Error> {
    file.write_all(bytes).map_err(Error::io("cannot write the output"))
}

/// The file that a link leads to, also where there is no such file yet.
fn behind_links(path: &Path) -> Result<PathBuf, Error> {
    // As many as the kernel follows (path_resolution(7)).
    const MOST_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            Err(_) => return Ok(path),
        }
    }
    Err(Error::io("cannot follow the link")(rustix::io::Errno::LOOP.into()))
}
