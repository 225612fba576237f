//! Writes a plan into the file, in an order in which every intermediate file loads.
//!
//! The only module that writes. Bytes that nobody reads yet go through pwrite(2), whose errors can be handled; words
//! that kernel and loader read go through a map, one volatile store each. Every page that a store will touch is
//! written once beforehand with its own bytes, so that a full disk shows itself while the file is still as it was.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::Error;
use crate::map::EditMap;
use crate::plan::{Edit, Plan, Step};

const PAGE: u64 = 0x1000;

/// Writes `plan` to `file`, open for reading and writing, whose bytes are `original`, a shared map of it.
///
/// # Errors
/// [`Error::Io`]; the file has then been put back to what it was.
pub fn apply(file: &File, original: &[u8], plan: &Plan) -> Result<(), Error> {
    let old_len = original.len() as u64;
    let mut undo = Undo { file, old_len, log: Vec::new() };
    let done = reserve(file, plan, old_len).and_then(|()| write(file, original, plan, &mut undo));
    if let Err(source) = done {
        undo.roll_back();
        return Err(Error::Io { action: "cannot write", source });
    }
    Ok(())
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

fn write(file: &File, original: &[u8], plan: &Plan, undo: &mut Undo<'_>) -> io::Result<()> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let mut map: Option<EditMap<'_>> = None;
    for edit in &plan.edits {
        let bytes = edit.content.resolve(original).ok_or_else(invalid)?;
        undo.remember(edit)?;
        match edit.step {
            Step::Fill => file.write_all_at(bytes, edit.at.0)?,
            // Mapped at the first store: by then the file has its new size.
            Step::Store => map.get_or_insert_with(|| EditMap::new(file)).store(edit.at.0, bytes)?,
        }
    }
    Ok(())
}

/// What the edits so far wrote over, to put it back after an error.
struct Undo<'f> {
    file: &'f File,
    old_len: u64,
    log: Vec<(u64, Vec<u8>)>,
}

impl Undo<'_> {
    fn remember(&mut self, edit: &Edit) -> io::Result<()> {
        let end = edit.range().end.0.min(self.old_len);
        let len = usize::try_from(end.saturating_sub(edit.at.0)).unwrap_or(0);
        if len > 0 {
            let mut bytes = vec![0; len];
            self.file.read_exact_at(&mut bytes, edit.at.0)?;
            self.log.push((edit.at.0, bytes));
        }
        Ok(())
    }

    /// Undoes in reverse order, so that each step is again a file that loads. The pages are all allocated by now.
    fn roll_back(self) {
        for (at, bytes) in self.log.iter().rev() {
            // Nothing better can be done where even this fails.
            let _ = self.file.write_all_at(bytes, *at);
        }
        let _ = self.file.set_len(self.old_len);
    }
}
