//! The entries of `.dynamic` that hold the search path: put in force, added, turned into the other tag, taken out.

use object::elf;

use super::super::NoFit;
use super::super::dynamic::{EntryFor, neutral_tag};
use super::{Draft, does_not_fit};

impl Draft<'_, '_> {
    /// Puts the search path in force: the string at `value` of the table in force.
    pub(in crate::plan) fn commit(&mut self, value: u64) -> Result<(), NoFit> {
        let wanted = self.change.tag.dynamic_tag();
        let other = self.change.tag.other().dynamic_tag();
        let dynamic = &self.image.dynamic;
        match (dynamic.position(wanted), dynamic.position(other)) {
            (Some(_), None) => self.store_path(wanted, value),
            // Loaders ignore DT_RPATH beside DT_RUNPATH. The one that counts comes first, then the other goes.
            (Some(_), Some(unwanted)) => {
                self.store_path(wanted, value)?;
                if self.count(other) == 1 { self.drop_entry(unwanted) } else { self.turn_path(other, wanted, value) }
            }
            (None, Some(_)) => self.turn_path(other, wanted, value),
            (None, None) => self.add_entry(wanted, value),
        }
    }

    /// Gives every entry with `tag` the search path and then the other tag.
    fn turn_path(&mut self, tag: elf::DynamicTag, other: elf::DynamicTag, value: u64) -> Result<(), NoFit> {
        for (index, _) in self.image.dynamic.entries.iter().enumerate().filter(|(_, entry)| entry.tag == tag).rev() {
            self.store_value(index, value, "the search path")?;
            self.store_tag(index, other, "the tag of the search path")?;
        }
        Ok(())
    }

    fn count(&self, tag: elf::DynamicTag) -> usize {
        self.image.dynamic.entries.iter().filter(|entry| entry.tag == tag).count()
    }

    /// Puts a first search path into `.dynamic`.
    fn add_entry(&mut self, tag: elf::DynamicTag, value: u64) -> Result<(), NoFit> {
        const WHY: &str = "the tag of the search path";
        let index = match self.entry {
            EntryFor::Spare | EntryFor::MovedTable => self.image.dynamic.entries.len(),
            EntryFor::GivenUp(index) => {
                // A number of relocations would be read as an offset, so the entry goes out of force first.
                self.store_tag(index, neutral_tag(self.image, index)?, "the entry that is given up")?;
                index
            }
        };
        self.store_value(index, value, "the search path")?;
        self.store_tag(index, tag, WHY)
    }

    /// Points the one search path tag to another string, once more.
    pub(in crate::plan) fn commit_again(&mut self, value: u64) -> Result<(), NoFit> {
        let dynamic = &self.image.dynamic;
        match (dynamic.position(elf::DT_RUNPATH), dynamic.position(elf::DT_RPATH)) {
            (Some(_), None) => self.store_path(elf::DT_RUNPATH, value),
            (None, Some(_)) => self.store_path(elf::DT_RPATH, value),
            _ => Err(NoFit::new("two search path tags, or none")),
        }
    }

    /// Takes the tag of the change out and scrubs its string, where the other tag does not name it as well.
    pub(in crate::plan) fn drop_tag(&mut self) -> Result<(), NoFit> {
        let dynamic = &self.image.dynamic;
        if self.count(self.change.tag.dynamic_tag()) > 1 {
            return Err(NoFit::new("there is more than one such tag"));
        }
        let index =
            dynamic.position(self.change.tag.dynamic_tag()).ok_or_else(|| NoFit::new("there is no such tag"))?;
        let other = dynamic.value(self.change.tag.other().dynamic_tag());
        let kept = other.and_then(|value| {
            let start = usize::try_from(value).ok()?;
            Some(start..start.checked_add(self.image.string(value)?.len())?)
        });
        self.drop_entry(index)?;
        self.scrub(self.image.strings.range.start, &kept.unwrap_or(0..0))
    }

    /// Takes the entry at `index` out: it goes out of force, the last entry takes its place, then the table ends one
    /// earlier. At each step the table says the same, but for the entry that goes.
    pub(in crate::plan) fn drop_entry(&mut self, index: usize) -> Result<(), NoFit> {
        let entries = &self.image.dynamic.entries;
        let last_index = entries.len().saturating_sub(1);
        let Some(last) = entries.get(last_index).copied() else { return Err(does_not_fit("d_tag")) };
        const WHY: &str = "the entry that takes the dropped tag's place";
        if index != last_index {
            let neutral = neutral_tag(self.image, index)?;
            let needed =
                entries.iter().find(|entry| entry.tag == elf::DT_NEEDED).filter(|_| last.tag == elf::DT_NEEDED);
            self.store_tag(index, neutral, "the search path tag that goes")?;
            if let Some(first) = needed {
                // The order of DT_NEEDED must stay: name the first library twice, which loads it once.
                self.store_value(index, first.value, WHY)?;
                return self.store_tag(index, elf::DT_NEEDED, WHY);
            }
            // What it says now: the search path itself, or a table that has moved, may be the last entry.
            let now = self.values.get(last_index).copied().unwrap_or(last.value);
            let value = match last.tag {
                elf::DT_MIPS_RLD_MAP_REL => self.rld_map_rel(now, last_index, index),
                _ => now,
            };
            self.store_value(index, value, WHY)?;
            self.store_tag(index, last.tag, WHY)?;
        }
        self.store_tag(last_index, elf::DT_NULL, "the end of the dynamic table")?;
        self.store_value(last_index, 0, "the end of the dynamic table")
    }

    /// `DT_MIPS_RLD_MAP_REL` is relative to its own entry's address (glibc, sysdeps/mips/dl-debug.h).
    fn rld_map_rel(&self, value: u64, from: usize, to: usize) -> u64 {
        let distance = (from as u64).wrapping_sub(to as u64).wrapping_mul(self.image.encoding.layout.dyn_size);
        self.image.encoding.word(value.wrapping_add(distance) as i64)
    }
}
