//! Numbers that are addresses, or distances to addresses.
//!
//! Pure. Gigabytes are searched, so the first look at a block is for the lower halves of the addresses alone, in a form that
//! compilers turn into vector instructions.

use std::ops::Range;

use super::regions::Region;
use crate::elf::merged;

/// A number is looked for in blocks of so many bytes.
const BLOCK: usize = 1 << 10;

/// Addresses to look for.
pub(super) struct Wanted(Vec<Group>);

/// Ranges that are close together, for one pass.
struct Group {
    ranges: Vec<Range<u64>>,
    first: u64,
    last: u64,
}

/// What a number is, and where it may start.
#[derive(Clone, Copy)]
enum Number {
    /// Four bytes, anywhere, that are added to their place, which is so much more than their index.
    Distance(u64),
    /// The same at each fourth byte.
    AlignedDistance(u64),
    /// Four bytes, anywhere, that are an address.
    Address,
    /// Eight at each eighth byte.
    Pointer,
}

impl Wanted {
    pub(super) fn new(ranges: &[Range<u64>]) -> Self {
        /// Few numbers by chance are an address in between, and few of them lie in so large a group.
        const CLOSE: u64 = 1 << 16;
        const LARGEST: u64 = 1 << 20;
        let mut groups: Vec<Group> = Vec::new();
        for range in merged(ranges.iter().filter(|range| !range.is_empty()).cloned().collect()) {
            let last = range.end.saturating_sub(1);
            match groups.last_mut() {
                Some(group)
                    if range.start.saturating_sub(group.last) <= CLOSE
                        && last.saturating_sub(group.first) < LARGEST =>
                {
                    group.last = last;
                    group.ranges.push(range);
                }
                _ => groups.push(Group { first: range.start, last, ranges: vec![range] }),
            }
        }
        Self(groups)
    }

    /// How many passes a search takes: one for all addresses that are close together.
    pub(super) fn passes(&self) -> usize {
        self.0.len()
    }

    /// Where four bytes of the code are the distance from their end to such an address, and that address.
    pub(super) fn distances<'a>(&'a self, region: &'a Region<'_>) -> impl Iterator<Item = (usize, u64)> + 'a {
        self.found(region.bytes, Number::Distance(region.addr.0.wrapping_add(4)))
    }

    /// Where four bytes of the code are such an address, and that address.
    pub(super) fn addresses<'a>(&'a self, region: &'a Region<'_>) -> impl Iterator<Item = (usize, u64)> + 'a {
        self.found(region.bytes, Number::Address)
    }

    /// Which aligned four bytes of the data at `addr` are the distance from their own address, the first value, to such an
    /// address, the second one.
    pub(super) fn distances_from_themselves<'a>(
        &'a self,
        bytes: &'a [u8],
        addr: u64,
    ) -> impl Iterator<Item = (u64, u64)> + 'a {
        let (bytes, addr) = aligned(bytes, addr, 4);
        let found = self.found(bytes, Number::AlignedDistance(addr));
        found.map(move |(at, target)| (addr.wrapping_add(at as u64), target))
    }

    /// Whether some aligned eight bytes of the data at `addr` are such an address.
    pub(super) fn has_pointer(&self, bytes: &[u8], addr: u64) -> bool {
        let (bytes, _) = aligned(bytes, addr, 8);
        self.found(bytes, Number::Pointer).next().is_some()
    }

    fn found<'a>(&'a self, bytes: &'a [u8], number: Number) -> impl Iterator<Item = (usize, u64)> + 'a {
        let in_block = move |start: usize| {
            let groups = self.0.iter().filter(move |group| group.may_be_in(bytes, start, number));
            groups.flat_map(move |group| {
                let places = (start..start.saturating_add(BLOCK)).step_by(number.step());
                let all = places.filter_map(move |at| Some((at, number.address(bytes, at)?)));
                all.filter(|(_, addr)| group.has(*addr))
            })
        };
        (0..bytes.len()).step_by(BLOCK).flat_map(in_block)
    }
}

