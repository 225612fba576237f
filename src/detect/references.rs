//! Which addresses the code of x86-64 refers to.
//!
//! Pure. `lea register, [rip + distance]` is how compilers hand a string over in code that can lie anywhere (AMD64
//! manual, volume 3, "RIP-Relative Addressing"); other references are not looked for.

use std::collections::HashSet;
use std::ops::Range;

use object::elf;

use super::numbers::Wanted;
use super::regions::Region;
use crate::elf::Vaddr;

/// From so many passes over the code on, one that looks for the opcode is faster.
const MANY_PASSES: usize = 6;

/// Those of `wanted` that some code refers to. Code is read only where something is wanted.
pub(crate) fn referred(machine: elf::Machine, regions: &[Region<'_>], wanted: &HashSet<Vaddr>) -> HashSet<Vaddr> {
    let (Some(low), Some(high)) = (wanted.iter().min(), wanted.iter().max()) else { return HashSet::new() };
    if machine != elf::EM_X86_64 {
        return HashSet::new();
    }
    let code = regions.iter().filter(|region| region.is_code);
    let ranges: Vec<Range<u64>> = wanted.iter().map(|addr| addr.0..addr.0.saturating_add(1)).collect();
    let near = Wanted::new(&ranges);
    if near.passes() < MANY_PASSES {
        // The opcode is two bytes in front of the distance.
        let opcodes = |region| near.distances(region).filter_map(|(at, _)| at.checked_sub(2));
        return code.flat_map(|region| opcodes(region).filter_map(|at| target(region, at))).collect();
    }
    let targets = code.flat_map(|region| memchr::memchr_iter(LEA, region.bytes).filter_map(|at| target(region, at)));
    // A comparison is cheaper than a hash.
    targets.filter(|target| (low..=high).contains(&target) && wanted.contains(target)).collect()
}

/// The opcode, behind a REX prefix with W.
pub(super) const LEA: u8 = 0x8d;

/// The address that the instruction with its opcode at `at` yields, if it is one.
fn target(region: &Region<'_>, at: usize) -> Option<Vaddr> {
    let prefix = region.bytes.get(at.checked_sub(1)?)?;
    let [opcode, operands, distance @ ..] = region.bytes.get(at..)?.first_chunk::<6>()?;
    // REX.W, maybe REX.R; ModRM with mod 0 and r/m 5.
    if prefix & 0xfb != 0x48 || *opcode != LEA || operands & 0xc7 != 0x05 {
        return None;
    }
    let end = region.addr.checked_add(at.checked_add(6)? as u64)?;
    end.0.checked_add_signed(i64::from(i32::from_le_bytes(*distance))).map(Vaddr)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::FileOffset;

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

    #[test]
    fn a_reference_is_found_among_few_addresses_and_among_many() {
        // lea rdi, [rip + 0x10]; lea rsi, [rax + 0x10]: of the second, only the distance is one.
        let code = b"\x90\x48\x8d\x3d\x10\0\0\0\x48\x8d\xb0\x10\0\0\0";
        let code = [Region::of_code(code, FileOffset(0), Vaddr(0x1000))];
        for others in [0, MANY_PASSES as u64 - 2, 2 * MANY_PASSES as u64] {
            let others = (0..others).map(|index| Vaddr((index + 1) << 20));
            let refers =
                |addr: u64| !referred(elf::EM_X86_64, &code, &others.clone().chain([Vaddr(addr)]).collect()).is_empty();
            assert!(refers(0x1018) && !refers(0x1017) && !refers(0x101f));
        }
    }
}
