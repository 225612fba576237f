//! From wanted changes to a changed file: plan, verify, apply, at one of the places where the result can go.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::Error;
use crate::apply::{Durability, apply, recover};
use crate::elf::Image;
use crate::links::{
    Mode, Protection, Way, cannot_create, check_possible, copy_as, copy_beside, give_name, give_other_names,
};
use crate::place::{Name, Place};
use crate::plan::{Change, EntryFor, NoteOutcome, Plan, Rung, plan};
use crate::privileges::Privileges;
use crate::source::{Interrupted, Source};
use crate::verify::verify;

/// Where the changed file goes.
#[derive(Debug, Clone, Copy)]
pub enum Target<'p> {
    /// Nowhere: a dry run.
    Nowhere,
    /// Into the file itself.
    InPlace,
    /// A copy with the file's mode, owner and attributes takes this name, and these others of the file.
    Copy(&'p Name, &'p [Place]),
    /// Another file, written anew whether there are changes or not.
    Output(&'p Path),
}

impl<'p> Target<'p> {
    /// Where the changes of the `opened` file go, which has the name `name` and these other ones; and how it may be
    /// changed.
    ///
    /// # Errors
    /// As [`Protection::way`]; in a dry run also what writing would say, as far as can be told.
    pub fn of(
        opened: &Opened,
        name: &'p Name,
        others: &'p [Place],
        protection: &Protection,
        mode: Mode,
    ) -> Result<(Self, Way), Error> {
        let way = protection.way(opened.source(), others)?;
        let target = match (mode, way) {
            (Mode::DryRun, _) => {
                check_possible(way, opened.source(), name)?;
                Self::Nowhere
            }
            (Mode::Write, Way::InPlace) => Self::InPlace,
            (Mode::Write, Way::Copy) => Self::Copy(name, others),
        };
        Ok((target, way))
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// How the file was changed, or would be; `None` if it was right.
    pub edited: Option<Edited>,
    /// Whether the unfinished edit of an earlier run was taken back.
    pub taken_back: bool,
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

/// A file that is open for [`edit`].
#[derive(Debug)]
pub struct Opened {
    source: Source,
    interrupted: Option<Interrupted>,
}

impl Opened {
    /// Opens a file under a lock: another run on it waits for this one. `None`: it is no ELF file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Locked`].
    pub fn locked(name: &Name) -> Result<Option<Self>, Error> {
        let Some(source) = name.source()? else { return Ok(None) };
        let opened = Self::of(source.locked()?)?;
        // Meanwhile the name may have gone to another file: what is still open may be known elsewhere alone.
        opened.check_inode(name.inode().map_err(Error::io("cannot look at it"))?)?;
        Ok(Some(opened))
    }

    /// An open file, to be read only.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn of(source: Source) -> Result<Self, Error> {
        let interrupted = source.interrupted()?;
        Ok(Self { source, interrupted })
    }

    /// The file's bytes: those from before the unfinished edit of an earlier run, where there is one.
    pub fn bytes(&self) -> &[u8] {
        self.interrupted.as_ref().map_or(self.source.bytes(), |interrupted| &interrupted.undone)
    }

    /// The open file.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Whether an earlier run was stopped while it edited the file.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.is_some()
    }

    /// The file that was found at `place` with this device and inode number, under a lock, and its name.
    ///
    /// # Errors
    /// As [`Self::locked`]; [`Error::Changed`] where another file is there by now.
    pub fn found(place: &Place, inode: (u64, u64)) -> Result<(Name, Self), Error> {
        let name = place.look_up().map_err(Error::io("cannot open"))?;
        let opened = Self::locked(&name)?.ok_or(Error::Changed)?;
        opened.check_inode(inode)?;
        Ok((name, opened))
    }

    fn check_inode(&self, inode: (u64, u64)) -> Result<(), Error> {
        if self.source.identity.inode == inode { Ok(()) } else { Err(Error::Changed) }
    }

    /// Whether `path` leads to this very file.
    fn is_at(&self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|stat| (stat.dev(), stat.ino()) == self.source.identity.inode)
    }
}

