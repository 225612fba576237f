//! A driver's SONAME built from constants in the code of x86: compilers copy a short string with `movabs` and `movl`
//! and keep it nowhere else.
//!
//! The first constant is the start of a name, or a directory and the start behind its slash; the others are looked for
//! near it, in any order and overlapping, as GCC and clang leave them. (On AArch64 the same compilers load such strings
//! from `.rodata`, whole.) What is too long for a few of them goes through vector registers: [`super::vectors`].

use std::ops::Range;

use object::elf;

use super::DriverNames;

/// Bytes before and behind the first constant where the others are looked for. GCC fetches the first one early and
/// may put a whole initialisation between: 167 bytes in one library.
const NEAR: usize = 512;

/// A constant of the code: bytes of a name, and how far it lies from the first one.
pub(super) struct Piece<'code> {
    pub(super) text: &'code [u8],
    pub(super) distance: usize,
}

/// Where constants are cut, a name can have its `lib` in two of them: what it has behind.
pub(super) const TAILS: [&[u8]; 2] = [b"bcuda.s", b"bnvidia"];

/// The start of a driver's name at `at` of `code`, as far as the constant goes that it lies in. Directories may stand
/// in front of it. Where `at` is that of one of [`TAILS`], what lies in front is in another constant.
pub(super) fn start<'code>(
    code: &'code [u8],
    at: usize,
    machine: elf::Machine,
    names: &DriverNames,
) -> Option<Start<'code>> {
    let word = match machine {
        elf::EM_X86_64 => 8,
        elf::EM_386 => 4,
        _ => return None,
    };
    // How much of the name lies before `at`.
    let is_tail = code.get(at..)?.first() == Some(&b'b');
    let first = at.saturating_sub(word - 1)..=at;
    let mut heads = first.rev().filter_map(|first| {
        let text = code.get(first..first.checked_add(word)?)?;
        let front = text.get(..at - first)?;
        let (missing, from) = match (is_tail, front) {
            (false, [] | [.., b'/']) => (&b""[..], at),
            (true, []) => (&b"li"[..], at),
            (true, [b'i']) => (&b"l"[..], first),
            _ => return None,
        };
        let head = [missing, code.get(from..first + word)?].concat();
        let text = head.split(|byte| *byte == 0).next().unwrap_or_default();
        let is_start = names.can_start_with(text) && is_immediate(code, first, word);
        is_start.then(|| Start { at: first, head: text.to_vec(), missing })
    });
    heads.next()
}

/// The constant that has the start of a name.
pub(super) struct Start<'code> {
    /// Where it lies in the code.
    at: usize,
    /// The start of the name.
    head: Vec<u8>,
    /// What of it another constant has, at its end and behind a slash.
    missing: &'code [u8],
}

/// The driver SONAME that begins with `start`.
pub(super) fn built_name(code: &[u8], start: Start<'_>, names: &DriverNames) -> Option<Vec<u8>> {
    let pieces = pieces_near(code, start.at, WORD);
    let ends_so = |piece: &Piece<'_>| piece.text.strip_suffix(start.missing).is_some_and(|front| front.ends_with(b"/"));
    (start.missing.is_empty() || pieces.iter().any(ends_so)).then_some(())?;
    assemble(start.head, pieces, names)
}

/// Joins constants to the head until a whole name is there: the one of the fewest constants, of those the longest and
/// nearest. A family's names can have any member, so that what is near for another reason joins as well.
pub(super) fn assemble(head: Vec<u8>, mut pieces: Vec<Piece<'_>>, names: &DriverNames) -> Option<Vec<u8>> {
    /// Names are of at most 32 bytes, the least constants of four.
    const MOST_PIECES: usize = 8;
    const MOST_NAMES: usize = 32;
    // With its version the name is whole; a digit more would be of another name.
    let is_whole = |name: &[u8]| name.last().is_some_and(u8::is_ascii_digit) && names.is_driver_soname(name);
    pieces.sort_by_key(|piece| (std::cmp::Reverse(piece.text.len()), piece.distance));
    let (mut level, mut without_version) = (vec![head], None);
    for _ in 0..=MOST_PIECES {
        if let Some(whole) = level.iter().find(|name| is_whole(name)) {
            return Some(whole.clone());
        }
        without_version = without_version.or_else(|| level.iter().find(|name| names.is_driver_soname(name)).cloned());
        let mut next: Vec<Vec<u8>> = Vec::new();
        for name in level.iter().flat_map(|name| longer(name, &pieces, names)) {
            if next.len() < MOST_NAMES && !next.contains(&name) {
                next.push(name);
            }
        }
        level = next;
    }
    without_version
}

