//! One pass over the bytes for all evidence but the dynamic table and the note: SONAMEs, format strings, entry points,
//! and constants in code.
//!
//! Linkers merge the tails of strings, so nothing is asked of the byte in front of a SONAME.

use std::collections::HashSet;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};
use memchr::memmem;
use object::elf;

use super::entry_points::{self, entry_point};
use super::formats::format_string;
use super::immediates::{Start, TAILS, built_name, start};
use super::regions::Region;
use super::vectors::Cuts;
use super::wide::{self, wide_name};
use super::{Depth, DriverNames, Evidence, EvidenceKind, MOST};

/// So many constants are followed up. Code can be made of nothing but starts of names.
const MOST_STARTS: usize = 10_000;

/// What a search is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// SONAMEs and format strings.
    Names,
    /// Those, and names in constants of the code.
    NamesAndConstants,
    /// Names, entry points, and what is written in other ways.
    NamesAndFunctions,
}

/// What names in code begin with, and where they can be cut.
const IN_CODE: [&[u8]; 3] = [b"lib", TAILS[0], TAILS[1]];

/// Code is searched in blocks of so many bytes: from the second needle on they are in the processor's cache.
const BLOCK: usize = 128 << 10;

/// Where something of interest may start.
fn candidates<'a>(bytes: &'a [u8], names: &'a DriverNames, wanted: Wanted) -> impl Iterator<Item = usize> + 'a {
    let lib: &[u8] = IN_CODE[0];
    // A few short needles are found faster than many.
    let few = wanted != Wanted::NamesAndFunctions && names.anchors().iter().all(|anchor| anchor.starts_with(lib));
    let needles = if wanted == Wanted::NamesAndConstants { &IN_CODE[..] } else { &IN_CODE[..1] };
    let of_few = few.then(|| {
        let blocks = (0..bytes.len()).step_by(BLOCK);
        blocks.flat_map(move |start| needles.iter().flat_map(move |needle| in_block(bytes, start, needle)))
    });
    of_few.into_iter().flatten().chain((!few).then(|| all_candidates(bytes, names)).into_iter().flatten())
}

/// Where `needle` starts in the block at `start`.
fn in_block<'a>(bytes: &'a [u8], start: usize, needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let end = start.saturating_add(BLOCK).saturating_add(needle.len().saturating_sub(1)).min(bytes.len());
    let block = bytes.get(start..end).unwrap_or_default();
    memmem::find_iter(block, needle).map(move |at| start.saturating_add(at))
}

fn all_candidates<'a>(bytes: &'a [u8], names: &'a DriverNames) -> impl Iterator<Item = usize> + 'a {
    let search = names.search.get_or_init(|| {
        let functions = entry_points::ANCHORS.iter().map(|anchor| anchor.as_bytes());
        let anchors =
            names.anchors().into_iter().chain(functions).chain(wide::ANCHORS.map(|(anchor, _)| anchor)).chain(TAILS);
        // The vectorised prefilter does the work; a larger automaton behind it takes longer to build than a small file
        // to search. This fails for patterns of many gigabytes alone.
        let mut builder = AhoCorasick::builder();
        builder.kind(Some(AhoCorasickKind::NoncontiguousNFA)).match_kind(MatchKind::LeftmostFirst);
        builder.build(anchors).ok()
    });
    let mut from = 0;
    std::iter::from_fn(move || {
        // Not from the end of the last one: a further name may overlap with another.
        let found = search.as_ref()?.find(Input::new(bytes).span(from..bytes.len()))?;
        from = found.start() + 1;
        Some(found.start())
    })
}

