//! From wanted changes to a changed file: plan, verify, apply, at one of the places where the result can go.
//!
//! ```
//! use driver_runpath::edit::{Editor, OpenOptions};
//!
//! let editor = Editor::open("testdata/demo.sh", &OpenOptions::default())?;
//! assert!(editor.is_none(), "no ELF file");
//! # Ok::<(), driver_runpath::Error>(())
//! ```

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::iter;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Error;
pub use crate::apply::Durability;
use crate::apply::directories::{holds_library, holds_needed_library};
pub use crate::apply::links::{HardLinks, Protection};
use crate::apply::links::{Method, cannot_create, check_possible, copy_as, copy_beside, give_name, give_other_names};
use crate::apply::lock::PATIENCE;
use crate::apply::place::{Destination, Name, Place};
use crate::apply::privileges::Privileges;
use crate::apply::source::{Interrupted, Source};
use crate::apply::write::{put, recover};
use crate::decide::{Current, PathOperation, Tag};
use crate::detect::DriverNames;
use crate::elf::{Image, NotCandidate};
use crate::plan::{Change, EntryFor, NoteOutcome, Rung, plan};
use crate::resolution::{ThisMachine, renewal};
use crate::verify::{Verified, verify};

/// How an [`Editor`] opens a file, and what it may do with it.
///
/// ```
/// use driver_runpath::edit::{Durability, HardLinks, OpenOptions, Protection};
///
/// let mut options = OpenOptions::default();
/// options.durability = Durability::Power;
/// options.protection = Protection::default().with_links(HardLinks::Break);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenOptions {
    /// Files that are not edited in place.
    pub protection: Protection,
    /// What an edit is safe from.
    pub durability: Durability,
    /// How long a lock of another process is waited for, if that could be editing the file; one that can only read it is
    /// waited for a second at most. Ten seconds, unless said otherwise.
    pub patience: Duration,
    /// Whether files of another system's ABI are given a search path, as patchelf does.
    pub(crate) foreign: Foreign,
}

/// What is done with files of another system's ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Foreign {
    Refused,
    Taken,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            protection: Protection::default(),
            durability: Durability::default(),
            patience: PATIENCE,
            foreign: Foreign::Refused,
        }
    }
}

/// Where the changed file goes.
///
/// ```
/// use driver_runpath::Editor;
/// use driver_runpath::edit::{OpenOptions, Target};
///
/// # let dir = tempfile::tempdir()?;
/// # let output = dir.path().join("copy.so");
/// let editor = Editor::open("testdata/prebuilt/x86_64/libopens.so", &OpenOptions::default())?.ok_or("no ELF file")?;
/// editor.commit(&[], Target::Output(&output))?;
/// # assert_eq!(std::fs::read(output)?, std::fs::read("testdata/prebuilt/x86_64/libopens.so")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target<'p> {
    /// It stays where it is: edited in place, or, where [`Protection`] asks for it, by a copy that takes all its names.
    Itself,
    /// Another file, written anew whether there are changes or not.
    Output(&'p Path),
}

/// What was done, or would be.
///
/// ```
/// # use driver_runpath::edit::{Editor, OpenOptions};
/// # let editor = Editor::open("testdata/prebuilt/x86_64/libopens.so", &OpenOptions::default())?.ok_or("no ELF file")?;
/// let done = editor.preview(&[])?;
/// assert!(done.edited.is_none() && !done.taken_back && !done.link_broken);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Done {
    /// How the file was changed; `None` if it was right.
    pub edited: Option<Edited>,
    /// Whether the unfinished edit of an earlier run was taken back.
    pub taken_back: bool,
    /// Whether a copy took the file's name, so that hard links elsewhere have the old file.
    pub link_broken: bool,
}

