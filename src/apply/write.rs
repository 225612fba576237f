//! Writes a plan into the file, in an order in which every intermediate file loads.
//!
//! The only module that writes. Bytes that nobody reads yet go through pwrite(2), whose errors can be handled; words
//! that kernel and loader read go through a map, one volatile store each. Every page that a store will touch is
//! written once beforehand with its own bytes, so that a full disk shows itself while the file is still as it was. A
//! journal behind the file's end (see `journal`) lets a later run take back what a run that was stopped has left.
//!
//! ```
//! use driver_runpath::apply::Durability;
//!
//! assert_eq!(Durability::default(), Durability::Process);
//! ```

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::OFlags;

use crate::Error;
use crate::apply::journal::Undo;
use crate::apply::links::{Method, Protection};
use crate::apply::lock::{PATIENCE, lock_for_an_edit};
use crate::apply::map::{EditMap, pages_lost};
use crate::apply::privileges::Privileges;
use crate::apply::source::Source;
use crate::plan::{Content, Plan, Step};
use crate::verify::Verified;

const PAGE: u64 = 0x1000;

/// How much is copied or put back at once, in bytes.
const PIECE: usize = 1 << 20;

/// What an edit is safe from.
///
/// ```
/// let mut options = driver_runpath::edit::OpenOptions::default();
/// options.durability = driver_runpath::apply::Durability::Power;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// The death of the process.
    #[default]
    Process,
    /// A power failure as well: the journal reaches the disk before the edit, and the edit before the journal goes.
    Power,
}

impl Verified<'_> {
    /// Writes the edits into `file`, which is open for reading and writing and has the bytes that they were planned for.
    /// All of it is read once more for that; [`Editor`](crate::apply::edit::Editor) knows cheaper ways, and more.
    ///
    /// Other runs wait meanwhile (flock(2)). A lock that `file` has already does for that, becomes an exclusive one and
    /// stays; an [`Editor`](crate::apply::edit::Editor) of this file that is still open is another run.
    ///
    /// ```
    /// use driver_runpath::apply::Durability;
    /// use driver_runpath::{decide::Tag, elf::Image, plan::{Change, plan}, verify::verify};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("libopens.so");
    /// # std::fs::copy("testdata/prebuilt/x86_64/libopens.so", &path)?;
    /// let file = std::fs::File::options().read(true).write(true).open(&path)?;
    /// let bytes = std::fs::read(&path)?;
    /// let plan = plan(&Image::parse(&bytes)?, &Change::new(Tag::Runpath, "/opt/lib"))?;
    /// verify(plan)?.apply(&file, Durability::Process)?;
    /// # assert_eq!(Image::parse(&std::fs::read(&path)?)?.search_path(), Some((Tag::Runpath, &b"/opt/lib"[..])));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A plan that was not verified cannot be written:
    ///
    /// ```compile_fail,E0599
    /// # use driver_runpath::{apply::Durability, decide::Tag, elf::Image, plan::{Change, plan}};
    /// # let (file, bytes) = (std::fs::File::open("lib.so").unwrap(), std::fs::read("lib.so").unwrap());
    /// # let image = Image::parse(&bytes).unwrap();
    /// plan(&image, &Change::new(Tag::Runpath, "/opt/lib")).unwrap().apply(&file, Durability::Process).unwrap();
    /// ```
    ///
    /// Nor can one be written twice:
    ///
    /// ```compile_fail,E0382
    /// # use driver_runpath::{apply::Durability, decide::Tag, elf::Image, plan::{Change, plan}, verify::verify};
    /// # let (file, bytes) = (std::fs::File::open("lib.so").unwrap(), std::fs::read("lib.so").unwrap());
    /// # let verified = verify(plan(&Image::parse(&bytes).unwrap(), &Change::new(Tag::Runpath, "/opt/lib")).unwrap()).unwrap();
    /// verified.apply(&file, Durability::Process).unwrap();
    /// verified.apply(&file, Durability::Process).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::Changed`] where the file has other bytes. [`Error::Interrupted`] where they are those of an edit that did
    /// not end. [`Error::Linked`], [`Error::InStore`], [`Error::Privileged`], [`Error::Locked`] as for the binary.
    /// [`Error::Unwritten`]: the file is as it was. [`Error::HalfDone`]: that could not be had.
    pub fn apply(self, file: &File, durability: Durability) -> Result<(), Error> {
        check_descriptor(file)?;
        let _lock = lock_for_an_edit(file, PATIENCE)?;
        {
            let source = Source::of(file.try_clone().map_err(Error::io("cannot open"))?)?;
            if source.bytes() != self.plan().original() {
                return Err(Error::Changed);
            }
            if source.interrupted()?.is_some() {
                return Err(Error::Interrupted);
            }
            if Protection::default().method(&source, &[])? == Method::Copy {
                return Err(Error::Linked(source.links.saturating_sub(1)));
            }
            source.check_whole()?;
        }
        let privileges = Privileges::of(file)?;
        put(file, &self.detached(), durability)?;
        privileges.give_back(file)
    }
}

/// Whether what is written to `file` goes where it shall: Linux appends it where the file was opened for that, whatever
/// the offset (pwrite(2), "BUGS").
fn check_descriptor(file: &File) -> Result<(), Error> {
    let flags = rustix::fs::fcntl_getfl(file).map_err(io::Error::from).map_err(Error::io("cannot look at it"))?;
    let is_right = flags.contains(OFlags::RDWR) && !flags.contains(OFlags::APPEND);
    let why =
        || io::Error::new(io::ErrorKind::InvalidInput, "it must be open for reading and writing, not for appending");
    if is_right { Ok(()) } else { Err(Error::unwritten("cannot write")(why())) }
}

