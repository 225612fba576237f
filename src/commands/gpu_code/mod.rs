//! Which GPUs a file carries code for.
//!
//! Pure: bytes in, values out. Only headers are read, never code; nothing is unpacked. Where code lies is found by
//! sections, by the pointers that the CUDA runtime is given, and, in a file that has neither, by searching its data.

mod archive;
mod bundle;
mod capability;
mod cubin;
mod fatbin;
mod places;
mod plain;
mod require;
mod scan;
mod wrappers;

use std::collections::{BTreeMap, BTreeSet};

use crate::elf::{MAGIC, Malformed};
pub use capability::{Capability, Scope};
pub use require::{Judgement, Requirement};
pub use scan::{Held, Report, Scanned, scan};

/// First bytes of files other than ELF files that can hold code for GPUs: static archives, fat binaries, bundles.
pub const MAGICS: [[u8; 4]; 5] = [*b"!<ar", *b"!<th", fatbin::MAGIC, *b"__CL", *b"CCOB"];

/// A form of code, and the GPUs that it is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Machine code for NVIDIA's GPUs.
    Cubin(Capability),
    /// Code that the driver compiles.
    Ptx(Capability),
    /// Code that has to be linked and compiled before the driver can load it.
    LtoIr(Capability),
    /// Machine code for AMD's GPUs: the target's name with its features.
    Amd(String),
    /// What is there, but not understood.
    Other(String),
}

/// Whether code can be loaded as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Linkage {
    /// It can.
    Executable,
    /// It can, by the file itself: it lies in data that the CUDA runtime is not given.
    Resource,
    /// It is for the device linker: in object files and archives, and, without use, in what is linked from them.
    Relocatable,
    /// The CUDA runtime is not given it: no struct of `.nvFatBinSegment` points to it. nvcc leaves such code where it
    /// links for the device and finds nothing to link; NPP and nvJPEG have some.
    Unregistered,
}

/// How often code of a kind is there, and how many bytes of the file it takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many pieces.
    pub count: u64,
    /// Their bytes, as they are stored.
    pub bytes: u64,
}

/// What a fat binary or bundle holds, with the bytes that each piece takes in the file.
type Entries = Vec<(Kind, u64)>;

/// What code for GPUs one file has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuCode {
    /// The code by linkage and kind.
    pub pieces: BTreeMap<(Linkage, Kind), Tally>,
    /// How many fat binaries and bundles hold the same kinds: each is a translation unit.
    pub units: BTreeMap<(Linkage, BTreeSet<Kind>), u64>,
    /// What is wrong with the file, or was not looked at.
    pub warnings: Vec<String>,
    /// So many units must have code for a GPU, if the file is to run there.
    enough: u64,
}

/// Warnings of one file that are kept: a damaged one can give reason for millions.
const MOST_WARNINGS: usize = 8;

/// Reads a file: an ELF file, a static archive, a fat binary or a bundle.
///
/// # Errors
/// [`Malformed`] where the tables of an ELF file cannot be read.
pub fn read(bytes: &[u8]) -> Result<GpuCode, Malformed> {
    let mut found = GpuCode::default();
    if bytes.starts_with(&MAGIC) {
        places::elf(bytes, &mut found)?;
    } else if bytes.starts_with(archive::MAGIC) {
        archive_members(bytes, &mut found);
    } else if bytes.starts_with(archive::THIN_MAGIC) {
        found.warn("a thin archive: its members are files of their own".to_owned());
    } else if MAGICS.iter().any(|magic| bytes.starts_with(magic)) {
        plain::chain(bytes, 0, |_| Linkage::Executable, "the file", &mut found);
    }
    found.weigh();
    Ok(found)
}

/// Members that are archives themselves are not looked into: linkers do not either.
fn archive_members(bytes: &[u8], found: &mut GpuCode) {
    for member in archive::members(bytes) {
        match member {
            Ok(member) if member.starts_with(&MAGIC) => {
                let mut own = GpuCode::default();
                if let Err(why) = places::elf(member, &mut own) {
                    own.warn(format!("a member of the archive is damaged: {why}"));
                }
                found.merge(own);
            }
            Ok(_) => {}
            Err(why) => found.warn(format!("{why}; what follows was not read")),
        }
    }
}

