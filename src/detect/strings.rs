//! One pass over the bytes for all evidence that is a string: SONAMEs, format strings, entry points.
//!
//! Linkers merge the tails of strings, so nothing is asked of the byte in front of a SONAME.

use std::collections::HashSet;

use aho_corasick::{AhoCorasick, Input, MatchKind};

use super::entry_points::{self, entry_point};
use super::formats::format_string;
use super::regions::Region;
use super::{Depth, DriverNames, Evidence, EvidenceKind};

/// No report lists more. A file can be made of nothing but names.
const MOST: usize = 1000;

/// Where something of interest may start.
fn candidates<'a>(bytes: &'a [u8], names: &'a DriverNames) -> impl Iterator<Item = usize> + 'a {
    let search = names.search.get_or_init(|| {
        let anchors = names.anchors().into_iter().chain(entry_points::ANCHORS.iter().map(|anchor| anchor.as_bytes()));
        // This fails for patterns of many gigabytes alone.
        AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(anchors).ok()
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
fn evidence_at(bytes: &[u8], at: usize, names: &DriverNames, opens: bool) -> Option<(EvidenceKind, usize, String)> {
    let text = |start, end| Some(String::from_utf8_lossy(bytes.get(start..end)?).into_owned());
    if let Some((start, end)) = names.around(bytes, at) {
        return Some((EvidenceKind::Soname, start, text(start, end)?));
    }
    if let Some(format) = format_string(bytes.get(at..)?) {
        return Some((EvidenceKind::Format, at, text(at, at.checked_add(format.len())?)?));
    }
    // A file that opens nothing has these for another reason.
    let name = entry_point(bytes, at).filter(|_| opens)?;
    Some((EvidenceKind::EntryPoint, at, name.to_owned()))
}

/// What a search gave.
#[derive(Default)]
pub(super) struct Found {
    pub(super) evidence: Vec<Evidence>,
    /// Bytes that were searched.
    pub(super) searched: u64,
}

/// All evidence in `regions` that is a string, or the first piece.
pub(super) fn strings(regions: &[Region<'_>], names: &DriverNames, opens: bool, depth: Depth) -> Found {
    let mut found = Found::default();
    // One piece of evidence a name and section is enough.
    let mut known: HashSet<(String, String)> = HashSet::new();
    for region in regions {
        for at in candidates(region.bytes, names) {
            let Some((kind, start, what)) = evidence_at(region.bytes, at, names, opens) else { continue };
            let place = region.place();
            let Some(offset) = region.offset.checked_add(start as u64) else { continue };
            if known.insert((what.clone(), place.clone())) {
                found.evidence.push(Evidence { kind, what, place, offset });
            }
            if depth != Depth::All || found.evidence.len() == MOST {
                found.searched += at as u64;
                return found;
            }
        }
        found.searched += region.bytes.len() as u64;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: DriverNames, bytes: &[u8], opens: bool) -> Vec<(EvidenceKind, usize, String)> {
        candidates(bytes, &names).filter_map(|at| evidence_at(bytes, at, &names, opens)).collect()
    }

    #[test]
    fn a_name_is_found_at_the_tail_of_another_string() {
        let found = found(DriverNames::default(), b"\0/usr/lib/libcuda.so.1\0", false);
        assert_eq!(found, [(EvidenceKind::Soname, 10, "libcuda.so.1".to_owned())]);
    }

    #[test]
    fn further_names_are_found_as_given_also_within_others() {
        let names = DriverNames::new(["vendor-gpu.so".to_owned(), "my-vendor-gpu.so".to_owned()]);
        let found = found(names, b"open my-vendor-gpu.so.3", false);
        let soname = |at, name: &str| (EvidenceKind::Soname, at, name.to_owned());
        assert_eq!(found, [soname(5, "my-vendor-gpu.so"), soname(8, "vendor-gpu.so")]);
    }

    #[test]
    fn entry_points_count_in_files_that_open_libraries() {
        let bytes = b"\0nvmlInit_v2\0cuInitX\0cuInit\0";
        let entry = |at, name: &str| (EvidenceKind::EntryPoint, at, name.to_owned());
        let all = found(DriverNames::default(), bytes, true);
        assert_eq!(all, [entry(1, "nvmlInit_v2"), entry(21, "cuInit")]);
        assert_eq!(found(DriverNames::default(), bytes, false), []);
    }

    #[test]
    fn format_strings_are_found() {
        let found = found(DriverNames::default(), b"%slibvdpau_%s.so%s\0", false);
        assert_eq!(found, [(EvidenceKind::Format, 2, "libvdpau_%s.so".to_owned())]);
    }
}
