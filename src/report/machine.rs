//! Words for the numbers of the ELF header.

use object::elf;

use crate::loader::Header;

/// The class in bits.
pub(super) fn bits(header: &Header) -> Option<u8> {
    match header.target.class {
        elf::ELFCLASS32 => Some(32),
        elf::ELFCLASS64 => Some(64),
        _ => None,
    }
}

/// The byte order.
pub(super) fn byte_order(header: &Header) -> &'static str {
    if header.target.data == elf::ELFDATA2MSB { "big-endian" } else { "little-endian" }
}

/// The architecture, by its number where it is a rare one.
pub(super) fn machine(header: &Header) -> String {
    let name = match header.target.machine {
        elf::EM_X86_64 => "x86-64",
        elf::EM_386 => "x86",
        elf::EM_AARCH64 => "AArch64",
        elf::EM_ARM => "Arm",
        elf::EM_PPC => "PowerPC",
        elf::EM_PPC64 => "PowerPC 64",
        elf::EM_RISCV => "RISC-V",
        elf::EM_S390 => "S/390",
        elf::EM_MIPS => "MIPS",
        elf::EM_LOONGARCH => "LoongArch",
        elf::EM_CUDA => "NVIDIA CUDA",
        elf::EM_AMDGPU => "AMD GPU",
        elf::EM_BPF => "BPF",
        elf::Machine(other) => return format!("machine {other}"),
    };
    name.to_owned()
}

/// `e_type`.
pub(super) fn file_type(header: &Header) -> String {
    let name = match header.file_type {
        elf::ET_REL => "relocatable",
        elf::ET_EXEC => "fixed-position executable",
        elf::ET_DYN => "shared object",
        elf::ET_CORE => "core file",
        elf::FileType(other) => return format!("type {other}"),
    };
    name.to_owned()
}
