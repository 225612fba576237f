//! The referee: judges an edited ELF file against the original, by the eleven rules.
//!
//! It shares no code with the editor, and reads both files word by word. Two byte images
//! cannot show rule 6 (`strip` afterwards), rule 7 (a second run) and rule 9 (mode, owner,
//! hard links): the tests run those.

mod bytes;
mod dynamic;
mod image;
mod leftovers;
mod note;
mod pieces;
mod sections;
mod segments;
mod tables;

pub use dynamic::Dynamic;
pub use image::{Image, Section, Segment};
pub use note::{descriptor, judge_note};
pub use pieces::PT_GNU_PROPERTY;

use goblin::elf::dynamic::DT_STRTAB;
use goblin::elf::section_header::SHT_STRTAB;
use std::fmt;

/// The kind of entry that holds the search path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    Rpath,
    Runpath,
}

/// What the file must have afterwards.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'a> {
    /// The one tag that must be there; `None`: either, or, without a search path, neither.
    pub tag: Option<Tag>,
    /// The value it must have; `None` with a tag: any value.
    pub search_path: Option<&'a [u8]>,
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// The number of the rule, 1 to 11.
    pub rule: u8,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}: {}", self.rule, self.what)
    }
}

/// Compares a file before and after an edit. Never panics, whatever the bytes are.
pub fn judge(before: &[u8], after: &[u8], expect: &Expect) -> Vec<Objection> {
    let mut findings = Findings::default();
    let (bare, after) = note::masked_pair(before, after);
    if let Err(what) = compare(&bare, &after, expect, &mut findings) {
        findings.object(1, what);
    }
    if findings.objections.is_empty() {
        return findings.objections;
    }
    // Without the notes, a fault of their headers is not seen.
    if let Ok(original) = Image::read(before) {
        let excused = segments::faults(&original);
        let shared = shared_notes(&original);
        findings.objections.retain(|objection| match objection.rule {
            3 => !excused.contains(&objection.what),
            4 => !shared.contains(&objection.what),
            _ => true,
        });
    }
    findings.objections
}

/// What is said of two `PT_NOTE` that show the same notes.
fn shared_notes(image: &Image) -> Vec<String> {
    let all = pieces::pieces(image, None);
    let pairs = pieces::overlaps(&all).into_iter().map(|pair| pieces::overlap_of(&all, pair, image));
    pairs.filter(|what| what.starts_with("PT_NOTE and PT_NOTE")).collect()
}

fn compare(before: &[u8], after: &[u8], expect: &Expect, findings: &mut Findings) -> Result<(), String> {
    let old = Image::read(before).map_err(|what| format!("the original {what}"))?;
    let mut new = Image::read(after).map_err(|what| format!("the edited file {what}"))?;
    if new.align_sections(&old) {
        findings.object(4, "the sections are in another order".into());
    }
    let old = File::read(&old).map_err(|what| format!("in the original {what}"))?;
    let new = File::read(&new).map_err(|what| format!("in the edited file {what}"))?;
    if (old.image.wide, old.image.big) != (new.image.wide, new.image.big) {
        return Err("class or byte order changed".into());
    }
    bytes::compare(&old, &new, findings);
    tables::compare(&old, &new, expect, findings);
    segments::compare(&old, &new, findings);
    sections::compare(&old, &new, findings);
    leftovers::compare(&old, &new, findings);
    Ok(())
}

/// A file with its dynamic table read.
struct File<'i, 'a> {
    image: &'i Image<'a>,
    dynamic: Option<Dynamic<'i, 'a>>,
}

impl<'i, 'a> File<'i, 'a> {
    fn read(image: &'i Image<'a>) -> Result<Self, String> {
        let dynamic = Dynamic::read(image)?;
        Ok(File { image, dynamic })
    }

    /// The section that `DT_STRTAB` names.
    fn string_section(&self) -> Option<usize> {
        let addr = self.dynamic.as_ref()?.value(DT_STRTAB)?;
        let is_it = |s: &Section| s.kind == SHT_STRTAB && s.is_alloc() && s.addr == addr;
        self.image.sections.iter().position(is_it)
    }
}

/// The objections so far.
#[derive(Default)]
struct Findings {
    objections: Vec<Objection>,
}

impl Findings {
    /// A damaged file breaks one rule in thousands of places: some of them are enough.
    fn object(&mut self, rule: u8, what: String) {
        let same_rule = self.objections.iter().filter(|o| o.rule == rule).count();
        let objection = Objection { rule, what };
        if same_rule < 30 && !self.objections.contains(&objection) {
            self.objections.push(objection);
        }
    }
}