/// `name` with each of the pieces that can follow. What shares some bytes with its end does follow.
fn longer(name: &[u8], pieces: &[Piece<'_>], names: &DriverNames) -> Vec<Vec<u8>> {
    const SHARED: usize = 3;
    let joined: Vec<(usize, Vec<u8>)> = pieces.iter().filter_map(|piece| join(name, piece.text, names)).collect();
    let is_sure = joined.iter().any(|(overlap, _)| *overlap >= SHARED);
    joined.into_iter().filter(|(overlap, _)| !is_sure || *overlap >= SHARED).map(|(_, longer)| longer).collect()
}

/// `name` with `piece` behind it, overlapping as far as it can, if that can still become a driver's name; and by how
/// many bytes they overlap.
fn join(name: &[u8], piece: &[u8], names: &DriverNames) -> Option<(usize, Vec<u8>)> {
    /// What a name has of so many bytes is no accident: it is the constant that it begins with, or overlaps with.
    const LONG: usize = 4;
    if piece.len() >= LONG && memchr::memmem::find(name, piece).is_some() {
        return None;
    }
    let longest = piece.len().saturating_sub(1).min(name.len());
    (0..=longest).rev().find_map(|overlap| {
        let (shared, rest) = piece.split_at_checked(overlap)?;
        let joined = name.ends_with(shared).then(|| [name, rest].concat())?;
        names.can_start_with(&joined).then_some((overlap, joined))
    })
}

/// The code around `at`, which takes `len` bytes.
pub(super) fn near(code: &[u8], at: usize, len: usize) -> Range<usize> {
    at.saturating_sub(NEAR)..at.saturating_add(len.saturating_add(NEAR)).min(code.len())
}

/// The constants around `at` that are text, up to a NUL.
pub(super) fn pieces_near(code: &[u8], at: usize, len: usize) -> Vec<Piece<'_>> {
    let immediates = near(code, at, len).filter_map(|opcode| Some((opcode, immediate_at(code, opcode)?)));
    immediates
        .filter_map(|(opcode, bytes)| Some(Piece { text: text_of(bytes)?, distance: opcode.abs_diff(at) }))
        .collect()
}

/// The text that a constant is, without the zeros behind it.
pub(super) fn text_of(bytes: &[u8]) -> Option<&[u8]> {
    let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (text, padding) = bytes.split_at_checked(len)?;
    let is_text = text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(byte));
    (!text.is_empty() && is_text && padding.iter().all(|byte| *byte == 0)).then_some(text)
}

/// Bytes of the largest constant.
const WORD: usize = 8;

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
        let candidates = [&b"lib"[..]].into_iter().chain(TAILS);
        let places = candidates.flat_map(|needle| memchr::memmem::find_iter(code, needle));
        let starts = places.filter_map(|at| Some((at, start(code, at, machine, &names)?)));
        let built = starts.filter_map(|(at, start)| Some((at, built_name(code, start, &names)?)));
        built.map(|(at, name)| (at, String::from_utf8(name).expect("ASCII"))).collect()
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
    fn a_name_behind_a_directory_is_found_wherever_it_is_cut() {
        // As GCC does at -O1 with any directory: words of 8 bytes, and a last one that overlaps.
        for len in 1..24 {
            let path = format!("/{:x<len$}/libcuda.so.1\0", "");
            let (whole, last) = (path.len() / 8 * 8, &path.as_bytes()[path.len() - 8..]);
            let words = path.as_bytes()[..whole].chunks(8).chain([last]);
            let gcc: Vec<u8> = words.flat_map(|word| [b"\x48\xb8", word, b"\x48\x89\x44\x24\x10"].concat()).collect();
            let found: Vec<String> = built(&gcc, elf::EM_X86_64).into_iter().map(|(_, name)| name).collect();
            assert!(found.iter().any(|name| name == "libcuda.so.1"), "{path}: {found:?}");
        }
        // Without the slash it is another name.
        let other = code(&[b"\x48\xb8/opt/wyl", b"\x48\xbaibcuda.s", b"\xc7\x47\x10o.1\0"]);
        assert_eq!(built(&other, elf::EM_X86_64), []);
        let other = code(&[b"\x48\xb8/opt/xli", b"\x48\xbabcuda.so", b"\x66\xc7\x47\x10.1"]);
        assert_eq!(built(&other, elf::EM_X86_64), []);
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
