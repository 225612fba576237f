//! Which ELF files can take a search path at all, and a word for each of those that cannot.

use std::fmt;

use object::elf;

use super::image::{DynamicTable, Headers};

/// Why a file is never given a search path.
///
/// ```
/// use driver_runpath::elf::{Image, NotCandidate, ParseError};
///
/// let error = Image::parse(b"#!/bin/sh").unwrap_err();
/// assert_eq!(error, ParseError::NotCandidate(NotCandidate::NotElf));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "cli", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum NotCandidate {
    /// No ELF magic.
    NotElf,
    /// `ET_REL`: an object file.
    Relocatable,
    /// `ET_CORE`.
    Core,
    /// Neither `ET_EXEC` nor `ET_DYN`.
    OtherType,
    /// No `PT_DYNAMIC`.
    Static,
    /// A static-PIE executable: it relocates itself, and glibc asserts that it has no `DT_RUNPATH`.
    StaticPie,
    /// The dynamic loader itself, likewise.
    DynamicLoader,
    /// A separate debug file: its `.dynamic` has no bytes.
    DebugFile,
    /// Code for a GPU or for the kernel's BPF machine.
    DeviceCode,
    /// Another system's ABI (`EI_OSABI`).
    ForeignOsAbi,
}

impl fmt::Display for NotCandidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotElf => "not an ELF file",
            Self::Relocatable => "a relocatable object file",
            Self::Core => "a core file",
            Self::OtherType => "neither an executable nor a shared object",
            Self::Static => "a static executable, nothing loads libraries for it",
            Self::StaticPie => "a static-PIE executable, it relocates itself and must not have a DT_RUNPATH",
            Self::DynamicLoader => "the dynamic loader itself, it must not have a DT_RUNPATH",
            Self::DebugFile => "a separate debug file, its .dynamic has no bytes",
            Self::DeviceCode => "code for a GPU or BPF, not for ld.so",
            Self::ForeignOsAbi => "a file of another operating system's ABI",
        })
    }
}

/// Code that no ld.so loads: CUDA, AMD GPU, BPF (their `e_machine` values).
const DEVICE_MACHINES: [elf::Machine; 3] = [elf::EM_CUDA, elf::EM_AMDGPU, elf::EM_BPF];

/// ABIs of systems with glibc, musl or bionic. `ELFOSABI_ARM` is what old 32-bit Arm toolchains wrote.
const LINUX_OSABIS: [elf::OsAbi; 3] = [elf::ELFOSABI_SYSV, elf::ELFOSABI_GNU, elf::ELFOSABI_ARM];

/// What the header tables alone rule out, before `.dynamic` is looked at.
pub(super) fn ruled_out_by_headers(headers: &Headers) -> Option<NotCandidate> {
    let foreign = || {
        if DEVICE_MACHINES.contains(&headers.machine) {
            return Some(NotCandidate::DeviceCode);
        }
        (!LINUX_OSABIS.contains(&headers.os_abi)).then_some(NotCandidate::ForeignOsAbi)
    };
    wrong_type(headers).or_else(foreign).or_else(|| no_dynamic_table(headers))
}

/// What has no dynamic table to read, whoever the file is for.
pub(super) fn unreadable(headers: &Headers) -> Option<NotCandidate> {
    wrong_type(headers).or_else(|| no_dynamic_table(headers))
}

fn wrong_type(headers: &Headers) -> Option<NotCandidate> {
    match headers.file_type {
        elf::ET_EXEC | elf::ET_DYN => None,
        elf::ET_REL => Some(NotCandidate::Relocatable),
        elf::ET_CORE => Some(NotCandidate::Core),
        _ => Some(NotCandidate::OtherType),
    }
}

fn no_dynamic_table(headers: &Headers) -> Option<NotCandidate> {
    let Some(dynamic) = headers.segments.iter().find(|segment| segment.kind == elf::PT_DYNAMIC) else {
        return Some(NotCandidate::Static);
    };
    // `objcopy --only-keep-debug` and `eu-strip -f` keep the headers and make the loaded sections NOBITS.
    let at_dynamic = |section: &&super::Section| section.addr == dynamic.vaddr && section.size == dynamic.memsz;
    let hollow = headers.sections.iter().filter(at_dynamic).any(|section| section.kind == elf::SHT_NOBITS)
        && !headers.sections.iter().filter(at_dynamic).any(|section| section.kind == elf::SHT_DYNAMIC);
    (dynamic.filesz == 0 || hollow).then_some(NotCandidate::DebugFile)
}

/// What `.dynamic` rules out: objects that relocate themselves.
pub(super) fn ruled_out_by_dynamic(
    headers: &Headers,
    dynamic: &DynamicTable,
    soname: Option<&[u8]>,
) -> Option<NotCandidate> {
    if soname.is_some_and(is_loader_soname) {
        return Some(NotCandidate::DynamicLoader);
    }
    let has_interp = headers.segments.iter().any(|segment| segment.kind == elf::PT_INTERP);
    let is_pie = dynamic.value(elf::DT_FLAGS_1).is_some_and(|flags| flags & elf::DF_1_PIE.0 != 0)
        || dynamic.value(elf::DT_DEBUG).is_some();
    (headers.file_type == elf::ET_DYN && !has_interp && is_pie && soname.is_none()).then_some(NotCandidate::StaticPie)
}

/// SONAMEs of the loaders of glibc and musl on all architectures.
fn is_loader_soname(name: &[u8]) -> bool {
    [&b"ld-linux"[..], b"ld64.so", b"ld-musl-"].iter().any(|prefix| name.starts_with(prefix)) || name == b"ld.so.1"
}

#[cfg(test)]
mod tests {
    use super::is_loader_soname;

    #[test]
    fn loaders_are_known_by_soname() {
        for name in ["ld-linux-x86-64.so.2", "ld-linux.so.2", "ld64.so.2", "ld.so.1", "ld-musl-x86_64.so.1"] {
            assert!(is_loader_soname(name.as_bytes()), "{name}");
        }
        for name in ["libld-linux.so", "ld.so.10", "libc.so.6", ""] {
            assert!(!is_loader_soname(name.as_bytes()), "{name}");
        }
    }
}
