//! The dynamic string table.

use std::ops::Range;

use object::elf;

use super::Malformed;
use super::image::{DynamicTable, Headers};
use super::space::{FileOffset, Vaddr};

/// The table that `DT_STRTAB` and `DT_STRSZ` name.
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// let at = image.dynamic.value(driver_runpath::object::elf::DT_NEEDED).ok_or("nothing is needed")?;
/// assert_eq!(image.strings.get(image.data, at), Some(&b"libc.so.6"[..]));
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StringTable {
    /// Its bytes in the file.
    pub range: Range<FileOffset>,
    /// Its address.
    pub addr: Vaddr,
    /// Its section header, where one has the same address and size.
    pub section: Option<usize>,
}

impl StringTable {
    /// Follows `DT_STRTAB` through the segments; the section header comes second, loaders do not read it.
    pub(super) fn find(headers: &Headers, dynamic: &DynamicTable) -> Result<Self, Malformed> {
        let addr = dynamic.value(elf::DT_STRTAB).ok_or(Malformed::NoStrings)?;
        let size = dynamic.value(elf::DT_STRSZ).ok_or(Malformed::NoStringsSize)?;
        let addr = Vaddr(addr);
        let range = headers.file_range_of(addr, size).ok_or(Malformed::StringsOutside)?;
        let section = headers.sections.iter().position(|section| {
            section.kind == elf::SHT_STRTAB && section.addr == addr && section.file_range().as_ref() == Some(&range)
        });
        Ok(Self { range, addr, section })
    }

    /// The table's size in bytes.
    pub fn len(&self) -> u64 {
        self.range.end.0 - self.range.start.0
    }

    /// Whether the table has no bytes.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The table's bytes.
    pub fn bytes<'data>(&self, data: &'data [u8]) -> &'data [u8] {
        let bounds = usize::try_from(self.range.start.0).ok().zip(usize::try_from(self.range.end.0).ok());
        bounds.and_then(|(start, end)| data.get(start..end)).unwrap_or_default()
    }

    /// The string at `offset`.
    pub fn get<'data>(&self, data: &'data [u8], offset: u64) -> Option<&'data [u8]> {
        string_at(self.bytes(data), offset)
    }
}

/// The NUL-terminated string at `offset` of `table`, without its NUL; `None` where the table ends first.
///
/// ```
/// use driver_runpath::elf::string_at;
///
/// assert_eq!(string_at(b"\0libc.so.6\0", 1), Some(&b"libc.so.6"[..]));
/// assert_eq!(string_at(b"no end", 0), None);
/// ```
pub fn string_at(table: &[u8], offset: u64) -> Option<&[u8]> {
    let tail = table.get(usize::try_from(offset).ok()?..)?;
    tail.get(..memchr::memchr(0, tail)?)
}
