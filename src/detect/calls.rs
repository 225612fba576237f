//! Which calls x86-64 code hands an address to, where that can be proved from a few neighbouring instructions.
//!
//! Whatever refers to a watched address is found wherever it may start: every four bytes of code that would be a distance
//! from the next instruction to such an address count, and so do, in files at fixed addresses, those that are one. What
//! is found is followed only where compilers leave nothing between the address, the constants beside it, and the call;
//! all else is unclear.

use std::collections::HashMap;
use std::ops::Range;

use object::elf;

use super::numbers::Wanted;
use super::references::LEA;
use super::regions::{Region, region_of};
use crate::elf::{Image, Vaddr};

/// No file asks so often.
const MOST_ASKS: usize = 64;

/// Instructions between an address and its call: other arguments, and what a function starts with.
const MOST_BETWEEN: usize = 8;

/// `RTLD_NOLOAD` of glibc and musl (bits/dlfcn.h, dlfcn.h).
const NOLOAD: u32 = 4;

/// Registers by their number in an instruction (Intel SDM, volume 2, "ModR/M and SIB Bytes").
const RAX: u8 = 0;
const RDX: u8 = 2;
const RSI: u8 = 6;
const RDI: u8 = 7;

/// The registers that a function takes the name and the flags in (x86-64 psABI, "Parameter Passing").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Opener {
    name: u8,
    flags: u8,
}

const OPENERS: [(&[u8], Opener); 2] =
    [(b"dlopen", Opener { name: RDI, flags: RSI }), (b"dlmopen", Opener { name: RSI, flags: RDX })];

/// A call that asks whether what the address names is loaded already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) target: u64,
    /// Where nothing may jump to, from behind the flags to the address.
    pub(super) landing: Option<Range<u64>>,
}

/// The code of one file.
pub(super) struct Code<'a, 'data> {
    regions: &'a [Region<'data>],
    /// Which function the loader puts into a slot.
    slots: HashMap<u64, Opener>,
    /// Whether addresses may stand in the code as they are.
    is_fixed: bool,
}

/// What an instruction does with a watched address.
enum Use {
    None,
    Takes(Taken),
    /// It reads there, or something else.
    Other,
}

/// An instruction that puts an address into a register.
struct Taken {
    target: u64,
    register: u8,
    /// Where it starts, and one past its end.
    start: usize,
    end: usize,
}

/// What an instruction between an address and its call does, with which register.
enum Between {
    Sets(u8, u32),
    Fills(u8),
    Reads(u8),
    MovesRax(u8),
    Nothing,
}

