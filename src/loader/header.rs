//! What the loader asks of a file's ELF header before it takes it, or passes on to the next directory.

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::FileHeader;
use object::{Endianness, pod};

/// The files that one loader loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// `EI_CLASS`.
    pub class: elf::FileClass,
    /// `EI_DATA`.
    pub data: elf::DataEncoding,
    /// `e_machine`.
    pub machine: elf::Machine,
}

impl Target {
    /// The byte order.
    pub fn endian(&self) -> Endianness {
        if self.data == elf::ELFDATA2MSB { Endianness::Big } else { Endianness::Little }
    }
}

/// What the first bytes of an ELF file say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Who loads it.
    pub target: Target,
    /// `e_type`.
    pub file_type: elf::FileType,
}

/// Whether the loader takes a file that it opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It does.
    Loads,
    /// 32-bit instead of 64-bit or the other way round: the search goes on.
    OtherClass,
    /// For another machine: the search goes on.
    OtherMachine,
    /// The search ends with this error.
    Fatal(&'static str),
}

impl Header {
    /// Reads the header of an ELF file (gABI, "ELF Header"). `None` where the bytes are too few, or name no class or
    /// byte order.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        Some(Fields::read(bytes)?.header)
    }
}

/// The fields that the loader looks at.
struct Fields {
    ident: elf::Ident,
    header: Header,
    version: u32,
    entry_size: u16,
}

impl Fields {
    fn read(bytes: &[u8]) -> Option<Self> {
        if !bytes.starts_with(&elf::ELFMAG) {
            return None;
        }
        match elf::FileClass(*bytes.get(4)?) {
            elf::ELFCLASS32 => Self::of::<FileHeader32<Endianness>>(bytes),
            elf::ELFCLASS64 => Self::of::<FileHeader64<Endianness>>(bytes),
            _ => None,
        }
    }

    fn of<H: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Option<Self> {
        let header = pod::from_bytes::<H>(bytes).ok()?.0;
        let ident = *header.e_ident();
        let endian = match ident.data {
            elf::ELFDATA2LSB => Endianness::Little,
            elf::ELFDATA2MSB => Endianness::Big,
            _ => return None,
        };
        let target = Target { class: ident.class, data: ident.data, machine: header.e_machine(endian) };
        Some(Self {
            ident,
            header: Header { target, file_type: header.e_type(endian) },
            version: header.e_version(endian),
            entry_size: header.e_phentsize(endian),
        })
    }
}

impl Target {
    /// What the loader for this target makes of a file that starts with `bytes`, in the order of its questions (glibc,
    /// elf/dl-load.c, `open_verify`). Debian's passes over files of the other byte order that are for another machine.
    pub fn judge(&self, bytes: &[u8]) -> Fit {
        let (size, entry_size) = if self.class == elf::ELFCLASS64 { (64, 56) } else { (52, 32) };
        if bytes.len() < size {
            return Fit::Fatal("file too short");
        }
        if !bytes.starts_with(&elf::ELFMAG) {
            return Fit::Fatal("invalid ELF header");
        }
        if bytes.get(4) != Some(&self.class.0) {
            return Fit::OtherClass;
        }
        if bytes.get(5) != Some(&self.data.0) {
            return Fit::Fatal("ELF file data encoding is of the other byte order");
        }
        let Some(Fields { ident, header, version, entry_size: found_size }) = Fields::read(bytes) else {
            return Fit::Fatal("invalid ELF header");
        };
        let is_arm_abi = self.machine == elf::EM_ARM && ident.os_abi == elf::ELFOSABI_ARM;
        if ident.version != elf::EV_CURRENT {
            Fit::Fatal("ELF file version ident does not match current one")
        } else if ident.os_abi != elf::ELFOSABI_SYSV && ident.os_abi != elf::ELFOSABI_GNU && !is_arm_abi {
            Fit::Fatal("ELF file OS ABI invalid")
        } else if ident.os_abi == elf::ELFOSABI_SYSV && ident.abi_version != 0 {
            Fit::Fatal("ELF file ABI version invalid")
        } else if ident.padding != [0; 7] {
            Fit::Fatal("nonzero padding in e_ident")
        } else if version != u32::from(elf::EV_CURRENT.0) {
            Fit::Fatal("ELF file version does not match current one")
        } else if header.target.machine != self.machine {
            Fit::OtherMachine
        } else if header.file_type != elf::ET_DYN && header.file_type != elf::ET_EXEC {
            Fit::Fatal("only ET_DYN and ET_EXEC can be loaded")
        } else if found_size != entry_size {
            Fit::Fatal("ELF file's phentsize not the expected size")
        } else {
            Fit::Loads
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X86_64: Target = Target { class: elf::ELFCLASS64, data: elf::ELFDATA2LSB, machine: elf::EM_X86_64 };

    fn header(changes: &[(usize, u8)]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        let ident = [(0, 0x7f), (1, b'E'), (2, b'L'), (3, b'F'), (4, 2), (5, 1), (6, 1)];
        let rest = [(16, 3), (18, 62), (20, 1), (54, 56)];
        for (at, byte) in ident.iter().chain(&rest).chain(changes) {
            bytes[*at] = *byte;
        }
        bytes
    }

    #[test]
    fn other_classes_and_machines_are_passed_over_and_damage_is_fatal() {
        for (changes, fit) in [
            (&[][..], Fit::Loads),
            (&[(7, 3)], Fit::Loads),
            (&[(4, 1), (18, 3)], Fit::OtherClass),
            (&[(18, 183)], Fit::OtherMachine),
            (&[(0, b'#')], Fit::Fatal("invalid ELF header")),
            (&[(5, 2)], Fit::Fatal("ELF file data encoding is of the other byte order")),
            (&[(6, 0)], Fit::Fatal("ELF file version ident does not match current one")),
            (&[(7, 9)], Fit::Fatal("ELF file OS ABI invalid")),
            (&[(8, 1)], Fit::Fatal("ELF file ABI version invalid")),
            (&[(20, 2)], Fit::Fatal("ELF file version does not match current one")),
            (&[(54, 3)], Fit::Fatal("ELF file's phentsize not the expected size")),
            (&[(12, 1)], Fit::Fatal("nonzero padding in e_ident")),
            (&[(16, 1)], Fit::Fatal("only ET_DYN and ET_EXEC can be loaded")),
        ] {
            assert_eq!(X86_64.judge(&header(changes)), fit, "{changes:?}");
        }
        assert_eq!(X86_64.judge(b"\x7fELF"), Fit::Fatal("file too short"));
    }
}