/// How a file was changed, or would be.
///
/// ```
/// # use driver_runpath::{decide::Tag, plan::{Change, Rung}, edit::{Editor, OpenOptions, Protection}};
/// # let mut options = OpenOptions::default();
/// # options.protection = Protection::none();
/// # let editor = Editor::open("testdata/prebuilt/x86_64/libopens.so", &options)?.ok_or("no ELF file")?;
/// let edited = editor.preview(&[Change::new(Tag::Runpath, "/opt/lib")])?.edited.ok_or("nothing to do")?;
/// assert_eq!((edited.rung, edited.growth), (Rung::Slack, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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

impl Edited {
    fn by(verified: &Verified<'_>) -> Self {
        let plan = verified.plan();
        Self { rung: plan.rung, entry: plan.entry, growth: plan.growth(), note: plan.note }
    }
}

/// What a [`PathOperation`] comes to for one file.
///
/// ```
/// use driver_runpath::decide::{PathOperation, Tag};
/// # use driver_runpath::edit::{Editor, OpenOptions};
/// # let editor = Editor::open("testdata/prebuilt/x86_64/libopens.so", &OpenOptions::default())?.ok_or("no ELF file")?;
///
/// let proposal = editor.propose(&PathOperation::Append(b"/opt/lib".to_vec()), None)?;
/// assert_eq!((proposal.old.effective(), proposal.new), (None, Some((Tag::Runpath, b"/opt/lib".to_vec()))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proposal {
    /// The search paths now.
    pub old: Current,
    /// Tag and path then; `None`: no search path.
    pub new: Option<(Tag, Vec<u8>)>,
    /// How to get there, for [`Editor::commit`]. Empty where the file is right.
    pub changes: Vec<Change>,
}

/// One ELF file, open and locked, that is to be edited.
///
/// It does what the binary does, and refuses what that refuses: the file is locked against other runs, what a run left
/// that was killed is taken back, every plan is verified before the first byte is written, a failed write is undone, and
/// mode bits and capabilities that the kernel takes from the file are given back.
///
/// ```
/// use driver_runpath::decide::PathOperation;
/// use driver_runpath::edit::{Editor, OpenOptions, Target};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("libopens.so");
/// # std::fs::copy("testdata/prebuilt/x86_64/libopens.so", &path)?;
/// let editor = Editor::open(&path, &OpenOptions::default())?.ok_or("no ELF file")?;
/// let append = editor.propose(&PathOperation::Append(b"$ORIGIN/../lib".to_vec()), None)?;
/// let would = editor.preview(&append.changes)?;
/// let done = editor.commit(&append.changes, Target::Itself)?;
/// assert_eq!(done, would);
/// assert!(done.edited.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// An editor is used up by what it writes, for what it knows of the file is old then:
///
/// ```compile_fail,E0382
/// # use driver_runpath::edit::{Editor, OpenOptions, Target};
/// # let editor = Editor::open("lib.so", &OpenOptions::default()).unwrap().unwrap();
/// editor.commit(&[], Target::Itself).unwrap();
/// editor.image().unwrap();
/// ```
#[derive(Debug)]
pub struct Editor {
    source: Source,
    interrupted: Option<Interrupted>,
    path: PathBuf,
    name: Name,
    /// The file's other names that are known.
    others: Vec<Place>,
    options: OpenOptions,
}

impl Editor {
    /// Opens a file under a lock: another run on it waits for this one. Links are followed. `None`: it is no ELF file.
    ///
    /// Where an earlier run was killed while it edited the file, and the file has the proof of it, everything here is
    /// about the file as it was before; [`Self::commit`] takes that edit back.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Locked`].
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Option<Self>, Error> {
        let place = Place { path: path.as_ref().to_owned(), root: None };
        let name = place.look_up().map_err(Error::io("cannot open"))?;
        Self::locked(place.path, name, options)
    }

    fn locked(path: PathBuf, name: Name, options: &OpenOptions) -> Result<Option<Self>, Error> {
        let Some(source) = name.source()? else { return Ok(None) };
        let editor = Self::of(path, name, source.locked(options.patience)?, options)?;
        // Meanwhile the name may have gone to another file: what is still open may be known elsewhere alone.
        editor.check_inode(editor.name.inode().map_err(Error::io("cannot look at it"))?)?;
        Ok(Some(editor))
    }