impl GpuCode {
    /// Whether there is none, and nothing that could be some.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The linkages of the code that counts: what can be loaded, and where there is none, what can be linked to become
    /// that.
    fn effective(&self) -> &'static [Linkage] {
        const LOADED: [Linkage; 2] = [Linkage::Executable, Linkage::Resource];
        let known =
            |linkage: &Linkage| self.pieces.keys().any(|(own, kind)| own == linkage && !matches!(kind, Kind::Other(_)));
        if !LOADED.iter().any(known) && known(&Linkage::Relocatable) {
            return &[Linkage::Relocatable];
        }
        const { &LOADED }
    }

    /// Whether what counts is for the device linker.
    pub fn is_relocatable(&self) -> bool {
        self.effective() == [Linkage::Relocatable]
    }

    /// The kinds of the code that counts.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        let effective = self.effective();
        self.pieces.keys().filter(move |(linkage, _)| effective.contains(linkage)).map(|(_, kind)| kind)
    }

    /// How many fat binaries and bundles hold the code that counts and have some for which `holds`.
    fn units_where(&self, holds: impl Fn(&Kind) -> bool) -> u64 {
        let effective = self.effective();
        let own = self.units.iter().filter(|((linkage, _), _)| effective.contains(linkage));
        let having = own.filter(|((_, kinds), _)| kinds.iter().any(&holds));
        having.fold(0, |sum: u64, (_, count)| sum.saturating_add(*count))
    }

    /// How many fat binaries and bundles hold the code that counts.
    pub fn all_units(&self) -> u64 {
        self.units_where(|_| true)
    }

    /// How many of them have code that runs on `gpu`.
    pub fn units_for(&self, gpu: Capability) -> u64 {
        self.units_where(|kind| kind.runs_on(gpu))
    }

    /// Finds out how many units must have code for a GPU, if the file is to run there.
    ///
    /// No file has all of its code for all GPUs: cuBLASLt has thousands of kernels for 9.0a alone. But a file can also
    /// have PTX in one fat binary of 3,484, or code for 9.0a in a few when all others are for 8.0; that is not enough to
    /// run there. So: half as many as for the one of its targets that has the least.
    fn weigh(&mut self) {
        let targets = self.kinds().filter_map(|kind| match kind {
            Kind::Cubin(own) if own.scope != Scope::Exact && own.is_of_a_gpu() => Some(own.gpu()),
            _ => None,
        });
        let targets: BTreeSet<Capability> = targets.collect();
        let least = targets.into_iter().map(|gpu| self.units_for(gpu)).min().unwrap_or(0);
        self.enough = least.div_ceil(2).max(1);
    }

    /// Whether the file runs on `gpu`, as far as its code goes.
    pub fn runs_on(&self, gpu: Capability) -> bool {
        self.units_for(gpu) >= self.enough.max(1)
    }

    /// The first GPU from which on all later ones run its PTX, too.
    pub fn later_from(&self) -> Option<Capability> {
        let portable = |kind: &Kind| match kind {
            Kind::Ptx(capability) if capability.scope == Scope::Portable => Some(*capability),
            _ => None,
        };
        let targets = self.kinds().filter_map(portable).filter(|target| target.is_of_a_gpu());
        let targets: BTreeSet<Capability> = targets.collect();
        let enough = self.enough.max(1);
        let units_up_to = |last: Capability| self.units_where(|kind| portable(kind).is_some_and(|own| own <= last));
        targets.into_iter().find(|target| units_up_to(*target) >= enough)
    }

    fn add(&mut self, linkage: Linkage, kind: Kind, bytes: u64) {
        let tally = self.pieces.entry((linkage, kind)).or_default();
        tally.count = tally.count.saturating_add(1);
        tally.bytes = tally.bytes.saturating_add(bytes);
    }

    /// Adds the contents of one fat binary or bundle.
    fn add_unit(&mut self, linkage: Linkage, entries: Entries) {
        let kinds: BTreeSet<Kind> = entries.iter().map(|(kind, _)| kind.clone()).collect();
        let count = self.units.entry((linkage, kinds)).or_default();
        *count = count.saturating_add(1);
        for (kind, bytes) in entries {
            self.add(linkage, kind, bytes);
        }
    }

    fn merge(&mut self, other: Self) {
        for (piece, Tally { count, bytes }) in other.pieces {
            let tally = self.pieces.entry(piece).or_default();
            tally.count = tally.count.saturating_add(count);
            tally.bytes = tally.bytes.saturating_add(bytes);
        }
        for (unit, more) in other.units {
            let count = self.units.entry(unit).or_default();
            *count = count.saturating_add(more);
        }
        other.warnings.into_iter().for_each(|warning| self.warn(warning));
    }

    fn warn(&mut self, warning: String) {
        if self.warnings.len() < MOST_WARNINGS && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

impl Kind {
    /// Whether a GPU of this compute capability runs it, without more than its driver.
    pub fn runs_on(&self, gpu: Capability) -> bool {
        match self {
            Self::Cubin(capability) => capability.cubin_runs_on(gpu),
            Self::Ptx(capability) => capability.ptx_runs_on(gpu),
            Self::LtoIr(_) | Self::Amd(_) | Self::Other(_) => false,
        }
    }

    /// The capability that NVIDIA's code is for.
    pub fn capability(&self) -> Option<Capability> {
        match self {
            Self::Cubin(capability) | Self::Ptx(capability) | Self::LtoIr(capability) => Some(*capability),
            Self::Amd(_) | Self::Other(_) => None,
        }
    }
}
