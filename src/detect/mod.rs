//! Why we believe that a file loads the GPU driver.
//!
//! Pure: an image in, evidence out. Each kind of evidence is a file; [`detect`] asks them from the cheapest on.
//!
//! ```
//! # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
//! # let image = driver_runpath::elf::Image::parse(&file).unwrap();
//! use driver_runpath::detect::{Depth, DriverNames, detect};
//!
//! for evidence in detect(&image, &DriverNames::default(), Depth::All).evidence {
//!     println!("{} in {} at {}", evidence.what, evidence.place, evidence.offset);
//! }
//! ```

mod calls;
pub(crate) mod dlopen_note;
mod entry_points;
mod formats;
mod immediates;
mod names;
mod needed;
mod numbers;
mod probes;
mod purpose;
mod reached;
pub(crate) mod references;
pub(crate) mod regions;
mod strings;
mod vectors;
mod wide;

use crate::elf::{FileOffset, Image};
pub use names::{DriverNames, Group};
use probes::probes;
pub use purpose::Purpose;
use regions::{Regions, regions};
use strings::Search;

/// No report lists more evidence of a file than about this. A file can be made of nothing but names.
const MOST: usize = 1000;

/// The functions that open a library at run time. Aliases of glibc's own (`__libc_dlopen_mode`) are for glibc alone.
pub(crate) const OPENERS: [&[u8]; 2] = [b"dlopen", b"dlmopen"];

/// A kind of evidence.
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// use driver_runpath::detect::{Depth, DriverNames, EvidenceKind, detect};
///
/// let found = detect(&image, &DriverNames::default(), Depth::All);
/// assert_eq!(found.evidence[0].kind, EvidenceKind::Soname);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "cli", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
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
    /// Such a SONAME stands there, and the code only asks whether it is loaded already (`RTLD_NOLOAD`). A file with this
    /// kind of evidence has no other one, and does not load the driver.
    Probe,
}

/// One reason to believe that a file loads the driver: what, and where.
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// # use driver_runpath::detect::{Depth, DriverNames, detect};
/// let found = detect(&image, &DriverNames::default(), Depth::First);
/// let evidence = &found.evidence[0];
/// assert_eq!((&evidence.what[..], &evidence.place[..], evidence.offset.0), ("libcuda.so.1", ".rodata", 0x2000));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
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
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// # use driver_runpath::detect::{Depth, DriverNames, detect};
/// let (names, first, all) = (DriverNames::default(), Depth::First, Depth::All);
/// assert!(detect(&image, &names, first).evidence.len() <= detect(&image, &names, all).evidence.len());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// # use driver_runpath::detect::{Depth, DriverNames, detect};
/// let found = detect(&image, &DriverNames::default(), Depth::First);
/// assert!(found.opens && found.loads_driver() && !found.names_only());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
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
        self.opens && self.evidence.iter().any(|found| found.kind != EvidenceKind::Probe)
            || self.evidence.iter().any(|found| found.kind == EvidenceKind::Needed)
    }

    /// Whether the file only hands a driver library's name to someone else.
    pub fn names_only(&self) -> bool {
        !self.evidence.is_empty() && !self.loads_driver() && !self.asks_only()
    }

    /// Whether the file only asks if a driver library is loaded already, which takes no search path.
    pub fn asks_only(&self) -> bool {
        self.evidence.iter().any(|found| found.kind == EvidenceKind::Probe)
    }
}

/// Looks for evidence in `image`.
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// use driver_runpath::detect::{Depth, DriverNames, detect};
///
/// assert!(detect(&image, &DriverNames::default(), Depth::First).loads_driver());
/// ```
pub fn detect(image: &Image<'_>, names: &DriverNames, depth: Depth) -> Detection {
    let (evidence, is_all) = needed::needed(image, names);
    let mut found = Detection { evidence, ..Detection::default() };
    if !is_all {
        found.warnings.push(format!("it needs more than {MOST} driver libraries; only so many are listed"));
    }
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
    // What contradicts itself, or was not looked at, proves nothing.
    let is_clear = warnings.is_empty() && !limited;
    found.warnings.extend(warnings);
    let search = Search { names, machine: image.machine, opens: found.opens, depth };
    let strings = search.run(&list, !found.evidence.is_empty());
    found.searched = strings.searched;
    found.evidence.extend(strings.evidence);
    let may_ask = is_clear && found.opens && found.evidence.iter().all(|found| found.kind == EvidenceKind::Soname);
    if may_ask && !found.evidence.is_empty() {
        found.evidence = probes(image, &list, &search).unwrap_or(found.evidence);
    }
    if strings.is_cut {
        found.warnings.push(format!("it names driver libraries in more than {MOST} ways; only so many are listed"));
    }
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