/// From the first aligned byte on.
fn aligned(bytes: &[u8], addr: u64, alignment: u64) -> (&[u8], u64) {
    let skipped = addr.wrapping_neg() % alignment;
    let rest = usize::try_from(skipped).ok().and_then(|skipped| bytes.get(skipped..));
    (rest.unwrap_or_default(), addr.wrapping_add(skipped))
}

impl Group {
    fn has(&self, addr: u64) -> bool {
        // They are in order.
        let behind = self.ranges.partition_point(|range| range.end <= addr);
        self.ranges.get(behind).is_some_and(|range| range.contains(&addr))
    }

    /// Whether some four bytes of the block at `start` are the lower half of what gives an address from the first to the last
    /// to some number there.
    fn may_be_in(&self, bytes: &[u8], start: usize, number: Number) -> bool {
        let end = start.saturating_add(BLOCK).saturating_add(3).min(bytes.len());
        let block = bytes.get(start..end).unwrap_or_default();
        let [first, last] = [self.first.wrapping_sub(number.base(end)), self.last.wrapping_sub(number.base(start))];
        let Ok(span) = u32::try_from(last.wrapping_sub(first)) else { return true };
        let first = first as u32;
        // Their upper halves are found in less than half the time.
        let upper = (first >> 16) as u16;
        let upper_span = (u64::from(first as u16).saturating_add(span.into()) >> 16).min(u16::MAX.into()) as u16;
        let shifts = if number.step() == 1 { 4 } else { 1 };
        let has_upper = |shift: usize| block.get(shift + 2..).is_some_and(|rest| has_u16(rest, upper, upper_span));
        let has_whole = |shift: usize| block.get(shift..).is_some_and(|rest| has_u32(rest, first, span));
        (0..shifts).take(2).any(has_upper) && (0..shifts).any(has_whole)
    }
}

/// Whether two bytes, at each second one, are a number from `first` on and at most `span` more.
fn has_u16(bytes: &[u8], first: u16, span: u16) -> bool {
    let numbers = bytes.chunks_exact(2).map(|bytes| bytes.first_chunk().map_or(0, |bytes| u16::from_le_bytes(*bytes)));
    // Signed numbers are what vectors compare; a way out in the middle would make none of it.
    let signed = |number: u16| number.wrapping_add(1 << 15) as i16;
    numbers.fold(false, |has, number| has | (signed(number.wrapping_sub(first)) <= signed(span)))
}

/// The same of four bytes, at each fourth one.
fn has_u32(bytes: &[u8], first: u32, span: u32) -> bool {
    let numbers = bytes.chunks_exact(4).map(|bytes| bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)));
    let signed = |number: u32| number.wrapping_add(1 << 31) as i32;
    numbers.fold(false, |has, number| has | (signed(number.wrapping_sub(first)) <= signed(span)))
}

impl Number {
    fn step(self) -> usize {
        match self {
            Self::Distance(_) | Self::Address => 1,
            Self::AlignedDistance(_) => 4,
            Self::Pointer => 8,
        }
    }

    /// What is added to the number at `at`.
    fn base(self, at: usize) -> u64 {
        match self {
            Self::Distance(base) | Self::AlignedDistance(base) => base.wrapping_add(at as u64),
            Self::Address | Self::Pointer => 0,
        }
    }

