//! Code objects for GPUs, which are ELF files themselves: cubins and AMD's.

use object::elf;

use super::{Capability, Kind, Scope};
use crate::elf::{Headers, Section};

/// `EI_OSABI` of cubins, by the version of their ABI (LLVM, llvm/BinaryFormat/ELF.h: `ELFOSABI_CUDA`, `ELFOSABI_CUDA_V2`).
pub(super) const OSABI_OLD: u8 = 0x33;
pub(super) const OSABI: u8 = 0x41;

/// Where `e_flags` lies in a 64-bit ELF header.
const E_FLAGS: usize = 48;

/// A cubin, by the header of its ELF file.
///
/// The old ABI has the architecture in the low byte of `e_flags` and the `a` of `sm_90a` in 0x800, the new one in the
/// byte above and in 0x8 (LLVM: `EF_CUDA_SM`, `EF_CUDA_ACCELERATORS`). ptxas 13 has the `a` in `.nv.compat` instead. An
/// `f` is nowhere but in the compiler's arguments: cuobjdump does not tell it either.
pub(super) fn cubin(bytes: &[u8], headers: Option<&Headers>) -> Option<Kind> {
    const EXACT_OLD: u32 = 0x800;
    const EXACT: u32 = 0x8;
    let flags = super::fatbin::u32_at(bytes, E_FLAGS)?;
    let (number, exact) = match *bytes.get(7)? {
        OSABI_OLD => (flags & 0xff, flags & EXACT_OLD != 0),
        OSABI => (flags >> 8 & 0xff, flags & EXACT != 0),
        _ => return None,
    };
    let compat = headers.and_then(|headers| section(headers, bytes, b".nv.compat"));
    let exact = exact || compat.is_some_and(is_exact);
    let scope = if exact { Scope::Exact } else { Scope::Portable };
    (number > 0).then(|| Kind::Cubin(Capability::of_number(number, scope)))
}

/// Whether `.nv.compat` says that the code is for one GPU alone: attribute 9 has the value 1.
///
/// It is a list as `.nv.info` is: a format, an attribute, and by the format nothing, a byte, two bytes, or a size of two
/// bytes and as many bytes; each in whole words.
fn is_exact(mut attributes: &[u8]) -> bool {
    const SIZED: u8 = 4;
    const EXACT: u8 = 9;
    while let Some((&[format, attribute, low, high], rest)) = attributes.split_first_chunk() {
        if (attribute, low) == (EXACT, 1) && format != SIZED {
            return true;
        }
        let sized = if format == SIZED { usize::from(u16::from_le_bytes([low, high])) } else { 0 };
        attributes = rest.get(sized.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

/// AMD's code object: its note has the name of its target, in the metadata (LLVM, AMDGPUUsage, "Code Object Metadata":
/// `amdhsa.target`).
pub(super) fn amd(bytes: &[u8], headers: &Headers) -> Kind {
    const TARGET: &[u8] = b"amdgcn-amd-amdhsa--";
    let notes = headers.segments.iter().filter(|segment| segment.kind == elf::PT_NOTE).map(|note| note.file_range());
    let named = notes.filter_map(|range| {
        let note = bytes.get(usize::try_from(range.start.0).ok()?..usize::try_from(range.end.0).ok()?)?;
        let name = note.get(memchr::memmem::find(note, TARGET)?.checked_add(TARGET.len())?..)?;
        super::bundle::target(name)
    });
    let unnamed = || Kind::Other("AMD code object without the name of its target".into());
    named.into_iter().next().map_or_else(unnamed, Kind::Amd)
}

/// The bytes of the first section of this name.
pub(super) fn section<'data>(headers: &Headers, bytes: &'data [u8], name: &[u8]) -> Option<&'data [u8]> {
    let named = |section: &&Section| headers.section_name(bytes, section) == name;
    let range = headers.sections.iter().find(named)?.file_range()?;
    bytes.get(usize::try_from(range.start.0).ok()?..usize::try_from(range.end.0).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(os_abi: u8, flags: u32) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..8].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, os_abi]);
        bytes[E_FLAGS..E_FLAGS + 4].copy_from_slice(&flags.to_le_bytes());
        bytes
    }

    // The flags of ptxas 11.8, 12.9 and 13.5.
    #[test]
    fn the_flags_of_both_abis_are_read() {
        for (os_abi, flags, shown) in [
            (OSABI_OLD, 0x32_0532, "5.0"),
            (OSABI_OLD, 0x5a_055a, "9.0"),
            (OSABI_OLD, 0x5a_0d5a, "9.0a"),
            (OSABI, 0x600_6402, "10.0"),
            (OSABI, 0x600_640a, "10.0a"),
            (OSABI, 0x600_4b04, "7.5"),
            (OSABI, 0x600_7802, "12.0"),
        ] {
            let kind = cubin(&header(os_abi, flags), None);
            assert_eq!(kind, Some(Kind::Cubin(shown.parse().expect("a capability"))), "{flags:#x}");
        }
        assert_eq!(cubin(&header(0, 0x5a_055a), None), None);
        assert_eq!(cubin(&header(OSABI, 0), None), None);
        assert_eq!(cubin(&[0x7f, b'E'], None), None);
    }

    // As ptxas 13.5 writes it for sm_100a and sm_100.
    #[test]
    fn the_compatibility_list_tells_what_is_for_one_gpu_alone() {
        let exact = b"\x02\x09\x01\0\x02\x0c\0\0\x02\x02\x01\0\x03\x0d\x01\x01\x04\x0b\x08\0\x09\0\0\0\0\0\0\0";
        let portable = b"\x02\x09\0\0\x02\x0c\0\0\x04\x0b\x08\0\x09\x01\0\0\x02\x09\x01\0\x03\x0e\x40\x04";
        assert!(is_exact(exact));
        // What looks like the attribute is contents of another one.
        assert!(!is_exact(portable));
        assert!(!is_exact(b""));
        assert!(!is_exact(b"\x04\x0b\xff\xff"));
    }
}
