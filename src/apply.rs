//! Writes a plan into the file, in an order in which every intermediate file loads.
//!
//! The only module that writes. Bytes that nobody reads yet go through pwrite(2), whose errors can be handled; words
//! that kernel and loader read go through a map, one volatile store each. Every page that a store will touch is
//! written once beforehand with its own bytes, so that a full disk shows itself while the file is still as it was. A
//! journal behind the file's end (see `journal`) lets a later run take back what a run that was stopped has left.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::Error;
use crate::journal::Undo;
use crate::map::EditMap;
use crate::plan::{Plan, Step};

const PAGE: u64 = 0x1000;

/// What an edit is safe from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The death of the process.
    #[default]
    Process,
    /// A power failure as well: the journal reaches the disk before the edit, and the edit before the journal goes.
    Power,
}

/// Writes `plan` to `file`, open for reading and writing, whose bytes are `original`, a shared map of it.
///
/// # Errors
/// [`Error::Io`]; the file has then been put back to what it was.
pub fn apply(file: &File, original: &[u8], plan: &Plan, durability: Durability) -> Result<(), Error> {
    let undo = Undo::of(original, plan);
    let done = reserve(file, plan, undo.old_len)
        .and_then(|()| write_journal(file, &undo, plan, durability))
        .and_then(|()| write(file, original, plan))
        .and_then(|()| sync(file, durability))
        .and_then(|()| file.set_len(plan.new_len))
        .and_then(|()| sync(file, durability));
    if let Err(source) = done {
        // Nothing better can be done where even this fails; the journal is still there then.
        let _ = roll_back(file, &undo);
        return Err(Error::Io { action: "cannot write", source });
    }
    Ok(())
}

/// Takes back what an earlier run left in the middle of an edit.
///
/// # Errors
/// [`Error::Io`]; the journal is still there then.
pub fn recover(file: &File, undo: &Undo) -> Result<(), Error> {
    roll_back(file, undo).map_err(Error::io("cannot take back an interrupted edit"))
}

/// In reverse order, so that each step is again a file that loads; the journal goes last.
fn roll_back(file: &File, undo: &Undo) -> io::Result<()> {
    let len = file.metadata()?.len();
    for (at, old) in undo.ranges.iter().rev() {
        let bytes = old.bytes();
        if at.saturating_add(bytes.len() as u64) <= len {
            file.write_all_at(&bytes, *at)?;
        }
    }
    file.set_len(undo.old_len)
}

fn write_journal(file: &File, undo: &Undo, plan: &Plan, durability: Durability) -> io::Result<()> {
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
fn reserve(file: &File, plan: &Plan, old_len: u64) -> io::Result<()> {
    let stores = plan.edits.iter().filter(|edit| edit.step == Step::Store);
    let pages: BTreeSet<u64> =
        stores.flat_map(|edit| [edit.at.0 / PAGE, edit.range().end.0.saturating_sub(1) / PAGE]).collect();
    let mut buffer = vec![0; PAGE as usize];
    for page in pages {
        let at = page.saturating_mul(PAGE);
        let len = usize::try_from(old_len.saturating_sub(at).min(PAGE)).unwrap_or(0);
        let Some(window) = buffer.get_mut(..len).filter(|window| !window.is_empty()) else { continue };
        file.read_exact_at(window, at)?;
        file.write_all_at(window, at)?;
    }
    Ok(())
}

fn write(file: &File, original: &[u8], plan: &Plan) -> io::Result<()> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let mut map: Option<EditMap<'_>> = None;
    for edit in &plan.edits {
        let bytes = edit.content.resolve(original).ok_or_else(invalid)?;
        match edit.step {
            Step::Fill => file.write_all_at(bytes, edit.at.0)?,
            // The file has had its new size since the journal was written.
            Step::Store => map.get_or_insert_with(|| EditMap::new(file)).store(edit.at.0, bytes)?,
        }
    }
    Ok(())
}
