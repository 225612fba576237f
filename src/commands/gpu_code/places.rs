//! Where an ELF file has code for GPUs.

use std::ops::Range;

use object::elf;

use super::{GpuCode, Kind, Linkage, cubin, fatbin, plain, wrappers};
use crate::elf::{FileOffset, Headers, Malformed, Section};

/// The section of fat binaries that the CUDA runtime is given (nvcc, clang).
const REGISTERED: &[u8] = b".nv_fatbin";

/// Others that consist of fat binaries, or of bundles for HIP, and what their code is for.
const CHAINS: [(&[u8], Linkage); 2] =
    [(b"__nv_relfatbin", Linkage::Relocatable), (b".hip_fatbin", Linkage::Executable)];

/// Kernels of cuBLASLt and cuDNN: fat binaries among other things, that the library itself loads.
const RESOURCES: &[u8] = b".cask_resource";

/// What clang calls sections with code for one target of an offload bundle, such as SYCL's; `.llvm.offloading` is that
/// of its newer driver.
const OTHER_SECTIONS: [&[u8]; 2] = [b"__CLANG_OFFLOAD_BUNDLE__", b".llvm.offloading"];

/// Bytes of data that are searched, at most. See `detect::regions`.
const LIMIT: u64 = 1 << 31;

/// Reads an ELF file.
///
/// # Errors
/// [`Malformed`] where its tables cannot be read.
pub(super) fn elf(bytes: &[u8], found: &mut GpuCode) -> Result<(), Malformed> {
    let headers = Headers::read(bytes)?;
    let linkage = if headers.file_type == elf::ET_REL { Linkage::Relocatable } else { Linkage::Executable };
    let size = bytes.len() as u64;
    match headers.machine {
        elf::EM_CUDA => {
            let kind = cubin::cubin(bytes, Some(&headers));
            let unknown = || Kind::Other("cubin of an unknown ABI".into());
            found.add_unit(linkage, vec![(kind.unwrap_or_else(unknown), size)]);
        }
        elf::EM_AMDGPU => found.add_unit(linkage, vec![(cubin::amd(bytes, &headers), size)]),
        _ => host(bytes, &headers, found),
    }
    Ok(())
}

/// What is done with a section.
enum Use {
    Registered,
    Chain(Linkage),
    Search,
    Name,
}

fn use_of(name: &[u8], section: &Section) -> Option<Use> {
    if name == REGISTERED {
        return Some(Use::Registered);
    }
    if let Some((_, linkage)) = CHAINS.iter().find(|(chain, _)| *chain == name) {
        return Some(Use::Chain(*linkage));
    }
    if name == RESOURCES {
        return Some(Use::Search);
    }
    let is_other = OTHER_SECTIONS.iter().any(|other| name.starts_with(other));
    (is_other && section.kind == elf::SHT_PROGBITS).then_some(Use::Name)
}

/// An ELF file for the host.
fn host(bytes: &[u8], headers: &Headers, found: &mut GpuCode) {
    let mut sections: Vec<(Range<u64>, &[u8], Use)> = Vec::new();
    for section in headers.sections.iter() {
        let name = headers.section_name(bytes, section);
        let range = section.file_range().map(|range| range.start.0..range.end.0);
        sections.extend(range.and_then(|range| Some((range, name, use_of(name, section)?))));
    }
    sections.sort_by_key(|(range, ..)| range.start);
    // Each byte once, whatever the headers say.
    let mut done = 0u64;
    sections.retain(|(range, ..)| {
        let is_new = range.start >= done;
        done = done.max(range.end);
        is_new
    });
    let pointers = wrappers::pointers(bytes, headers);
    let linkage = |offset: u64| match &pointers {
        Some(pointers) if !pointers.contains(&offset) => Linkage::Unregistered,
        _ => Linkage::Executable,
    };
    for (range, name, purpose) in &sections {
        let contents = slice(bytes, range).unwrap_or_default();
        let place = String::from_utf8_lossy(name);
        match purpose {
            Use::Registered => plain::chain(contents, range.start, linkage, &place, found),
            Use::Chain(linkage) => plain::chain(contents, range.start, |_| *linkage, &place, found),
            Use::Search => plain::search(contents, Linkage::Resource, found),
            Use::Name => {
                let kind = Kind::Other(format!("section {place}"));
                found.add_unit(Linkage::Executable, vec![(kind, contents.len() as u64)]);
            }
        }
    }
    let read: Vec<Range<u64>> = sections.into_iter().map(|(range, ..)| range).collect();
    for &offset in pointers.iter().flatten() {
        // One fat binary, as long as it says.
        let Some(size) = fatbin_size(bytes, offset).filter(|_| !read.iter().any(|range| range.contains(&offset)))
        else {
            continue;
        };
        let contents = slice(bytes, &(offset..offset.saturating_add(size))).unwrap_or_default();
        plain::chain(contents, offset, |_| Linkage::Executable, "what .nvFatBinSegment points to", found);
    }
    if found.units.is_empty() {
        search_data(bytes, headers, found);
    }
}

/// The size of the fat binary at `offset`, as its header has it, at most up to the end of the file.
fn fatbin_size(bytes: &[u8], offset: u64) -> Option<u64> {
    let header = bytes.get(usize::try_from(offset).ok()?..)?;
    let size = u64::from(fatbin::u16_at(header, 6)?).checked_add(fatbin::u64_at(header, 8)?)?;
    Some(size.min(header.len() as u64))
}

/// Searches what is loaded, but for code of the host; without usable section headers all that is loaded.
fn search_data(bytes: &[u8], headers: &Headers, found: &mut GpuCode) {
    let sections = headers.sections.iter().filter(|section| {
        let is_data = section.kind == elf::SHT_PROGBITS && section.flags.0 & elf::SHF_EXECINSTR.0 == 0;
        is_data && section.is_alloc() && !headers.section_name(bytes, section).starts_with(b".eh_frame")
    });
    let mut ranges: Vec<Range<FileOffset>> = sections.filter_map(Section::file_range).collect();
    if headers.sections.is_empty() {
        ranges = headers.loads().map(|(_, load)| load.file_range()).collect();
    }
    ranges.sort_by_key(|range| range.start);
    // Each byte once, whatever the headers say.
    let (mut done, mut left) = (0u64, LIMIT);
    for range in ranges {
        let (start, end) = (range.start.0.max(done), range.end.0.min(bytes.len() as u64));
        done = done.max(end);
        let end = end.min(start.saturating_add(left));
        let Some(data) = slice(bytes, &(start..end)).filter(|data| !data.is_empty()) else { continue };
        left = left.saturating_sub(data.len() as u64);
        plain::search(data, Linkage::Resource, found);
    }
}

pub(super) fn slice<'data>(bytes: &'data [u8], range: &Range<u64>) -> Option<&'data [u8]> {
    bytes.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}
