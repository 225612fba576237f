//! `DT_NEEDED` entries that name a driver library.

use object::elf;

use super::{DriverNames, Evidence, EvidenceKind};
use crate::elf::Image;

pub(super) fn needed(image: &Image<'_>, names: &DriverNames) -> Vec<Evidence> {
    let entries = image.dynamic.entries.iter().filter(|entry| entry.tag == elf::DT_NEEDED);
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
