//! The one place that knows about 32-bit and 64-bit ELF and about byte order.

use std::mem::{offset_of, size_of};

use object::Endianness;
use object::elf::{
    Dyn32, Dyn64, FileHeader32, FileHeader64, ProgramHeader32, ProgramHeader64, SectionHeader32, SectionHeader64,
    Sym32, Sym64,
};
use object::read::elf::FileHeader;

/// Where a field lies in its struct, and how many bytes it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Bytes from the start of the struct.
    pub at: u64,
    /// Bytes of the field: 2, 4 or 8.
    pub size: u8,
}

/// Sizes of the ELF structs of one class and the fields that an editor changes.
#[derive(Debug)]
#[allow(missing_docs)] // the names are the specification's
#[non_exhaustive]
pub struct Layout {
    pub word: u8,
    pub ehdr_size: u64,
    pub e_shoff: Field,
    pub e_phnum: Field,
    pub e_shnum: Field,
    pub phdr_size: u64,
    pub p_type: Field,
    pub p_flags: Field,
    pub p_offset: Field,
    pub p_vaddr: Field,
    pub p_paddr: Field,
    pub p_filesz: Field,
    pub p_memsz: Field,
    pub p_align: Field,
    pub shdr_size: u64,
    pub sh_name: Field,
    pub sh_type: Field,
    pub sh_flags: Field,
    pub sh_addr: Field,
    pub sh_offset: Field,
    pub sh_size: Field,
    pub sh_addralign: Field,
    pub dyn_size: u64,
    pub d_tag: Field,
    pub d_val: Field,
    pub sym_size: u64,
    pub st_name: Field,
    pub st_info: Field,
    pub st_shndx: Field,
    pub st_value: Field,
}

macro_rules! layout {
    ($word:literal, $ehdr:ty, $phdr:ty, $shdr:ty, $dyn:ty, $sym:ty) => {
        Layout {
            word: $word,
            ehdr_size: size_of::<$ehdr>() as u64,
            e_shoff: Field { at: offset_of!($ehdr, e_shoff) as u64, size: $word },
            e_phnum: Field { at: offset_of!($ehdr, e_phnum) as u64, size: 2 },
            e_shnum: Field { at: offset_of!($ehdr, e_shnum) as u64, size: 2 },
            phdr_size: size_of::<$phdr>() as u64,
            p_type: Field { at: offset_of!($phdr, p_type) as u64, size: 4 },
            p_flags: Field { at: offset_of!($phdr, p_flags) as u64, size: 4 },
            p_offset: Field { at: offset_of!($phdr, p_offset) as u64, size: $word },
            p_vaddr: Field { at: offset_of!($phdr, p_vaddr) as u64, size: $word },
            p_paddr: Field { at: offset_of!($phdr, p_paddr) as u64, size: $word },
            p_filesz: Field { at: offset_of!($phdr, p_filesz) as u64, size: $word },
            p_memsz: Field { at: offset_of!($phdr, p_memsz) as u64, size: $word },
            p_align: Field { at: offset_of!($phdr, p_align) as u64, size: $word },
            shdr_size: size_of::<$shdr>() as u64,
            sh_name: Field { at: offset_of!($shdr, sh_name) as u64, size: 4 },
            sh_type: Field { at: offset_of!($shdr, sh_type) as u64, size: 4 },
            sh_flags: Field { at: offset_of!($shdr, sh_flags) as u64, size: $word },
            sh_addr: Field { at: offset_of!($shdr, sh_addr) as u64, size: $word },
            sh_offset: Field { at: offset_of!($shdr, sh_offset) as u64, size: $word },
            sh_size: Field { at: offset_of!($shdr, sh_size) as u64, size: $word },
            sh_addralign: Field { at: offset_of!($shdr, sh_addralign) as u64, size: $word },
            dyn_size: size_of::<$dyn>() as u64,
            d_tag: Field { at: offset_of!($dyn, d_tag) as u64, size: $word },
            d_val: Field { at: offset_of!($dyn, d_val) as u64, size: $word },
            sym_size: size_of::<$sym>() as u64,
            st_name: Field { at: offset_of!($sym, st_name) as u64, size: 4 },
            st_info: Field { at: offset_of!($sym, st_info) as u64, size: 1 },
            st_shndx: Field { at: offset_of!($sym, st_shndx) as u64, size: 2 },
            st_value: Field { at: offset_of!($sym, st_value) as u64, size: $word },
        }
    };
}

/// One class of ELF file in either byte order: `object`'s header trait plus our table of field places.
pub trait Class: FileHeader<Endian = Endianness> {
    /// The places of this class' fields.
    const LAYOUT: Layout;
}

type E = Endianness;

impl Class for FileHeader32<E> {
    const LAYOUT: Layout = layout!(4, FileHeader32<E>, ProgramHeader32<E>, SectionHeader32<E>, Dyn32<E>, Sym32<E>);
}

impl Class for FileHeader64<E> {
    const LAYOUT: Layout = layout!(8, FileHeader64<E>, ProgramHeader64<E>, SectionHeader64<E>, Dyn64<E>, Sym64<E>);
}

/// Layout and byte order of one file: reads and makes the bytes of single fields.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Encoding {
    /// Field places of the file's class.
    pub layout: &'static Layout,
    /// The file's byte order.
    pub endian: Endianness,
}

impl Encoding {
    /// The bytes of `value` in a field of `size` bytes; `None` if it does not fit.
    pub fn bytes(&self, value: u64, size: u8) -> Option<Vec<u8>> {
        let size = usize::from(size);
        let little = value.to_le_bytes();
        let (low, high) = little.split_at_checked(size)?;
        if high.iter().any(|&byte| byte != 0) {
            return None;
        }
        let mut bytes = low.to_vec();
        if matches!(self.endian, Endianness::Big) {
            bytes.reverse();
        }
        Some(bytes)
    }

    /// The value of the field of 1, 2, 4 or 8 bytes at the start of `bytes`; `None` if they are too few.
    pub fn value(&self, bytes: &[u8], size: u8) -> Option<u64> {
        // Asked for every symbol of a table: no loop over the bytes.
        let big = matches!(self.endian, Endianness::Big);
        Some(match size {
            1 => u64::from(*bytes.first()?),
            2 => u64::from(
                bytes.first_chunk().map(|&all| if big { u16::from_be_bytes(all) } else { u16::from_le_bytes(all) })?,
            ),
            4 => u64::from(
                bytes.first_chunk().map(|&all| if big { u32::from_be_bytes(all) } else { u32::from_le_bytes(all) })?,
            ),
            8 => bytes.first_chunk().map(|&all| if big { u64::from_be_bytes(all) } else { u64::from_le_bytes(all) })?,
            _ => return None,
        })
    }

    /// A tag or another signed word as the unsigned number that the field holds.
    pub fn word(&self, value: i64) -> u64 {
        let bits = value as u64;
        if self.layout.word == 4 { bits & 0xffff_ffff } else { bits }
    }
}
