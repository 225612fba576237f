//! Which addresses the code of x86-64 refers to.
//!
//! Pure. `lea register, [rip + distance]` is how compilers hand a string over in code that can lie anywhere (AMD64
//! manual, volume 3, "RIP-Relative Addressing"); other references are not looked for.

use std::collections::HashSet;
use std::ops::Range;

use object::elf;

use super::regions::Region;
use crate::elf::Vaddr;

/// Those of `wanted` that some code refers to. Code is read only where something is wanted.
pub(crate) fn referred(machine: elf::Machine, regions: &[Region<'_>], wanted: &HashSet<Vaddr>) -> HashSet<Vaddr> {
    let (Some(low), Some(high)) = (wanted.iter().min(), wanted.iter().max()) else { return HashSet::new() };
    if machine != elf::EM_X86_64 {
        return HashSet::new();
    }
    let code = regions.iter().filter(|region| region.is_code);
    let targets = code.flat_map(|region| memchr::memchr_iter(LEA, region.bytes).filter_map(|at| target(region, at)));
    // A comparison is cheaper than a hash.
    targets.filter(|target| (low..=high).contains(&target) && wanted.contains(target)).collect()
}

/// The opcode, behind a REX prefix with W.
pub(super) const LEA: u8 = 0x8d;

/// The address that the instruction with its opcode at `at` yields, if it is one.
fn target(region: &Region<'_>, at: usize) -> Option<Vaddr> {
    let prefix = region.bytes.get(at.checked_sub(1)?)?;
    let [_, operands, distance @ ..] = region.bytes.get(at..)?.first_chunk::<6>()?;
    // REX.W, maybe REX.R; ModRM with mod 0 and r/m 5.
    if prefix & 0xfb != 0x48 || operands & 0xc7 != 0x05 {
        return None;
    }
    let end = region.addr.checked_add(at.checked_add(6)? as u64)?;
    end.0.checked_add_signed(i64::from(i32::from_le_bytes(*distance))).map(Vaddr)
}

/// Where four bytes of the code would be the distance from their end to an address in `range`, and that address.
pub(super) fn distances<'a>(region: &'a Region<'_>, range: &Range<u64>) -> impl Iterator<Item = (usize, u64)> + 'a {
    let Range { start, end } = *range;
    let base = region.addr.0;
    let behind = move |at: usize| base.wrapping_add(at as u64).wrapping_add(4);
    let wanted = move |block: &Range<usize>| {
        let [low, high] = [start.wrapping_sub(behind(block.end)), end.wrapping_sub(behind(block.start))];
        low as i64..high as i64
    };
    let found =
        numbers(region.bytes, wanted).map(move |(at, number)| (at, behind(at).wrapping_add_signed(number.into())));
    found.filter(move |(_, target)| (start..end).contains(target))
}

/// Where four bytes of the code would be an address in `range`, and that address.
pub(super) fn addresses<'a>(region: &'a Region<'_>, range: &Range<u64>) -> impl Iterator<Item = (usize, u64)> + 'a {
    let Range { start, end } = *range;
    let wanted = move |_: &Range<usize>| start as i64..end as i64;
    let found = numbers(region.bytes, wanted).map(|(at, number)| (at, u64::from(number as u32)));
    found.filter(move |(_, target)| (start..end).contains(target))
}

/// Where four bytes may be a number in what is `wanted` of the block that they start in. Only its highest byte is looked
/// for: gigabytes of code are searched.
fn numbers<'a>(
    bytes: &'a [u8],
    wanted: impl Fn(&Range<usize>) -> Range<i64> + 'a,
) -> impl Iterator<Item = (usize, i32)> + 'a {
    const BLOCK: usize = 1 << 16;
    const HIGHEST: usize = 3;
    (0..bytes.len()).step_by(BLOCK).flat_map(move |start| {
        let end = start.saturating_add(BLOCK).min(bytes.len());
        let wanted = wanted(&(start..end));
        let (low, high) = ((wanted.start >> 24) as u8, (wanted.end >> 24) as u8);
        let highest = bytes.get(start.saturating_add(HIGHEST)..end.saturating_add(HIGHEST).min(bytes.len()));
        let places = memchr::memchr2_iter(low, high, highest.unwrap_or_default());
        places.filter_map(move |at| {
            let at = start.checked_add(at)?;
            Some((at, i32::from_le_bytes(*bytes.get(at..)?.first_chunk()?)))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::FileOffset;

    #[test]
    fn a_distance_is_found_wherever_it_lies() {
        let mut code = vec![0x90; 0x3_0000];
        for at in [0, 1, 0xfffc, 0xfffd, 0xfffe, 0xffff, 0x1_0000, 0x2_fffc_usize] {
            for target in [0x10_u64, 0x1000_0010] {
                let distance = target.wrapping_sub(0x100_0000 + at as u64 + 4) as u32;
                code[at..at + 4].copy_from_slice(&distance.to_le_bytes());
                let region = Region::of_code(&code, FileOffset(0), Vaddr(0x100_0000));
                assert_eq!(distances(&region, &(target..target + 3)).collect::<Vec<_>>(), [(at, target)]);
                assert_eq!(distances(&region, &(target + 1..target + 3)).count(), 0);
            }
            code[at..at + 4].copy_from_slice(&[0x90; 4]);
        }
    }

    fn referred_by(code: &[u8], machine: elf::Machine) -> Vec<u64> {
        let region = Region::of_code(code, FileOffset(0), Vaddr(0x1000));
        let wanted = (0..0x2000).map(Vaddr).collect();
        let mut found: Vec<u64> = referred(machine, &[region], &wanted).into_iter().map(|addr| addr.0).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn the_end_of_the_instruction_and_the_distance_make_the_address() {
        // lea rdi, [rip + 0x10]; lea r15, [rip - 0x10]
        assert_eq!(referred_by(b"\x48\x8d\x3d\x10\0\0\0", elf::EM_X86_64), [0x1017]);
        assert_eq!(referred_by(b"\x90\x4c\x8d\x3d\xf0\xff\xff\xff", elf::EM_X86_64), [0xff8]);
    }

    #[test]
    fn what_is_no_such_instruction_refers_to_nothing() {
        // lea rdi, [rax + 0x10], mov rdi, [rip + 0x10], one that is cut off, one without a prefix in front.
        for code in
            [&b"\x48\x8d\xb8\x10\0\0\0"[..], b"\x48\x8b\x3d\x10\0\0\0", b"\x48\x8d\x3d\x10\0\0", b"\x8d\x3d\x10\0\0\0"]
        {
            assert_eq!(referred_by(code, elf::EM_X86_64), [0; 0], "{}", code.escape_ascii());
        }
        assert_eq!(referred_by(b"\x48\x8d\x3d\x10\0\0\0", elf::EM_AARCH64), [0; 0]);
    }
}