/// What stands at a candidate: kind, start, name.
fn evidence_at(bytes: &[u8], at: usize, names: &DriverNames, wanted: Wanted) -> Option<(EvidenceKind, usize, String)> {
    let text = |start, end| Some(String::from_utf8_lossy(bytes.get(start..end)?).into_owned());
    if let Some((start, end)) = names.around(bytes, at) {
        return Some((EvidenceKind::Soname, start, text(start, end)?));
    }
    if let Some(format) = format_string(bytes.get(at..)?) {
        return Some((EvidenceKind::Format, at, text(at, at.checked_add(format.len())?)?));
    }
    if wanted != Wanted::NamesAndFunctions {
        return None;
    }
    if let Some(name) = entry_point(bytes, at) {
        return Some((EvidenceKind::EntryPoint, at, name.to_owned()));
    }
    Some((EvidenceKind::Soname, at, wide_name(bytes.get(at..)?, names)?))
}

/// Whether what is at `at` is a name without its `li`, which lies elsewhere.
fn is_tail(bytes: &[u8], at: usize) -> bool {
    let (front, text) = bytes.split_at_checked(at).unwrap_or_default();
    TAILS.iter().any(|tail| text.starts_with(tail)) && !front.ends_with(b"li")
}

/// What a search gave.
#[derive(Default)]
pub(super) struct Found {
    pub(super) evidence: Vec<Evidence>,
    /// Bytes that were searched.
    pub(super) searched: u64,
    /// Whether there may be more evidence than is listed.
    pub(super) is_cut: bool,
}

/// One pass over a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search<'n> {
    pub(super) names: &'n DriverNames,
    pub(super) machine: elf::Machine,
    /// Whether the file imports `dlopen`.
    pub(super) opens: bool,
    pub(super) depth: Depth,
}

