//! Why we believe that a file loads the GPU driver.
//!
//! Pure: an image in, evidence out. Each kind of evidence is a file; [`detect`] asks them from the cheapest on.

pub(crate) mod dlopen_note;
mod entry_points;
mod formats;
mod immediates;
mod names;
mod needed;
mod purpose;
pub(crate) mod regions;
mod strings;
mod vectors;
mod wide;

use serde::Serialize;

use crate::elf::{FileOffset, Image};
pub use names::{DriverNames, Group};
pub use purpose::Purpose;
use regions::{Regions, regions};
use strings::Search;

/// The functions that open a library at run time. Aliases of glibc's own (`__libc_dlopen_mode`) are for glibc alone.
pub(crate) const OPENERS: [&[u8]; 2] = [b"dlopen", b"dlmopen"];

/// A kind of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceKind {
    /// A `DT_NEEDED` entry names a driver library.
    Needed,
    /// The dlopen note declares a driver library.
    DlopenNote,
    /// The SONAME of a driver library stands in a loaded section.
    Soname,
    /// A format string that becomes such a SONAME stands there.
    Format,
    /// The name of a function without which a driver library cannot be used stands there.
    EntryPoint,
    /// The code builds such a SONAME from constants, in the code or, for vector registers, in data.
    Immediate,
}

/// One reason to believe that a file loads the driver: what, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The kind.
    pub kind: EvidenceKind,
    /// What was found, such as `libcuda.so.1` or `cuInit`.
    pub what: String,
    /// The section that holds it, or a description of the segment where the file has no section headers.
    pub place: String,
    /// Where it lies in the file.
    pub offset: FileOffset,
}

/// How much evidence is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Stop at the first piece that decides; read nothing where the file can open nothing.
    First,
    /// Stop at the first piece, also in files that can open nothing themselves.
    FirstName,
    /// Collect all of it, also in files that can open nothing themselves. Code is left out where data has some.
    All,
    /// The same, and what the code builds in any case.
    AllAndCode,
}

impl Depth {
    /// Whether one piece is enough.
    fn is_one(self) -> bool {
        matches!(self, Self::First | Self::FirstName)
    }
}

/// What was found in one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detection {
    /// The evidence, `DT_NEEDED` first.
    pub evidence: Vec<Evidence>,
    /// Whether the file imports `dlopen` or `dlmopen`.
    pub opens: bool,
    /// What is wrong with the file, or was not looked at.
    pub warnings: Vec<String>,
    /// Bytes of code and data that were searched.
    pub searched: u64,
}

impl Detection {
    /// Whether the file itself loads a driver library: it is linked to one, or it names one and can open libraries.
    pub fn loads_driver(&self) -> bool {
        self.opens && !self.evidence.is_empty() || self.evidence.iter().any(|found| found.kind == EvidenceKind::Needed)
    }

    /// Whether the file only hands a driver library's name to someone else.
    pub fn names_only(&self) -> bool {
        !self.evidence.is_empty() && !self.loads_driver()
    }
}

/// Looks for evidence in `image`.
pub fn detect(image: &Image<'_>, names: &DriverNames, depth: Depth) -> Detection {
    let mut found = Detection { evidence: needed::needed(image, names), ..Detection::default() };
    if depth == Depth::First && found.is_enough(depth) {
        return found;
    }
    found.opens = image.imports_any(&OPENERS);
    if found.is_enough(depth) || depth == Depth::First && !found.opens {
        return found;
    }
    found.evidence.extend(dlopen_note::declared(image, names, &mut found.warnings));
    if found.is_enough(depth) {
        return found;
    }
    let Regions { list, warnings, limited } = regions(image);
    found.warnings.extend(warnings);
    let search = Search { names, machine: image.machine, opens: found.opens, depth };
    let strings = search.run(&list, !found.evidence.is_empty());
    found.searched = strings.searched;
    found.evidence.extend(strings.evidence);
    if !found.is_enough(depth) && limited {
        found.warnings.push("only the first 2 GiB of its code and data were searched".to_owned());
    }
    found
}

impl Detection {
    /// Whether nothing more is wanted; keeps one piece of evidence where one is enough.
    fn is_enough(&mut self, depth: Depth) -> bool {
        if depth.is_one() {
            self.evidence.truncate(1);
        }
        depth.is_one() && !self.evidence.is_empty()
    }
}