/// Takes back the unfinished edit of an earlier run, if there is one, and makes `changes` one after another. An edit is
/// taken back in the file itself alone: no copy or output has it, but the file keeps it.
///
/// # Errors
/// [`Error`], and the file is as it was: a change that is refused is refused before the first one is made.
pub fn edit(opened: Opened, changes: &[Change], target: Target<'_>, durability: Durability) -> Result<Done, Error> {
    let mut plans = planned_all(opened.bytes(), changes)?;
    opened.source.check_whole()?;
    let old_len = opened.bytes().len() as u64;
    let edited = plans.first().map(|first| Edited {
        rung: first.rung,
        entry: first.entry,
        growth: first.growth(old_len),
        note: first.note,
    });
    let mut taken_back = false;
    let target = match target {
        Target::Output(path) if opened.is_at(path) => Target::InPlace,
        target => target,
    };
    match target {
        Target::Nowhere => {}
        Target::InPlace => {
            taken_back = opened.is_interrupted();
            plans.truncate(1);
            in_place(opened, plans.pop(), changes.get(1..).unwrap_or_default(), durability)?;
        }
        Target::Copy(name, others) => {
            let copy = copy_beside(opened.source(), opened.bytes(), name)?;
            change(copy.file(), changes, durability)?;
            copy.take_metadata(opened.source.file())?;
            give_name(copy, name, Some(opened.source.identity.inode))
                .and_then(|copy| give_other_names(&copy, others, opened.source.identity.inode))?;
        }
        Target::Output(path) => output(&opened, path, changes, durability)?,
    }
    Ok(Done { edited, taken_back })
}

/// The plans of all changes for the file as it is. None is written before all are known to be possible.
fn planned_all(bytes: &[u8], changes: &[Change]) -> Result<Vec<Plan>, Error> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let image = Image::read(bytes)?.map_err(Error::NotCandidate)?;
    changes.iter().map(|change| planned(&image, change)).collect()
}

fn planned(image: &Image<'_>, change: &Change) -> Result<Plan, Error> {
    let plan = plan(image, change)?;
    verify(image.data, &plan)?;
    Ok(plan)
}

/// Makes the changes in the file itself. `first` is planned for its bytes; each later one is planned anew.
fn in_place(opened: Opened, first: Option<Plan>, later: &[Change], durability: Durability) -> Result<(), Error> {
    if first.is_none() && !opened.is_interrupted() {
        return Ok(());
    }
    let file = opened.source.open_for_writing()?;
    let privileges = Privileges::of(&file)?;
    let Opened { source, interrupted } = opened;
    let undo = interrupted.map(|interrupted| interrupted.undo);
    // The lock stays, the map goes.
    let _lock = source.into_file();
    if let Some(undo) = undo {
        recover(&file, &undo)?;
    }
    if let Some(first) = first {
        apply(&file, &first, durability)?;
        change(&file, later, durability)?;
    }
    privileges.give_back(&file)
}

/// Makes changes in an open file that nobody else writes to, one after another.
fn change(file: &File, changes: &[Change], durability: Durability) -> Result<(), Error> {
    for change in changes {
        let plan = {
            let now = Source::of(file.try_clone().map_err(Error::io("cannot open"))?)?;
            planned(&Image::read(now.bytes())?.map_err(Error::NotCandidate)?, change)?
        };
        apply(file, &plan, durability)?;
    }
    Ok(())
}

/// The changed bytes in memory.
fn replay(original: &[u8], changes: &[Change]) -> Result<Vec<u8>, Error> {
    let mut bytes = original.to_vec();
    for change in changes {
        let plan = planned(&Image::read(&bytes)?.map_err(Error::NotCandidate)?, change)?;
        let all = plan.replay(&bytes, usize::MAX);
        bytes = all.ok_or_else(|| Error::Unverified("an edit copies from nowhere".into()))?;
    }
    Ok(bytes)
}

fn output(opened: &Opened, path: &Path, changes: &[Change], durability: Durability) -> Result<(), Error> {
    match std::fs::metadata(path) {
        Ok(stat) if stat.is_dir() => {
            Err(Error::io("cannot write the output")(std::io::Error::from(std::io::ErrorKind::IsADirectory)))
        }
        // A device or a pipe keeps its name.
        Ok(stat) if !stat.is_file() => {
            let changed = replay(opened.bytes(), changes)?;
            let mut file = OpenOptions::new().write(true).open(path).map_err(Error::io("cannot open the output"))?;
            file.write_all(&changed).map_err(Error::io("cannot write the output"))
        }
        _ => {
            let name = Name::of_output(path).map_err(cannot_create)?;
            let copy = copy_as(opened.source(), opened.bytes(), &name)?;
            change(copy.file(), changes, durability)?;
            give_name(copy, &name, None).map(|_| ())
        }
    }
}
