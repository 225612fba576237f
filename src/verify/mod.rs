//! Reads the planned file back with a second parser before anything is written.
//!
//! The editor works on `object`'s structs; this module reads with `goblin`, and only its lazy parts: its eager ones
//! refuse files that loaders accept. The planned file exists only as an overlay: the original's bytes with the edits
//! laid over the windows that are read.
//!
//! ```
//! # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
//! # let image = driver_runpath::elf::Image::parse(&file).unwrap();
//! # use driver_runpath::{decide::Tag, plan::{Change, plan}};
//! # let plan = plan(&image, &Change::new(Tag::Runpath, "/run/opengl-driver/lib")).unwrap();
//! let edited = driver_runpath::verify::verify(plan)?.into_bytes();
//! assert_eq!(edited.len(), file.len());
//! # Ok::<(), driver_runpath::Error>(())
//! ```

mod names;
mod note;
mod overlay;
mod places;
mod reading;
mod sections;
mod segments;
mod verified;

use std::collections::HashSet;

use goblin::elf::Header;
use goblin::elf::dynamic;

use crate::Error;
use crate::decide::Tag;
use crate::elf::Malformed;
use crate::plan::{EntryFor, NoteOutcome, Plan};
use note::Notes;
use overlay::Overlay;
use reading::{Reading, moved};
pub use verified::Verified;

/// Unknown to goblin, like the next one.
const DT_RELR: u64 = 36;
const DT_MIPS_RLD_MAP_REL: u64 = 0x7000_0035;