    /// The address that the number at `at` gives.
    fn address(self, bytes: &[u8], at: usize) -> Option<u64> {
        let bytes = bytes.get(at..)?;
        let small = || bytes.first_chunk().map(|bytes| i32::from_le_bytes(*bytes));
        match self {
            Self::Distance(_) | Self::AlignedDistance(_) => Some(self.base(at).wrapping_add_signed(small()?.into())),
            Self::Address => Some(u64::from(small()? as u32)),
            Self::Pointer => bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::{FileOffset, Vaddr};

    const BASE: u64 = 0x100_0000;
    /// Around the ends of blocks, and of the whole.
    const PLACES: [usize; 9] = [0, 1, 0x3fc, 0x3fd, 0x3fe, 0x3ff, 0x400, 0x1000, 0x2ffc];

    /// Bytes that are all the same, but for a number.
    fn with(at: usize, number: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x90; 0x3000];
        bytes[at..at + number.len()].copy_from_slice(number);
        bytes
    }

    #[test]
    fn a_distance_is_found_wherever_it_lies() {
        for (at, target) in PLACES.into_iter().flat_map(|at| [0x10_u64, 0x1000_0010, 0x4fff_fffe].map(|to| (at, to))) {
            let code = with(at, &(target.wrapping_sub(BASE + at as u64 + 4) as u32).to_le_bytes());
            let region = Region::of_code(&code, FileOffset(0), Vaddr(BASE));
            let far = 0x5000_0000..0x5000_0001;
            let found = |range: Range<u64>| Wanted::new(&[far.clone(), range]).distances(&region).collect::<Vec<_>>();
            assert_eq!(found(target..target + 3), [(at, target)]);
            assert_eq!(found(target - 2..target + 1), [(at, target)]);
            assert_eq!(found(target + 1..target + 3), []);
            assert_eq!(found(target - 2..target), []);
            assert_eq!(found(target..target), []);
        }
    }

    #[test]
    fn a_distance_from_itself_and_a_pointer_are_aligned() {
        for (at, skew) in PLACES.into_iter().flat_map(|at| (0..8).map(move |skew| (at, skew))) {
            let (addr, target) = (BASE + skew, 0x2000_0000);
            let place = addr + at as u64;
            let wanted = Wanted::new(std::slice::from_ref(&(target..target + 1)));
            let table = with(at, &(target.wrapping_sub(place) as u32).to_le_bytes());
            let found: Vec<(u64, u64)> = wanted.distances_from_themselves(&table, addr).collect();
            assert_eq!(found, if place % 4 == 0 { vec![(place, target)] } else { Vec::new() });
            if at + 8 <= table.len() {
                assert_eq!(wanted.has_pointer(&with(at, &target.to_le_bytes()), addr), place % 8 == 0);
                assert!(!wanted.has_pointer(&with(at, &(target | 1 << 40).to_le_bytes()), addr));
            }
        }
    }

    #[test]
    fn an_address_has_no_sign() {
        for (at, target) in PLACES.into_iter().flat_map(|at| [0x10_u64, 0xffff_fff0].map(|target| (at, target))) {
            let code = with(at, &(target as u32).to_le_bytes());
            let region = Region::of_code(&code, FileOffset(0), Vaddr(BASE));
            let found =
                |range: Range<u64>| Wanted::new(std::slice::from_ref(&range)).addresses(&region).collect::<Vec<_>>();
            assert_eq!(found(target - 8..target + 1), [(at, target)]);
            assert_eq!(found(target + 1..target + 8), []);
        }
    }

    #[test]
    fn ranges_that_are_close_take_one_pass_and_keep_their_gaps() {
        let ranges: Vec<Range<u64>> = (0..20).map(|index| 0x2000_0000 + index * 0x100).map(|at| at..at + 2).collect();
        let wanted = Wanted::new(&ranges);
        assert_eq!(wanted.passes(), 1);
        assert_eq!(Wanted::new(&[0..1, 0x1_0000..0x1_0001, 0x2_0000..0x2_0003]).passes(), 1);
        assert_eq!(Wanted::new(&[0..1, 0x1_0000..0x1_0001, 0x2_0001..0x2_0003]).passes(), 2);
        let far: Vec<Range<u64>> = (0..64).map(|index| index << 15..(index << 15) + 1).collect();
        assert_eq!(Wanted::new(&far).passes(), 2);
        for (offset, is_in) in [(0, true), (1, true), (2, false), (0xff, false), (0x1300, true), (0x1302, false)] {
            let code = with(0x400, &(0x2000_0000_u32 + offset).to_le_bytes());
            let region = Region::of_code(&code, FileOffset(0), Vaddr(BASE));
            assert_eq!(wanted.addresses(&region).count(), usize::from(is_in), "{offset:#x}");
        }
    }

    #[test]
    fn a_range_of_more_than_four_gigabytes_has_all_in_it() {
        let code = with(0x400, &0x7000_0000_u32.to_le_bytes());
        let wanted = Wanted::new(std::slice::from_ref(&(0x1000..0x2_0000_0000)));
        let region = Region::of_code(&code, FileOffset(0), Vaddr(BASE));
        assert!(wanted.addresses(&region).any(|found| found == (0x400, 0x7000_0000)));
    }
}