impl Search<'_> {
    /// All evidence in `regions`, or the first piece. Code is searched for constants where there is no other evidence,
    /// neither in `regions` nor `elsewhere`.
    pub(super) fn run(&self, regions: &[Region<'_>], elsewhere: bool) -> Found {
        let mut found = Found::default();
        let in_any_case = self.depth == Depth::AllAndCode;
        let mut starts = 0;
        let mut cuts = Cuts::default();
        // One piece of evidence a name and section is enough.
        let mut known: HashSet<(String, String)> = HashSet::new();
        for region in regions {
            // Code is not searched for what the data in front of it has shown: it holds next to no strings.
            if !region.holds_data() && !found.evidence.is_empty() && !in_any_case {
                continue;
            }
            // A file that opens nothing has functions' names for another reason, and code has none.
            let is_first = !elsewhere && found.evidence.is_empty();
            let constants = self.opens && region.is_code && (is_first || in_any_case);
            let wanted = match (self.opens && region.holds_data(), constants) {
                (true, _) => Wanted::NamesAndFunctions,
                (false, true) => Wanted::NamesAndConstants,
                (false, false) => Wanted::Names,
            };
            for at in candidates(region.bytes, self.names, wanted) {
                let mut there = evidence_at(region.bytes, at, self.names, wanted);
                let constant = there.is_none() && constants && starts < MOST_STARTS;
                let constant = constant.then(|| start(region.bytes, at, self.machine, self.names)).flatten();
                if let Some(start) = constant {
                    starts += 1;
                    there = self.built_at(region.bytes, at, start);
                }
                let Some((kind, start, what)) = there else {
                    if wanted == Wanted::NamesAndFunctions && self.machine == elf::EM_X86_64 {
                        cuts.note(region, at, self.names);
                    }
                    continue;
                };
                let place = region.place();
                let Some(offset) = region.offset.checked_add(start as u64) else { continue };
                if known.insert((what.clone(), place.clone())) {
                    found.evidence.push(Evidence { kind, what, place, offset });
                }
                found.is_cut = found.evidence.len() == MOST;
                if self.depth.is_one() || found.is_cut {
                    found.searched += at as u64;
                    return found;
                }
            }
            found.searched += region.bytes.len() as u64;
        }
        // Another pass over the code, where it can be worth it.
        if self.opens && !elsewhere && found.evidence.is_empty() {
            found.evidence.extend(cuts.built_name(regions, self.names));
        }
        found
    }

    /// Hands over each name and function in `data`, also where it is there twice, with its region, kind and place, as long as
    /// they are taken; and gives what may be the starts of others.
    pub(super) fn each<'data>(
        &self,
        data: &'data [Region<'data>],
        mut take: impl FnMut(&'data Region<'data>, EvidenceKind, usize, String) -> Option<()>,
    ) -> Option<Cuts<'data>> {
        let wanted = Wanted::NamesAndFunctions;
        let mut cuts = Cuts::default();
        for region in data {
            for at in candidates(region.bytes, self.names, wanted) {
                match evidence_at(region.bytes, at, self.names, wanted) {
                    Some((kind, start, what)) => take(region, kind, start, what)?,
                    // The rest of a name whose start lies elsewhere.
                    None if is_tail(region.bytes, at) => return None,
                    None => cuts.note(region, at, self.names),
                }
            }
        }
        Some(cuts)
    }

    /// Whether the code has, or may build, a name: some start of one is in it, or what follows a cut; or a cut in the data
    /// goes on there.
    pub(super) fn may_be_built(&self, regions: &[Region<'_>], cuts: &Cuts<'_>) -> bool {
        let is_start = |text: &[u8]| self.names.anchors().iter().any(|anchor| text.starts_with(anchor));
        let has_some = |region: &Region<'_>| {
            let mut places = candidates(region.bytes, self.names, Wanted::NamesAndConstants);
            places.any(|at| is_tail(region.bytes, at) || region.bytes.get(at..).is_some_and(is_start))
        };
        regions.iter().filter(|region| region.is_code).any(has_some) || cuts.built_name(regions, self.names).is_some()
    }

    fn built_at(&self, code: &[u8], at: usize, start: Start<'_>) -> Option<(EvidenceKind, usize, String)> {
        let name = built_name(code, start, self.names)?;
        Some((EvidenceKind::Immediate, at, String::from_utf8_lossy(&name).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use Wanted::{Names, NamesAndFunctions};

    fn found(names: DriverNames, bytes: &[u8], wanted: Wanted) -> Vec<(EvidenceKind, usize, String)> {
        candidates(bytes, &names, wanted).filter_map(|at| evidence_at(bytes, at, &names, wanted)).collect()
    }

    #[test]
    fn a_name_is_found_at_the_tail_of_another_string() {
        for wanted in [Names, NamesAndFunctions] {
            let found = found(DriverNames::default(), b"\0/usr/lib/libcuda.so.1\0", wanted);
            assert_eq!(found, [(EvidenceKind::Soname, 10, "libcuda.so.1".to_owned())]);
        }
    }

    #[test]
    fn further_names_are_found_as_given_also_within_others() {
        let names = DriverNames::new(["vendor-gpu.so".to_owned(), "my-vendor-gpu.so".to_owned()]);
        let found = found(names, b"open my-vendor-gpu.so.3", Names);
        let soname = |at, name: &str| (EvidenceKind::Soname, at, name.to_owned());
        assert_eq!(found, [soname(5, "my-vendor-gpu.so"), soname(8, "vendor-gpu.so")]);
    }

    #[test]
    fn entry_points_count_in_files_that_open_libraries() {
        let bytes = b"\0nvmlInit_v2\0cuInitX\0cuInit\0";
        let entry = |at, name: &str| (EvidenceKind::EntryPoint, at, name.to_owned());
        let all = found(DriverNames::default(), bytes, NamesAndFunctions);
        assert_eq!(all, [entry(1, "nvmlInit_v2"), entry(21, "cuInit")]);
        assert_eq!(found(DriverNames::default(), bytes, Names), []);
    }

    #[test]
    fn format_strings_are_found() {
        let found = found(DriverNames::default(), b"%slibvdpau_%s.so%s\0", Names);
        assert_eq!(found, [(EvidenceKind::Format, 2, "libvdpau_%s.so".to_owned())]);
    }
}