    /// A file that is only read: nothing is written to itself, and nobody waits for it.
    #[cfg(feature = "cli")]
    pub(crate) fn look(path: &Path, options: &OpenOptions) -> Result<Option<Self>, Error> {
        let place = Place { path: path.to_owned(), root: None };
        let name = place.look_up().map_err(Error::io("cannot open"))?;
        let source = name.source()?;
        source.map(|source| Self::of(place.path, name, source, options)).transpose()
    }

    /// The file at `place` while it has this inode number, under a lock; [`Error::Changed`] where another file is there by
    /// now. `others` are its other names.
    pub(crate) fn found(
        place: Place,
        inode: (u64, u64),
        others: Vec<Place>,
        options: &OpenOptions,
    ) -> Result<Self, Error> {
        let name = place.look_up().map_err(Error::io("cannot open"))?;
        let editor = Self::locked(place.path, name, options)?.ok_or(Error::Changed)?;
        editor.check_inode(inode)?;
        Ok(Self { others, ..editor })
    }

    fn of(path: PathBuf, name: Name, source: Source, options: &OpenOptions) -> Result<Self, Error> {
        let interrupted = source.interrupted()?;
        Ok(Self { source, interrupted, path, name, others: Vec::new(), options: options.clone() })
    }

    /// The file's bytes: those from before the unfinished edit of an earlier run, where there is one.
    pub fn bytes(&self) -> &[u8] {
        self.interrupted.as_ref().map_or(self.source.bytes(), |interrupted| &interrupted.undone)
    }

