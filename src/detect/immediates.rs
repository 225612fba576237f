//! A driver's SONAME built from constants in the code of x86: compilers copy a short string with `movabs` and `movl`
//! and keep it nowhere else.
//!
//! The first constant is the start of a name; the others are looked for near it, in any order and overlapping, as GCC
//! and clang leave them. (On AArch64 the same compilers load such strings from `.rodata`, whole.)

use object::elf;

use super::DriverNames;

/// Bytes before and behind the first constant where the others are looked for. GCC fetches the first one early and
/// may put a whole initialisation between: 167 bytes in one library.
const NEAR: usize = 512;

/// A constant of the code: bytes of a name, and how far it lies from the first one.
struct Piece<'code> {
    text: &'code [u8],
    distance: usize,
}

/// Whether a constant at `at` of `code` is the start of a driver's name.
pub(super) fn is_start(code: &[u8], at: usize, machine: elf::Machine, names: &DriverNames) -> bool {
    head(code, at, machine).is_some_and(|head| names.can_start_with(head) && is_immediate(code, at, head.len()))
}

/// The driver SONAME whose first constant lies at `at` of `code`, where [`is_start`] holds.
pub(super) fn built_name(code: &[u8], at: usize, machine: elf::Machine, names: &DriverNames) -> Option<Vec<u8>> {
    assemble(code, at, head(code, at, machine)?, names)
}

/// As many bytes as a constant of this machine has.
fn head(code: &[u8], at: usize, machine: elf::Machine) -> Option<&[u8]> {
    let word = match machine {
        elf::EM_X86_64 => 8,
        elf::EM_386 => 4,
        _ => return None,
    };
    code.get(at..at.checked_add(word)?)
}

/// Joins the constants near `at` to the head until a whole name is there.
fn assemble(code: &[u8], at: usize, head: &[u8], names: &DriverNames) -> Option<Vec<u8>> {
    let mut pieces = pieces_near(code, at, head.len());
    // Long pieces are no accident, and near ones belong together.
    pieces.sort_by_key(|piece| (std::cmp::Reverse(piece.text.len()), piece.distance));
    let mut name = head.to_vec();
    // With its version the name is whole; a digit more would be of another name.
    while !(name.last().is_some_and(u8::is_ascii_digit) && names.is_driver_soname(&name)) {
        let next = pieces.iter().enumerate().find_map(|(index, piece)| Some((index, join(&name, piece.text, names)?)));
        let Some((index, longer)) = next else { break };
        pieces.remove(index);
        name = longer;
    }
    names.is_driver_soname(&name).then_some(name)
}

/// `name` with `piece` behind it, overlapping as far as it can, if that can still become a driver's name.
fn join(name: &[u8], piece: &[u8], names: &DriverNames) -> Option<Vec<u8>> {
    let longest = piece.len().saturating_sub(1).min(name.len());
    (0..=longest).rev().find_map(|overlap| {
        let (shared, rest) = piece.split_at_checked(overlap)?;
        let joined = name.ends_with(shared).then(|| [name, rest].concat())?;
        names.can_start_with(&joined).then_some(joined)
    })
}

/// The constants around `at` that are text, up to a NUL.
fn pieces_near(code: &[u8], at: usize, head_len: usize) -> Vec<Piece<'_>> {
    let window = at.saturating_sub(NEAR)..at.saturating_add(head_len + NEAR).min(code.len());
    let immediates = window.filter_map(|opcode| Some((opcode, immediate_at(code, opcode)?)));
    immediates
        .filter_map(|(opcode, bytes)| {
            let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
            let (text, padding) = bytes.split_at_checked(len)?;
            let is_text = text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte));
            let whole = !text.is_empty() && is_text && padding.iter().all(|byte| *byte == 0);
            whole.then_some(Piece { text, distance: opcode.abs_diff(at) })
        })
        .collect()
}

const REX_W: [u8; 2] = [0x48, 0x49];
const OPERAND_SIZE: u8 = 0x66;
/// `MOV r, imm` is `B8 + r`.
const MOV_R_IMM: u8 = 0xb8;
const MOV_RM_IMM: u8 = 0xc7;
const MOV_RM8_IMM8: u8 = 0xc6;
const PUSH_IMM: u8 = 0x68;

/// The constant of the instruction that starts at `at`, if it is one that moves a constant.
fn immediate_at(code: &[u8], at: usize) -> Option<&[u8]> {
    let text = code.get(at..)?;
    let of_modrm = |opcode_len: usize, size: usize| {
        let start = opcode_len.checked_add(modrm_len(text.get(opcode_len..)?)?)?;
        text.get(start..start + size)
    };
    match text {
        [rex, opcode, ..] if REX_W.contains(rex) && opcode & 0xf8 == MOV_R_IMM => text.get(2..10),
        [OPERAND_SIZE, MOV_RM_IMM, ..] => of_modrm(2, 2),
        [OPERAND_SIZE, opcode, ..] if opcode & 0xf8 == MOV_R_IMM => text.get(2..4),
        [MOV_RM_IMM, ..] => of_modrm(1, 4),
        [MOV_RM8_IMM8, ..] => of_modrm(1, 1),
        [PUSH_IMM, ..] => text.get(1..5),
        [opcode, ..] if opcode & 0xf8 == MOV_R_IMM => text.get(1..5),
        _ => None,
    }
}