impl<'a, 'data> Code<'a, 'data> {
    pub(super) fn new(image: &Image<'_>, regions: &'a [Region<'data>]) -> Self {
        Self { regions, slots: slots(image), is_fixed: image.file_type == elf::ET_EXEC }
    }

    /// All that the code does with addresses in `watched`, if it asks in each case and does nothing else.
    pub(super) fn asks(&self, watched: &[Range<u64>]) -> Option<Vec<Ask>> {
        let mut asks = Vec::new();
        let around = |range: &Range<u64>| range.start.saturating_sub(LONGEST_CONSTANT)..range.end;
        let around = Wanted::new(&watched.iter().map(around).collect::<Vec<_>>());
        let exact = Wanted::new(if self.is_fixed { watched } else { &[] });
        for region in self.regions {
            let distances = around.distances(region).map(|(at, target)| relative(region.bytes, at, target, watched));
            let addresses = exact.addresses(region).map(|(at, target)| absolute(region.bytes, at, target));
            for found in distances.chain(addresses) {
                match found {
                    Use::None => {}
                    Use::Takes(taken) => asks.push(self.ask(region, &taken)?),
                    Use::Other => return None,
                }
                (asks.len() <= MOST_ASKS).then_some(())?;
            }
        }
        Some(asks)
    }

    /// The call that an address is taken for, if it is sure that it asks.
    fn ask(&self, region: &Region<'_>, taken: &Taken) -> Option<Ask> {
        let mut holder = taken.register;
        // Values, and whether they were there before the address.
        let mut constants: HashMap<u8, (u32, bool)> = HashMap::new();
        let before = constant_before(region.bytes, taken.start);
        constants.extend(before.map(|(register, value, _)| (register, (value, true))));
        let mut at = taken.end;
        for _ in 0..MOST_BETWEEN {
            let Some((between, len)) = between(region.bytes.get(at..)?) else { break };
            match between {
                // The address goes elsewhere, or is gone.
                Between::Sets(register, _) | Between::Fills(register) | Between::Reads(register)
                    if register == holder =>
                {
                    return None;
                }
                Between::Sets(register, value) => drop(constants.insert(register, (value, false))),
                Between::Fills(register) => drop(constants.remove(&register)),
                // What is not optimised goes through RAX, which does not outlive the call.
                Between::MovesRax(register) if holder == RAX => holder = register,
                Between::MovesRax(_) => return None,
                Between::Reads(_) | Between::Nothing => {}
            }
            at = at.checked_add(len)?;
        }
        let opener = self.opener(region, at)?;
        let (flags, is_before) = constants.get(&opener.flags)?;
        (holder == opener.name && flags & NOLOAD != 0).then_some(())?;
        let address = |at: usize| region.addr.0.checked_add(at as u64);
        let end = address(taken.start)?.checked_add(1)?;
        let landing = before.filter(|_| *is_before).and_then(|(.., behind)| Some(address(behind)?..end));
        (*is_before == landing.is_some()).then_some(Ask { target: taken.target, landing })
    }

    /// Who is called at `at`, or jumped to in place of a call and a return.
    fn opener(&self, region: &Region<'_>, at: usize) -> Option<Opener> {
        let code = region.bytes.get(at..)?;
        let unprefixed = code.strip_prefix(&[BND]).unwrap_or(code);
        let base = region.addr.0.checked_add((region.bytes.len() - unprefixed.len()) as u64)?;
        match unprefixed {
            [CALL | JUMP, distance @ ..] => {
                let stub =
                    base.checked_add(5)?.checked_add_signed(i32::from_le_bytes(*distance.first_chunk()?).into())?;
                self.slots.get(&self.slot_of_stub(stub)?)
            }
            // Through the slot itself.
            [0xff, 0x15 | 0x25, ..] => self.slots.get(&slot(unprefixed, base)?),
            _ => None,
        }
        .copied()
    }

    /// The slot that an entry of the procedure linkage table jumps through.
    fn slot_of_stub(&self, stub: u64) -> Option<u64> {
        let (at, region) = region_of(self.regions, stub)?;
        let mut code = region.bytes.get(at..)?;
        code = code.strip_prefix(&ENDBR64).unwrap_or(code);
        // mold keeps the entry's number in R11.
        code = match code {
            [0x41, 0xbb, _, _, _, _, rest @ ..] => rest,
            _ => code,
        };
        code = code.strip_prefix(&[BND]).unwrap_or(code);
        let base = region.addr.0.checked_add((region.bytes.len() - code.len()) as u64)?;
        matches!(code, [0xff, 0x25, ..]).then_some(())?;
        slot(code, base)
    }
}

pub(super) const CALL: u8 = 0xe8;
pub(super) const JUMP: u8 = 0xe9;
/// A prefix of MPX, which linkers went on writing.
const BND: u8 = 0xf2;
const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
/// ModRM for an address relative to the next instruction, whatever the register.
const RELATIVE: u8 = 0x05;
/// The most bytes that stand between the distance and the next instruction.
const LONGEST_CONSTANT: u64 = 4;
/// `mov register, constant`, and `xor` of a register with itself.
const CONSTANT_LEN: usize = 5;
const ZERO_LEN: usize = 2;

/// What the instruction with a distance at `at` does with an address in `watched`, if it refers to one.
fn relative(code: &[u8], at: usize, target: u64, watched: &[Range<u64>]) -> Use {
    let is_watched = |addr: u64| watched.iter().any(|range| range.contains(&addr));
    let front = code.get(at.saturating_sub(3)..at).unwrap_or_default();
    match *front {
        [.., modrm] if modrm & 0xc7 != RELATIVE => Use::None,
        [rex @ (0x48 | 0x4c), LEA, modrm] => {
            let register = modrm >> 3 & 7 | (rex & 4) << 1;
            let taken = Taken { target, register, start: at.saturating_sub(3), end: at.saturating_add(4) };
            if is_watched(target) { Use::Takes(taken) } else { Use::None }
        }
        _ => {
            let touches = [0, 1, 2, 4].iter().any(|constant| is_watched(target.wrapping_add(*constant)));
            if touches { Use::Other } else { Use::None }
        }
    }
}

/// What the instruction with an address at `at` does with it.
fn absolute(code: &[u8], at: usize, target: u64) -> Use {
    let front = code.get(at.saturating_sub(2)..at).unwrap_or_default();
    match *front {
        [before, opcode] if is_move(opcode) && before & 0xf0 != 0x40 => {
            let (start, end) = (at.saturating_sub(1), at.saturating_add(4));
            Use::Takes(Taken { target, register: opcode & 7, start, end })
        }
        _ => Use::Other,
    }
}

/// Whether `opcode` is that of `mov register, constant`.
fn is_move(opcode: u8) -> bool {
    opcode & 0xf8 == 0xb8
}

/// The instruction at the start of `code`, and its length, if it is one that compilers put between an address and its
/// call (Intel SDM, volume 2).
fn between(code: &[u8]) -> Option<(Between, usize)> {
    Some(match code {
        [opcode, value @ ..] if is_move(*opcode) => {
            (Between::Sets(opcode & 7, u32::from_le_bytes(*value.first_chunk()?)), CONSTANT_LEN)
        }
        [0x31 | 0x33, modrm, ..] if is_same(*modrm) => (Between::Sets(modrm & 7, 0), ZERO_LEN),
        // `mov rsi, rax` and `mov rdi, rax`.
        [0x48, 0x89, modrm @ (0xc6 | 0xc7), ..] => (Between::MovesRax(modrm & 7), 3),
        [rex @ (0x48 | 0x4c), LEA, modrm, ..] if modrm & 0xc7 == RELATIVE => {
            (Between::Fills(modrm >> 3 & 7 | (rex & 4) << 1), 7)
        }
        // `push`, and room on the stack.
        [opcode @ 0x50..=0x57, ..] => (Between::Reads(opcode & 7), 1),
        [0x41, opcode @ 0x50..=0x57, ..] => (Between::Reads(opcode & 7 | 8), 2),
        [0x48, 0x83, 0xec, ..] => (Between::Nothing, 4),
        // What guards the stack: `mov rax, fs:0x28`, and `mov [rsp + …], rax`.
        [0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0, ..] => (Between::Fills(RAX), 9),
        [0x48, 0x89, 0x44, 0x24, ..] => (Between::Reads(RAX), 5),
        _ => return None,
    })
}

/// The `mov register, constant` that ends at `end`, maybe with another register's `xor` behind it, and where it ends. With
/// `REX.B` it has another register; with `REX.W` it would not end.
fn constant_before(code: &[u8], end: usize) -> Option<(u8, u32, usize)> {
    let zero = code.get(end.checked_sub(ZERO_LEN)?..end)?;
    let zeroed = match *zero {
        [0x31 | 0x33, modrm] if is_same(modrm) => Some(modrm & 7),
        _ => None,
    };
    let end = if zeroed.is_some() { end.checked_sub(ZERO_LEN)? } else { end };
    let start = end.checked_sub(CONSTANT_LEN)?;
    let (opcode, value) = code.get(start..end)?.split_first()?;
    let before = start.checked_sub(1).and_then(|before| code.get(before));
    let has_other = before.is_some_and(|byte| byte & 0xf9 == 0x41);
    let is_ours = is_move(*opcode) && !has_other && zeroed != Some(opcode & 7);
    is_ours.then_some((opcode & 7, u32::from_le_bytes(*value.first_chunk()?), end))
}

/// Whether ModRM has the same register twice, as where `xor` clears it.
fn is_same(modrm: u8) -> bool {
    modrm >= 0xc0 && modrm >> 3 & 7 == modrm & 7
}

/// The slot of a `call` or `jmp` through memory at `base`, whose bytes start `code`.
fn slot(code: &[u8], base: u64) -> Option<u64> {
    let distance = i32::from_le_bytes(*code.get(2..)?.first_chunk()?);
    base.checked_add(6)?.checked_add_signed(distance.into())
}

/// The slots that the loader fills with the address of an opener (x86-64 psABI, "Relocation Types").
fn slots(image: &Image<'_>) -> HashMap<u64, Opener> {
    const ENTRY: usize = 24;
    let opener = |name: u64| {
        let name = image.string(name)?;
        OPENERS.iter().find(|(known, _)| *known == name).map(|(_, opener)| *opener)
    };
    let symbols = (0u64..).zip(image.symbol_names()).filter_map(|(index, name)| Some((index, opener(name)?)));
    let symbols: HashMap<u64, Opener> = symbols.collect();
    let tables = [(elf::DT_RELA, elf::DT_RELASZ), (elf::DT_JMPREL, elf::DT_PLTRELSZ)];
    let tables = tables.iter().filter_map(|(table, size)| {
        let range = image.file_range_of(Vaddr(image.dynamic.value(*table)?), image.dynamic.value(*size)?)?;
        image.bytes(&range)
    });
    let entries = tables.flat_map(|bytes| bytes.chunks_exact(ENTRY));
    let slots = entries.filter_map(|entry| {
        let (slot, info) = (word(entry)?, word(entry.get(8..)?)?);
        let kind = info & 0xffff_ffff;
        let is_slot = [elf::R_X86_64_GLOB_DAT, elf::R_X86_64_JUMP_SLOT].iter().any(|slot| u64::from(slot.0) == kind);
        is_slot.then_some((slot, *symbols.get(&(info >> 32))?))
    });
    slots.collect()
}

fn word(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::FileOffset;

    const DLOPEN: Opener = Opener { name: RDI, flags: RSI };

    /// What code at 0x1000 does with the name at 0x2000; the slot of `dlopen` is at 0x3000.
    fn asks(code: &[u8]) -> Option<Vec<Ask>> {
        let regions = [Region::of_code(code, FileOffset(0), Vaddr(0x1000))];
        let slots = HashMap::from([(0x3000, DLOPEN)]);
        let name = 0x2000..0x2007;
        Code { regions: &regions, slots, is_fixed: true }.asks(std::slice::from_ref(&name))
    }

    fn ask(landing: Option<Range<u64>>) -> Option<Vec<Ask>> {
        Some(vec![Ask { target: 0x2000, landing }])
    }

    #[test]
    fn a_call_with_noload_asks() {
        // lea rdi, [rip + …]; mov esi, 5; call [rip + …]
        let behind = b"\x48\x8d\x3d\xf9\x0f\0\0\xbe\x05\0\0\0\xff\x15\xee\x1f\0\0";
        assert_eq!(asks(behind), ask(None));
        // mov esi, 5; lea rdi, [rip + …]; jmp [rip + …]
        let before = b"\xbe\x05\0\0\0\x48\x8d\x3d\xf4\x0f\0\0\xff\x25\xee\x1f\0\0";
        assert_eq!(asks(before), ask(Some(0x1005..0x1006)));
        // mov esi, 5; mov edi, 0x2000; call the entry, endbr64; bnd jmp [rip + …]
        let fixed = b"\xbe\x05\0\0\0\xbf\0\x20\0\0\xe8\0\0\0\0\xf3\x0f\x1e\xfa\xf2\xff\x25\xe6\x1f\0\0";
        assert_eq!(asks(fixed), ask(Some(0x1005..0x1006)));
        assert_eq!(asks(b"\x90\x90\x90\x90\x90\x90"), Some(Vec::new()));
    }

    #[test]
    fn what_is_not_sure_to_ask_is_unclear() {
        for (code, what) in [
            (&b"\x48\x8d\x3d\xf9\x0f\0\0\xbe\x01\0\0\0\xff\x15\xee\x1f\0\0"[..], "flags without NOLOAD"),
            (b"\x48\x8d\x3d\xf9\x0f\0\0\xbe\x05\0\0\0\x31\xf6\xff\x15\xec\x1f\0\0", "flags that are cleared"),
            (b"\x48\x8d\x3d\xf9\x0f\0\0\xff\x15\xf3\x1f\0\0", "no flags"),
            (b"\x48\x8d\x3d\xf9\x0f\0\0\xbe\x05\0\0\0\xff\x15\xef\x1f\0\0", "another function"),
            (b"\x48\x8d\x3d\xf9\x0f\0\0\x57\xbe\x05\0\0\0\xff\x15\xed\x1f\0\0", "push rdi"),
            (b"\x48\x8d\x1d\xf9\x0f\0\0\xbe\x05\0\0\0\xff\x15\xee\x1f\0\0", "lea rbx"),
            (b"\x48\x8b\x3d\xf9\x0f\0\0\xbe\x05\0\0\0\xff\x15\xee\x1f\0\0", "mov rdi from there"),
            (b"\x41\xbe\x05\0\0\0\x48\x8d\x3d\xf3\x0f\0\0\xff\x15\xed\x1f\0\0", "mov r14d, 5"),
            (b"\x80\x3d\xf8\x0f\0\0\x6c", "cmp byte ptr, 'l'"),
            (b"\x68\0\x20\0\0", "push 0x2000"),
        ] {
            assert_eq!(asks(code), None, "{what}");
        }
    }
}