/// Compares what `plan` makes of its file with what it means to make.
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// # use driver_runpath::{decide::Tag, plan::{Change, plan}};
/// # let plan = plan(&image, &Change::new(Tag::Runpath, "/run/opengl-driver/lib")).unwrap();
/// let verified = driver_runpath::verify::verify(plan)?;
/// # Ok::<(), driver_runpath::Error>(())
/// ```
///
/// # Errors
/// [`Error::Malformed`] where the original itself cannot be read in this way, so that nothing can be said of an edit of
/// it; otherwise [`Error::Unverified`] with the first difference, a defect of this program.
pub fn verify(plan: Plan<'_>) -> Result<Verified<'_>, Error> {
    check_plan(&plan)?;
    Ok(Verified(plan))
}

/// See [`verify`].
pub(crate) fn check_plan(plan: &Plan<'_>) -> Result<(), Error> {
    let original = plan.original();
    check(original, plan).map_err(|why| match check_original(original) {
        Ok(()) => Error::Unverified(why),
        Err(damage) => Error::Malformed(Malformed::Unverifiable(damage)),
    })
}

/// The same, of a file that nothing is done with: what goes wrong here is the file's fault.
fn check_original(original: &[u8]) -> Result<(), String> {
    let file = Overlay { original, plan: None };
    let found = Reading::of(&file)?;
    let nothing = Plan::of_nothing(original);
    segments::check_loads(&found, (&file, &found), &nothing)?;
    check_dynamic(&found, &found, &nothing)?;
    sections::check(&found, &Notes::of(&file, &found)?, &found, &nothing)?;
    sections::check_strings(&found)?;
    sections::check_overlaps(&found)?;
    names::check_ends((&file, &found))?;
    names::check((&file, &found), (&file, &found), &[], &nothing)
}

fn check(original: &[u8], plan: &Plan<'_>) -> Result<(), String> {
    places::check_extent(original, plan)?;
    let untouched = Overlay { original, plan: None };
    let before = Reading::of(&untouched)?;
    let planned = Overlay { original, plan: Some(plan) };
    let after = Reading::of(&planned)?;
    let old_notes = Notes::of(&untouched, &before)?;
    let new_notes = Notes::of(&planned, &after)?;
    check_header(&before, &after, plan)?;
    segments::check_loads(&before, (&planned, &after), plan)?;
    segments::check_readable(&before, &after, plan)?;
    segments::check_others((&before, &old_notes), (&after, &new_notes), plan)?;
    check_dynamic(&before, &after, plan)?;
    sections::check(&before, &old_notes, &after, plan)?;
    names::check((&untouched, &before), (&planned, &after), &old_notes.erased(plan), plan)?;
    check_search_path(&planned, &after, plan)?;
    note::check(&planned, (&before, &old_notes), (&after, &new_notes), plan)?;
    places::check(original, &before, old_notes.places(&before, &new_notes), plan)
}

/// Of the ELF header, only the number of program headers and the place of the section headers may change; for a new
/// resolution note, their number, too.
fn check_header(before: &Reading, after: &Reading, plan: &Plan<'_>) -> Result<(), String> {
    let mut wanted = Header { e_phnum: after.header.e_phnum, e_shoff: after.header.e_shoff, ..before.header };
    if plan.note == NoteOutcome::Written {
        wanted.e_shnum = after.header.e_shnum;
    }
    if after.header == wanted { Ok(()) } else { Err("the ELF header changed".into()) }
}

fn check_dynamic(before: &Reading, after: &Reading, plan: &Plan<'_>) -> Result<(), String> {
    let is_path = |tag: u64| tag == dynamic::DT_RPATH || tag == dynamic::DT_RUNPATH;
    let others = |reading: &Reading| -> Vec<(u64, u64)> {
        reading.dynamic.iter().copied().filter(|(tag, _)| !is_path(*tag) && *tag != dynamic::DT_STRSZ).collect()
    };
    let tables = [
        dynamic::DT_STRTAB,
        dynamic::DT_SYMTAB,
        dynamic::DT_HASH,
        dynamic::DT_GNU_HASH,
        dynamic::DT_VERSYM,
        dynamic::DT_VERDEF,
        dynamic::DT_VERNEED,
        dynamic::DT_RELA,
        dynamic::DT_REL,
        dynamic::DT_JMPREL,
        DT_RELR,
    ];
    let mut wanted = others(before);
    if let EntryFor::GivenUp(index) = plan.entry {
        let given_up = before.dynamic.get(index).copied();
        let hints = [dynamic::DT_RELACOUNT, dynamic::DT_RELCOUNT];
        if !given_up.is_some_and(|(tag, _)| hints.contains(&tag)) {
            return Err("the entry that is given up is no hint".into());
        }
        wanted.retain(|entry| Some(*entry) != given_up);
    }
    for (tag, value) in &mut wanted {
        let new_place = before.offset_of(*value).and_then(|offset| moved(plan, offset));
        if let Some((_, addr)) = new_place.filter(|_| tables.contains(tag)) {
            *value = addr;
        }
    }
    let found = others(after);
    // A library that is named twice is loaded once.
    let needed = |list: &[(u64, u64)]| -> Vec<u64> {
        let mut seen = HashSet::new();
        let all = list.iter().filter(|(tag, _)| *tag == dynamic::DT_NEEDED).map(|(_, value)| *value);
        all.filter(|value| seen.insert(*value)).collect()
    };
    if needed(&wanted) != needed(&found) {
        return Err("DT_NEEDED has another order".into());
    }
    let sorted = |mut list: Vec<(u64, u64)>| {
        // Its value is relative to its own entry, which may have moved.
        list.retain(|(tag, _)| *tag != DT_MIPS_RLD_MAP_REL);
        list.sort_unstable();
        list.dedup_by(|a, b| a == b && a.0 == dynamic::DT_NEEDED);
        list
    };
    if sorted(wanted) != sorted(found) {
        return Err("an entry of the dynamic table changed that should not".into());
    }
    Ok(())
}

fn check_search_path(planned: &Overlay<'_>, after: &Reading, plan: &Plan<'_>) -> Result<(), String> {
    let (tag, other) = match plan.change.tag {
        Tag::Runpath => (dynamic::DT_RUNPATH, dynamic::DT_RPATH),
        Tag::Rpath => (dynamic::DT_RPATH, dynamic::DT_RUNPATH),
    };
    let Some(path) = &plan.change.path else {
        return if after.value(tag).is_some() { Err("the search path's tag is still there".into()) } else { Ok(()) };
    };
    let value = after.value(tag).ok_or("the search path's tag is missing")?;
    if after.value(other).is_some() && plan.note != NoteOutcome::Written {
        return Err("the other search path tag is still there".into());
    }
    let size = after.value(dynamic::DT_STRSZ).ok_or("no DT_STRSZ")?;
    let table = after.value(dynamic::DT_STRTAB).and_then(|addr| after.offset_of(addr)).ok_or("no DT_STRTAB")?;
    if value.checked_add(path.len() as u64).is_none_or(|end| end >= size) {
        return Err("the search path lies outside the string table".into());
    }
    let found = planned.string(table.checked_add(value).ok_or("a string past 2^64")?)?;
    if found != *path {
        return Err("the search path is not the one meant".into());
    }
    Ok(())
}