/// Writes what was verified to `file`, which is open for reading and writing and has the bytes that it was planned for. No
/// map of the file may be read meanwhile.
///
/// # Errors
/// [`Error::Unwritten`]: the file has been put back to what it was. [`Error::HalfDone`]: that failed, too.
pub(crate) fn put(file: &File, verified: &Verified<'_>, durability: Durability) -> Result<(), Error> {
    let plan = verified.plan();
    let (before, undo) = undo(file, plan, durability).map_err(Error::io("cannot read"))?;
    let done = reserve(&before, plan)
        .and_then(|()| write_journal(file, &undo, plan, durability))
        .and_then(|()| write(file, plan))
        .and_then(|()| sync(file, durability))
        .and_then(|()| file.set_len(plan.new_len))
        .and_then(|()| sync(file, durability));
    done.map_err(|source| match roll_back(file, &undo) {
        Ok(()) => Error::Unwritten { action: "cannot write", source },
        Err(undoing) => Error::HalfDone { source, undoing },
    })
}

/// The file before its edit. A small one is read at once: most files of a tree are small, and system calls are dear.
struct Before<'f> {
    file: &'f File,
    len: u64,
    whole: Option<Vec<u8>>,
}

impl<'f> Before<'f> {
    fn of(file: &'f File) -> io::Result<Self> {
        const SMALL: u64 = 1 << 16;
        let len = file.metadata()?.len();
        let whole = if len <= SMALL { Some(read(file, 0..len)?) } else { None };
        Ok(Self { file, len, whole })
    }

    fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let Some(whole) = &self.whole else { return read(self.file, range) };
        let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let bytes = whole.get(index(range.start)..index(range.end));
        bytes.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

fn undo<'f>(file: &'f File, plan: &Plan<'_>, durability: Durability) -> io::Result<(Before<'f>, Undo)> {
    let before = Before::of(file)?;
    let undo = Undo::of(before.len, plan, durability, |range| before.read(range))?;
    Ok((before, undo))
}

fn read(file: &File, range: Range<u64>) -> io::Result<Vec<u8>> {
    let len = range.end.saturating_sub(range.start);
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes)
}

/// Takes back what an earlier run left in the middle of an edit.
///
/// # Errors
/// [`Error::Io`]; the journal is still there then.
pub(crate) fn recover(file: &File, undo: &Undo) -> Result<(), Error> {
    roll_back(file, undo).map_err(Error::io("cannot take back an interrupted edit"))
}

/// In reverse order, from the end of each edit to its start, so that each step is again a prefix of the edits and loads;
/// the journal goes last.
fn roll_back(file: &File, undo: &Undo) -> io::Result<()> {
    for (at, old) in undo.ranges.iter().rev() {
        let bytes = old.bytes();
        let mut end = bytes.len();
        while end > 0 {
            let start = end.saturating_sub(1) / PIECE * PIECE;
            let piece = bytes.get(start..end).unwrap_or_default();
            file.write_all_at(piece, at.saturating_add(start as u64))?;
            end = start;
        }
    }
    file.set_len(undo.old_len)
}

fn write_journal(file: &File, undo: &Undo, plan: &Plan<'_>, durability: Durability) -> io::Result<()> {
    let place = Undo::place(plan.new_len).ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let mut at = place;
    // A block is one page: the process cannot die in the middle of it.
    for block in undo.encode().chunks(PAGE as usize) {
        file.write_all_at(block, at)?;
        at = at.saturating_add(block.len() as u64);
    }
    sync(file, durability)
}

fn sync(file: &File, durability: Durability) -> io::Result<()> {
    match durability {
        Durability::Process => Ok(()),
        Durability::Power => file.sync_all(),
    }
}

/// Writes the pages of all stores once with their own bytes: where one is a hole, the disk must have room for it now.
fn reserve(before: &Before<'_>, plan: &Plan<'_>) -> io::Result<()> {
    let stores = plan.edits.iter().filter(|edit| edit.step == Step::Store);
    let pages: BTreeSet<u64> =
        stores.flat_map(|edit| [edit.at.0 / PAGE, edit.range().end.0.saturating_sub(1) / PAGE]).collect();
    let mut pages = pages.into_iter().peekable();
    while let Some(first) = pages.next() {
        let mut end = first.saturating_add(1);
        while pages.next_if_eq(&end).is_some() {
            end = end.saturating_add(1);
        }
        let window = first.saturating_mul(PAGE)..end.saturating_mul(PAGE).min(before.len);
        if !window.is_empty() {
            before.file.write_all_at(&before.read(window.clone())?, window.start)?;
        }
    }
    Ok(())
}

fn write(file: &File, plan: &Plan<'_>) -> io::Result<()> {
    let lost = pages_lost();
    let mut map: Option<EditMap<'_>> = None;
    for edit in &plan.edits {
        match (&edit.content, edit.step) {
            (Content::CopyOf(from), _) => copy(file, from.start.0..from.end.0, edit.at.0)?,
            (Content::Bytes(bytes), Step::Fill) => file.write_all_at(bytes, edit.at.0)?,
            // The file has had its new size since the journal was written.
            (Content::Bytes(bytes), Step::Store) => {
                map.get_or_insert_with(|| EditMap::new(file)).store(edit.at.0, bytes)?
            }
        }
    }
    // A store to a page that another process cut off went nowhere.
    if pages_lost() == lost { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Copies a range of the file to another place in it.
fn copy(file: &File, from: Range<u64>, mut to: u64) -> io::Result<()> {
    let mut at = from.start;
    while at < from.end {
        let piece = read(file, at..from.end.min(at.saturating_add(PIECE as u64)))?;
        file.write_all_at(&piece, to)?;
        at = at.saturating_add(piece.len() as u64);
        to = to.saturating_add(piece.len() as u64);
    }
    Ok(())
}