    /// What the file says of itself, also of a file that must not be given a search path.
    ///
    /// # Errors
    /// [`Error::Malformed`], and [`Error::NotCandidate`] where it has no dynamic table.
    pub fn image(&self) -> Result<Image<'_>, Error> {
        Ok(Image::read(self.bytes())?)
    }

    /// Whether an earlier run was stopped while it edited the file.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.is_some()
    }

    /// What `operation` comes to, for what the file needs and what lies in the directories of this machine. The tag stays
    /// what it is unless `force` says which; a resolution note is renewed.
    ///
    /// A first search path is a `DT_RUNPATH`. That ends the inheritance of a `DT_RPATH` of whoever needs the file, and one
    /// file does not tell who does: [`fix`](crate::fix::fix) on the whole tree sees it, and gives the file a `DT_RPATH` then.
    /// Who knows it otherwise says so:
    ///
    /// ```
    /// use driver_runpath::decide::{PathOperation, Tag};
    /// # use driver_runpath::edit::{Editor, OpenOptions};
    /// # let path = "testdata/prebuilt/x86_64/libopens.so";
    /// # let program_has_an_rpath = true;
    ///
    /// let editor = Editor::open(path, &OpenOptions::default())?.ok_or("no ELF file")?;
    /// let inherits = program_has_an_rpath && editor.image()?.search_path().is_none();
    /// let driver = PathOperation::driver("/run/opengl-driver/lib");
    /// let proposal = editor.propose(&driver, inherits.then_some(Tag::Rpath))?;
    /// assert_eq!(proposal.new, Some((Tag::Rpath, b"/run/opengl-driver/lib".to_vec())));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::image`]; [`Error::Changed`] as for [`Self::commit`].
    pub fn propose(&self, operation: &PathOperation, force: Option<Tag>) -> Result<Proposal, Error> {
        self.source.check_unchanged(self.source.file())?;
        let image = self.image()?;
        let needed: Vec<&[u8]> = image.needed().collect();
        let old = image.search_paths();
        let names = DriverNames::default();
        let holds = |directory: &[u8], name: &[u8]| match operation {
            PathOperation::Driver(_) => holds_needed_library(directory, &self.path, iter::once(name), &names),
            _ => holds_library(directory, name, &image),
        };
        let new = operation.decide(&old, &needed, force, holds);
        let wanted = new.as_ref().map(|(tag, path)| (*tag, path.as_slice()));
        let changes = Change::between(&old, wanted, renewal(&image, wanted, &ThisMachine));
        Ok(Proposal { old, new, changes })
    }

    /// What [`Self::commit`] would do with the file itself, as far as is known without writing.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn preview(&self, changes: &[Change]) -> Result<Done, Error> {
        self.foresee(changes, Target::Itself)
    }

    /// The same with another file as target.
    pub(crate) fn foresee(&self, changes: &[Change], target: Target<'_>) -> Result<Done, Error> {
        let Prepared { plan, method } = self.prepare(changes, target)?;
        if target == Target::Itself && (plan.is_some() || self.is_interrupted()) {
            self.check_name()?;
            check_possible(method, &self.source, &self.name)?;
        }
        Ok(Done {
            edited: plan.as_ref().map(Edited::by),
            taken_back: self.is_interrupted(),
            link_broken: plan.is_some() && method == Method::Copy,
        })
    }

    /// Takes back the unfinished edit of an earlier run, if there is one, and makes `changes` one after another. An edit
    /// is taken back in the file itself alone: no copy or output has it, but the file keeps it.
    ///
    /// # Errors
    /// [`Error`], and the file is as it was: what is refused is refused before the first byte is written.
    /// [`Error::Changed`] where somebody has written to the file since it was opened, or given its name to another one.
    pub fn commit(self, changes: &[Change], target: Target<'_>) -> Result<Done, Error> {
        let Prepared { plan, method } = self.prepare(changes, target)?;
        let edited = plan.as_ref().map(Edited::by);
        let mut done = Done { edited, taken_back: false, link_broken: false };
        match target {
            Target::Output(path) if !self.is_at(path) => self.output(path, changes)?,
            _ if edited.is_none() && !self.is_interrupted() => {}
            _ if method == Method::Copy => {
                done.link_broken = true;
                self.replace(changes)?;
            }
            _ => {
                self.check_name()?;
                done.taken_back = self.is_interrupted();
                let plan = plan.map(Verified::detached);
                self.in_place(plan, changes.get(1..).unwrap_or_default())?;
            }
        }
        Ok(done)
    }

    /// All that can be refused, before anything is written.
    fn prepare(&self, changes: &[Change], target: Target<'_>) -> Result<Prepared<'_>, Error> {
        // Before its bytes are looked at: where somebody has cut it off, they are gone.
        self.source.check_unchanged(self.source.file())?;
        let mut method = Method::InPlace;
        let mut plan = None;
        if let [first, later @ ..] = changes {
            let image = self.image()?;
            changes.iter().try_for_each(|change| self.check_candidate(&image, change))?;
            method = self.method(target)?;
            plan = Some(planned(&image, first)?);
            if !later.is_empty() {
                changed_bytes(self.bytes(), changes)?;
            }
        } else if self.is_interrupted() {
            method = self.method(target)?;
        }
        self.source.check_whole()?;
        Ok(Prepared { plan, method })
    }

    fn method(&self, target: Target<'_>) -> Result<Method, Error> {
        match target {
            Target::Output(path) if !self.is_at(path) => Ok(Method::InPlace),
            _ => self.options.protection.method(&self.source, &self.others),
        }
    }

    /// A search path that it has already does the file no harm.
    fn check_candidate(&self, image: &Image<'_>, change: &Change) -> Result<(), Error> {
        let new = change.path.as_deref();
        let is_new = new.is_some() && new != image.search_path().map(|(_, path)| path);
        let taken =
            |reason: &NotCandidate| self.options.foreign == Foreign::Taken && *reason == NotCandidate::ForeignOsAbi;
        match image.ruled_out().filter(|reason| is_new && !taken(reason)) {
            Some(reason) => Err(Error::NotCandidate(reason)),
            None => Ok(()),
        }
    }

    fn check_inode(&self, inode: (u64, u64)) -> Result<(), Error> {
        if self.source.identity.inode == inode { Ok(()) } else { Err(Error::Changed) }
    }

    /// Another file may have taken the name meanwhile: an edit of what is open would be an edit of what nobody finds.
    fn check_name(&self) -> Result<(), Error> {
        self.name.inode().map_err(|_| Error::Changed).and_then(|inode| self.check_inode(inode))
    }

    /// Whether `path` leads to this very file.
    fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|stat| (stat.dev(), stat.ino()) == self.source.identity.inode)
    }

    /// Makes the changes in the file itself. `first` is planned for its bytes; each later one is planned anew.
    fn in_place(self, first: Option<Verified<'static>>, later: &[Change]) -> Result<(), Error> {
        let Self { source, interrupted, options, .. } = self;
        Privileges::check_writers(source.file())?;
        let file = source.open_for_writing(options.patience)?;
        let privileges = Privileges::of(&file)?;
        let undo = interrupted.map(|interrupted| interrupted.undo);
        // The lock stays, the map goes.
        let _lock = source.into_file();
        if let Some(undo) = undo {
            recover(&file, &undo)?;
        }
        if let Some(first) = first {
            put(&file, &first, options.durability)?;
            change(&file, later, options.durability)?;
        }
        privileges.give_back(&file)
    }

    /// Makes the changes in a copy that takes the file's names.
    fn replace(&self, changes: &[Change]) -> Result<(), Error> {
        let was = self.source.identity.inode;
        let copy = copy_beside(&self.source, self.bytes(), &self.name)?;
        change(copy.file(), changes, self.options.durability)?;
        copy.take_metadata(self.source.file())?;
        let copy = give_name(copy, &self.name, Some(was))?;
        give_other_names(&copy, &self.others, was)
    }

    fn output(&self, path: &Path, changes: &[Change]) -> Result<(), Error> {
        let there = fs::metadata(path).ok();
        if there.as_ref().is_some_and(fs::Metadata::is_dir) {
            return Err(Error::io("cannot write the output")(ErrorKind::IsADirectory.into()));
        }
        let cannot_open = Error::io("cannot open the output");
        match Destination::of(path) {
            Ok(Destination::Descriptor(name)) => self.stream(changes, name.open_descriptor().map_err(cannot_open)?),
            // A device or a pipe keeps its name.
            _ if there.is_some_and(|stat| !stat.is_file()) => {
                self.stream(changes, File::options().write(true).open(path).map_err(cannot_open)?)
            }
            destination => {
                let (Destination::Name(name) | Destination::Descriptor(name)) = destination.map_err(cannot_create)?;
                let copy = copy_as(&self.source, self.bytes(), &name)?;
                change(copy.file(), changes, self.options.durability)?;
                give_name(copy, &name, None).map(|_| ())
            }
        }
    }

    /// Writes the changed file to what is open.
    fn stream(&self, changes: &[Change], mut to: File) -> Result<(), Error> {
        to.write_all(&changed_bytes(self.bytes(), changes)?).map_err(Error::io("cannot write the output"))
    }
}

/// What is known before anything is written.
struct Prepared<'data> {
    /// The first change, for the file as it is.
    plan: Option<Verified<'data>>,
    method: Method,
}

fn planned<'data>(image: &Image<'data>, change: &Change) -> Result<Verified<'data>, Error> {
    verify(plan(image, change)?)
}

/// Makes changes in an open file that nobody else writes to, one after another.
fn change(file: &File, changes: &[Change], durability: Durability) -> Result<(), Error> {
    for change in changes {
        let plan = {
            let now = Source::of(file.try_clone().map_err(Error::io("cannot open"))?)?;
            planned(&Image::read(now.bytes())?, change)?.detached()
        };
        put(file, &plan, durability)?;
    }
    Ok(())
}

/// The changed bytes in memory.
fn changed_bytes(original: &[u8], changes: &[Change]) -> Result<Vec<u8>, Error> {
    let mut bytes = original.to_vec();
    for change in changes {
        bytes = planned(&Image::read(&bytes)?, change)?.into_bytes();
    }
    Ok(bytes)
}