/// The length of ModRM, SIB and displacement (Intel SDM, volume 2, "Instruction Format"), for `/0`.
fn modrm_len(bytes: &[u8]) -> Option<usize> {
    let modrm = bytes.first()?;
    if modrm & 0x38 != 0 {
        return None;
    }
    let (mode, rm) = (modrm >> 6, modrm & 7);
    let sib = usize::from(mode != 3 && rm == 4);
    let base_is_disp32 = if sib == 1 { bytes.get(1)? & 7 == 5 } else { rm == 5 };
    let displacement = match mode {
        0 if base_is_disp32 => 4,
        1 => 1,
        2 => 4,
        _ => 0,
    };
    Some(1 + sib + displacement)
}

/// Whether the bytes at `at` are the constant of an instruction.
fn is_immediate(code: &[u8], at: usize, word: usize) -> bool {
    const LONGEST: usize = 9;
    let starts = at.saturating_sub(LONGEST)..at;
    starts.rev().any(|start| {
        immediate_at(code, start).is_some_and(|bytes| {
            bytes.len() == word && code.get(at..at + word).is_some_and(|at| std::ptr::eq(at, bytes))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(code: &[u8], machine: elf::Machine) -> Vec<(usize, String)> {
        let names = DriverNames::default();
        let starts = memchr::memmem::find_iter(code, b"lib").filter(|at| is_start(code, *at, machine, &names));
        starts
            .filter_map(|at| Some((at, built_name(code, at, machine, &names)?)))
            .map(|(at, name)| (at, String::from_utf8(name).expect("ASCII")))
            .collect()
    }

    fn code(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn a_name_in_two_constants_is_found() {
        // movabs $"libcuda.",%rax; mov %rax,0x10(%rsp); movl $"so.1",0x18(%rsp)
        let gcc = code(&[b"\x90\x48\xb8libcuda.", b"\x48\x89\x44\x24\x10", b"\xc7\x44\x24\x18so.1", b"\xc3"]);
        assert_eq!(built(&gcc, elf::EM_X86_64), [(3, "libcuda.so.1".to_owned())]);
    }

    #[test]
    fn overlapping_constants_are_joined() {
        // movabs $"libcuda.",%rax; movl $".so\0",0x7(%rdi)
        let clang = code(&[b"\x48\xb8libcuda.", b"\x48\x89\x07", b"\xc7\x47\x07.so\0"]);
        assert_eq!(built(&clang, elf::EM_X86_64), [(2, "libcuda.so".to_owned())]);
    }

    #[test]
    fn a_name_in_three_constants_of_a_family_is_found() {
        let gcc = code(&[b"\x48\xb8libnvidi", b"\x48\xbaa-ml.so.", b"\x66\xc7\x44\x24\x101\0"]);
        assert_eq!(built(&gcc, elf::EM_X86_64), [(2, "libnvidia-ml.so.1".to_owned())]);
    }

    #[test]
    fn constants_that_i386_code_stores_from_the_end_are_joined() {
        let clang = code(&[b"\xc7\x44\x24\x10so.1", b"\xc7\x44\x24\x0cuda.", b"\xc7\x44\x24\x08libc"]);
        assert_eq!(built(&clang, elf::EM_386), [(20, "libcuda.so.1".to_owned())]);
    }

    #[test]
    fn constants_far_apart_in_one_function_are_joined() {
        let far = code(&[b"\x48\xb8libcuda.", &[0x90; 400], b"\xc7\x44\x24\x48so.1"]);
        assert_eq!(built(&far, elf::EM_X86_64), [(2, "libcuda.so.1".to_owned())]);
        let in_another = code(&[b"\x48\xb8libcuda.", &[0x90; 600], b"\xc7\x44\x24\x48so.1"]);
        assert_eq!(built(&in_another, elf::EM_X86_64), []);
    }

    #[test]
    fn other_names_and_bytes_that_are_no_constants_are_not() {
        for other in [
            &code(&[b"\x48\xb8libcudar", b"\xc7\x47\x08t.so"])[..],
            &code(&[b"\x48\xb8libcuda.", b"\xc7\x47\x08conf"]),
            &code(&[b"\x00\x00libcuda.", b"\xc7\x47\x08so.1"]),
            b"\x48\xb8libcuda.",
            b"libcuda.",
            b"",
        ] {
            assert_eq!(built(other, elf::EM_X86_64), []);
        }
        assert_eq!(built(b"\xb8libc\xb8.so.\xb86\0\0\0", elf::EM_386), []);
    }

    #[test]
    fn other_machines_have_no_such_constants() {
        assert_eq!(built(b"\x48\xb8libcuda.\xc7\x47\x08so.1", elf::EM_AARCH64), []);
    }
}
