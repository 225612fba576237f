//! Why we believe that a file loads the GPU driver.
//!
//! Pure: an image in, evidence out. Each kind of evidence is a file; [`detect`] asks them from the cheapest on.

mod names;
mod scan;

use serde::Serialize;

use crate::elf::{FileOffset, Image};
pub use names::DriverNames;

/// The functions that open a library at run time. Aliases of glibc's own (`__libc_dlopen_mode`) are for glibc alone.
const OPENERS: [&[u8]; 2] = [b"dlopen", b"dlmopen"];

/// A kind of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceKind {
    /// A `DT_NEEDED` entry names a driver library.
    Needed,
    /// The SONAME of a driver library stands in a loaded section.
    Soname,
}

/// One reason to believe that a file loads the driver: what, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The kind.
    pub kind: EvidenceKind,
    /// The name that was found, such as `libcuda.so.1`.
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
    /// Collect all of it, also in files that can open nothing themselves.
    All,
}

/// What was found in one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detection {
    /// The evidence, `DT_NEEDED` first.
    pub evidence: Vec<Evidence>,
    /// Whether the file imports `dlopen` or `dlmopen`.
    pub opens: bool,
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
    let mut found = Detection { evidence: needed(image, names), opens: false };
    if depth == Depth::First && !found.evidence.is_empty() {
        found.evidence.truncate(1);
        return found;
    }
    found.opens = image.imports_any(&OPENERS);
    if depth == Depth::First && !found.opens {
        return found;
    }
    found.evidence.extend(scan::sonames(image, names, depth));
    found
}

/// `DT_NEEDED` entries that name a driver library.
fn needed(image: &Image<'_>, names: &DriverNames) -> Vec<Evidence> {
    let entries = image.dynamic.entries.iter().filter(|entry| entry.tag == object::elf::DT_NEEDED);
    entries
        .filter_map(|entry| {
            let name = image.string(entry.value).filter(|name| names.is_driver_soname(name))?;
            Some(Evidence {
                kind: EvidenceKind::Needed,
                what: String::from_utf8_lossy(name).into_owned(),
                place: ".dynstr".to_owned(),
                offset: image.strings.range.start.checked_add(entry.value)?,
            })
        })
        .collect()
}
