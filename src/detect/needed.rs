//! `DT_NEEDED` entries that name a driver library.

use std::collections::HashSet;

use object::elf;

use super::{DriverNames, Evidence, EvidenceKind, MOST};
use crate::elf::Image;

/// Each once, and whether these are all.
pub(super) fn needed(image: &Image<'_>, names: &DriverNames) -> (Vec<Evidence>, bool) {
    let entries = image.dynamic.entries.iter().filter(|entry| entry.tag == elf::DT_NEEDED);
    let mut known = HashSet::new();
    let mut all = entries.filter(|entry| known.insert(entry.value)).filter_map(|entry| {
        let name = image.string(entry.value).filter(|name| names.is_driver_soname(name))?;
        Some(Evidence {
            kind: EvidenceKind::Needed,
            what: String::from_utf8_lossy(name).into_owned(),
            place: ".dynstr".to_owned(),
            offset: image.strings.range.start.checked_add(entry.value)?,
        })
    });
    let evidence = all.by_ref().take(MOST).collect();
    (evidence, all.next().is_none())
}
