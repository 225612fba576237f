//! `ld.so.cache`, which ldconfig writes: the paths of libraries by SONAME.

use object::Endianness;
use object::elf;

use super::Target;

/// A cache in one of the formats of glibc (sysdeps/generic/dl-cache.h): the old one, the new one, or the new one behind
/// the old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    bytes: Vec<u8>,
    endian: Endianness,
    format: Format,
    /// Where the entries start, and how many there are.
    entries: (usize, usize),
    /// What the offsets of strings count from.
    strings: usize,
    /// Offsets, from the start of the file, of the names of glibc-hwcaps directories.
    hwcaps: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// `struct file_entry`.
    Old,
    /// `struct file_entry_new`.
    New,
}

/// Which entries a loader takes.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'a> {
    /// For whom.
    pub target: &'a Target,
    /// The active subdirectories of glibc-hwcaps, the best first, as in `glibc-hwcaps/x86-64-v3/`.
    pub subdirs: &'a [Vec<u8>],
    /// The level of an x86-64 processor.
    pub level: u8,
    /// Whether the loader knows legacy hardware capabilities (before glibc 2.37), and which of their bits this
    /// processor has.
    pub legacy: Option<u64>,
}

const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
const NEW_MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;
const NEW_HEADER: usize = 48;
const NEW_ENTRY: usize = 24;
/// `cache_extension_magic`.
const EXTENSION_MAGIC: u32 = 0xeaa4_2174;
/// `cache_extension_tag_glibc_hwcaps`.
const EXTENSION_HWCAPS: u32 = 1;

struct Entry {
    flags: u32,
    key: u32,
    value: u32,
    hwcap: u64,
}

impl Cache {
    /// Reads the headers of a cache that was written for `endian` (glibc, elf/dl-cache.c, `_dl_load_cache_lookup`).
    ///
    /// # Errors
    /// Why the loader ignores the file.
    pub fn parse(bytes: Vec<u8>, endian: Endianness) -> Result<Self, &'static str> {
        let cache = Self { bytes, endian, format: Format::Old, entries: (0, 0), strings: 0, hwcaps: Vec::new() };
        if cache.bytes.starts_with(NEW_MAGIC) {
            return cache.with_new_format(0);
        }
        if !cache.bytes.starts_with(OLD_MAGIC) {
            return Err("not a cache of ld.so");
        }
        let count = cache.index(OLD_HEADER - 4).ok_or("truncated")?;
        let end = count.checked_mul(OLD_ENTRY).and_then(|size| size.checked_add(OLD_HEADER));
        let end = end.filter(|end| *end <= cache.bytes.len()).ok_or("truncated")?;
        // The new format stands at the start of the old one's strings, aligned for its 64-bit fields.
        let new = end.next_multiple_of(8);
        if cache.bytes.get(new..).is_some_and(|rest| rest.starts_with(NEW_MAGIC) && rest.len() >= NEW_HEADER) {
            return cache.with_new_format(new);
        }
        Ok(Self { entries: (OLD_HEADER, count), strings: end, ..cache })
    }

    fn with_new_format(self, start: usize) -> Result<Self, &'static str> {
        let entries = start.checked_add(NEW_HEADER).ok_or("truncated")?;
        let room = self.bytes.len().checked_sub(entries).ok_or("truncated")? / NEW_ENTRY;
        // `cache_file_new_matches_endian`: 0 is an old ldconfig that did not say.
        let written_for = self.bytes.get(start + 28).copied().unwrap_or_default();
        let expected = if matches!(self.endian, Endianness::Big) { 3 } else { 2 };
        if written_for != 0 && written_for & 3 != expected {
            return Err("written for the other byte order");
        }
        let count = self.index(start + 20).filter(|count| *count <= room).ok_or("truncated")?;
        let hwcaps = self.hwcaps(start).unwrap_or_default();
        Ok(Self { format: Format::New, entries: (entries, count), strings: start, hwcaps, ..self })
    }

    /// The extension with the names of glibc-hwcaps directories (`cache_extension_load`).
    fn hwcaps(&self, start: usize) -> Option<Vec<u32>> {
        let directory = self.index(start + 32).filter(|at| *at != 0 && at % 4 == 0)?;
        if self.word(directory)? != EXTENSION_MAGIC {
            return None;
        }
        let count = self.index(directory.checked_add(4)?)?;
        let table = directory.checked_add(8)?;
        let size = count.checked_mul(16)?;
        let sections = self.bytes.get(table..table.checked_add(size)?)?.len() / 16;
        let places = (0..sections).map(|number| {
            let at = table + number * 16;
            Some((self.word(at)?, self.index(at + 8)?, self.index(at + 12)?))
        });
        let places: Vec<_> = places.collect::<Option<_>>()?;
        let (_, offset, size) = places.into_iter().rfind(|(tag, ..)| *tag == EXTENSION_HWCAPS)?;
        let names = self.bytes.get(offset..offset.checked_add(size)?)?.len() / 4;
        (0..names).map(|number| self.word(offset + number * 4)).collect()
    }

    /// The path that the loader takes from the cache for `name` (`search_cache`).
    pub fn lookup(&self, name: &[u8], wanted: &Selection<'_>) -> Option<&[u8]> {
        let flags = Flags::of(wanted.target);
        let mut best: Option<&[u8]> = None;
        let mut best_priority = usize::MAX;
        let (start, count) = self.entries;
        let entries = (0..count).filter_map(|number| self.entry(start, number));
        for entry in entries.filter(|entry| self.string(entry.key).is_some_and(|key| same_library(key, name))) {
            let Some(path) = self.string(entry.value) else { continue };
            if !flags.take(entry.flags) {
                continue;
            }
            let named = self.format == Format::New && is_named(entry.hwcap);
            if self.format == Format::New {
                if named && !is_level_met(entry.hwcap, wanted) {
                    continue;
                }
                // Entries of glibc-hwcaps directories come before all others.
                if !named && best.is_some() {
                    break;
                }
                if !named && !is_legacy_met(entry.hwcap, wanted.legacy) {
                    continue;
                }
                if named {
                    let Some(priority) = self.priority(entry.hwcap, wanted.subdirs) else { continue };
                    if priority >= best_priority {
                        continue;
                    }
                    best_priority = priority;
                }
            }
            best = Some(path);
            if !named && flags.is_default(entry.flags) {
                break;
            }
        }
        best
    }

    fn entry(&self, start: usize, number: usize) -> Option<Entry> {
        let size = if self.format == Format::New { NEW_ENTRY } else { OLD_ENTRY };
        let at = start.checked_add(number.checked_mul(size)?)?;
        let hwcap = match self.format {
            Format::Old => 0,
            Format::New => {
                let (first, second) = (u64::from(self.word(at + 16)?), u64::from(self.word(at + 20)?));
                if matches!(self.endian, Endianness::Big) { first << 32 | second } else { second << 32 | first }
            }
        };
        Some(Entry { flags: self.word(at)?, key: self.word(at + 4)?, value: self.word(at + 8)?, hwcap })
    }

    /// The place of the entry's directory among the active ones.
    fn priority(&self, hwcap: u64, subdirs: &[Vec<u8>]) -> Option<usize> {
        let index = usize::try_from(hwcap & 0xffff_ffff).ok()?;
        let name = string_from(&self.bytes, usize::try_from(*self.hwcaps.get(index)?).ok()?)?;
        subdirs.iter().position(|subdir| {
            subdir.strip_prefix(b"glibc-hwcaps/").and_then(|subdir| subdir.strip_suffix(b"/")) == Some(name)
        })
    }

    fn string(&self, at: u32) -> Option<&[u8]> {
        string_from(self.bytes.get(self.strings..)?, usize::try_from(at).ok()?)
    }

    fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if matches!(self.endian, Endianness::Big) { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn index(&self, at: usize) -> Option<usize> {
        usize::try_from(self.word(at)?).ok()
    }
}

/// A path is at most `PATH_MAX`; an unterminated string must not be measured for every entry.
const LONGEST: usize = 4096;

fn string_from(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    let rest = rest.get(..LONGEST).unwrap_or(rest);
    rest.get(..memchr::memchr(0, rest)?)
}

/// `DL_CACHE_HWCAP_EXTENSION`, beside the ISA level in bits 32 to 41: the low half is an index into the names.
fn is_named(hwcap: u64) -> bool {
    hwcap >> 32 & !0x3ff == 1 << 30
}

/// `dl_cache_hwcap_isa_level_compatible` (sysdeps/x86/dl-isa-level.h); other machines take any level.
fn is_level_met(hwcap: u64, wanted: &Selection<'_>) -> bool {
    wanted.target.machine != elf::EM_X86_64 || (hwcap >> 32 & 0x3ff) < u64::from(wanted.level)
}

/// Since 2.37 entries with legacy capabilities are passed over; before, those that the processor lacks.
fn is_legacy_met(hwcap: u64, legacy: Option<u64>) -> bool {
    hwcap & !legacy.unwrap_or(0) == 0
}

/// Which `flags` an architecture's loader takes (`_dl_cache_check_flags` and `_DL_CACHE_DEFAULT_ID` in the dl-cache.h of
/// each architecture, the values in sysdeps/generic/ldconfig.h).
struct Flags {
    taken: &'static [u32],
    default: u32,
}

impl Flags {
    fn of(target: &Target) -> Self {
        let is_64 = target.class == elf::ELFCLASS64;
        let one = |default, taken| Self { taken, default };
        match target.machine {
            elf::EM_X86_64 if is_64 => one(0x303, &[0x303]),
            elf::EM_X86_64 => one(0x803, &[0x803]),
            elf::EM_AARCH64 if is_64 => one(0xa03, &[0xa03]),
            elf::EM_PPC64 => one(0x503, &[0x503]),
            elf::EM_S390 if is_64 => one(0x403, &[0x403]),
            // The float ABI is not told apart here; the header of the hit has the last word.
            elf::EM_ARM => one(0x903, &[0x903, 0xb03, 3]),
            elf::EM_RISCV => one(0x1003, &[0x1003, 0xf03]),
            elf::EM_LOONGARCH => one(0x1203, &[0x1203, 0x1103]),
            elf::EM_MIPS => one(3, &[3, 0x603, 0x703, 0xc03, 0xd03, 0xe03]),
            _ => one(3, &[1, 3]),
        }
    }

    fn take(&self, flags: u32) -> bool {
        self.taken.contains(&flags)
    }

    fn is_default(&self, flags: u32) -> bool {
        flags == self.default
    }
}

/// Numbers in names are compared by value: `libx.so.01` is `libx.so.1` (`_dl_cache_libcmp`).
fn same_library(mut a: &[u8], mut b: &[u8]) -> bool {
    loop {
        match (a.split_first(), b.split_first()) {
            (None, None) => return true,
            (Some((first, _)), Some((second, _))) if first.is_ascii_digit() && second.is_ascii_digit() => {
                let ((left, a_rest), (right, b_rest)) = (number(a), number(b));
                if left != right {
                    return false;
                }
                (a, b) = (a_rest, b_rest);
            }
            (Some((first, a_rest)), Some((second, b_rest))) if first == second => (a, b) = (a_rest, b_rest),
            _ => return false,
        }
    }
}

/// The number at the start, without leading zeros, and what follows.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(end).unwrap_or((text, b""));
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    (digits.get(zeros..).unwrap_or_default(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const X86_64: Target = Target { class: elf::ELFCLASS64, data: elf::ELFDATA2LSB, machine: elf::EM_X86_64 };
    const NAMED: u64 = 1 << 62;

    /// A cache in the new format; an entry is flags, name, path and capabilities. `before` is put in front of it.
    fn new_format(before: &[u8], entries: &[(u32, &str, &str, u64)], hwcaps: &[&str]) -> Vec<u8> {
        let mut strings = Vec::new();
        let table = NEW_HEADER + entries.len() * NEW_ENTRY;
        let mut intern = |text: &str| {
            let at = table + strings.len();
            strings.extend_from_slice(text.as_bytes());
            strings.push(0);
            at as u32
        };
        let rows: Vec<_> =
            entries.iter().map(|(flags, key, value, cap)| (*flags, intern(key), intern(value), *cap)).collect();
        let names: Vec<u32> = hwcaps.iter().map(|name| before.len() as u32 + intern(name)).collect();
        strings.resize(strings.len().next_multiple_of(4), 0);
        let extension = before.len() + table + strings.len();
        let mut bytes = NEW_MAGIC.to_vec();
        let header = [rows.len() as u32, strings.len() as u32, 2, extension as u32, 0, 0, 0];
        bytes.extend(header.into_iter().flat_map(u32::to_le_bytes));
        for (flags, key, value, cap) in rows {
            bytes.extend([flags, key, value, 0].into_iter().flat_map(u32::to_le_bytes));
            bytes.extend(cap.to_le_bytes());
        }
        bytes.extend(strings);
        let directory = [EXTENSION_MAGIC, 1, EXTENSION_HWCAPS, 0, extension as u32 + 24, names.len() as u32 * 4];
        bytes.extend(directory.into_iter().chain(names).flat_map(u32::to_le_bytes));
        [before, &bytes].concat()
    }

    fn old_format(entries: &[(u32, &str, &str)]) -> Vec<u8> {
        let mut strings = Vec::new();
        let mut bytes = [OLD_MAGIC, b"\0", &(entries.len() as u32).to_le_bytes()].concat();
        for (flags, key, value) in entries {
            let key_at = strings.len() as u32;
            strings.extend([key.as_bytes(), b"\0"].concat());
            let value_at = strings.len() as u32;
            strings.extend([value.as_bytes(), b"\0"].concat());
            bytes.extend([*flags, key_at, value_at].into_iter().flat_map(u32::to_le_bytes));
        }
        bytes.extend(strings);
        bytes
    }

    fn lookup(bytes: Vec<u8>, name: &str, level: u8, legacy: Option<u64>) -> Option<String> {
        let cache = Cache::parse(bytes, Endianness::Little).expect("a cache");
        let subdirs: Vec<Vec<u8>> = (2..=level).rev().map(|v| format!("glibc-hwcaps/x86-64-v{v}/").into()).collect();
        let wanted = Selection { target: &X86_64, subdirs: &subdirs, level, legacy };
        Some(String::from_utf8(cache.lookup(name.as_bytes(), &wanted)?.to_vec()).expect("ASCII"))
    }

    #[test]
    fn a_library_is_found_in_each_format() {
        let old = old_format(&[(0x303, "liba.so.1", "/old/liba.so.1"), (3, "liba.so.1", "/lib32/liba.so.1")]);
        assert_eq!(lookup(old, "liba.so.1", 1, None).as_deref(), Some("/old/liba.so.1"));
        let entries = [(3, "liba.so.1", "/lib32/liba.so.1", 0), (0x303, "liba.so.1", "/new/liba.so.1", 0)];
        assert_eq!(lookup(new_format(b"", &entries, &[]), "liba.so.1", 1, None).as_deref(), Some("/new/liba.so.1"));
        // The new format takes the place of the old one's strings.
        let before = old_format(&[]);
        assert_eq!(before.len() % 8, 0);
        assert_eq!(lookup(new_format(&before, &entries, &[]), "liba.so.1", 1, None).as_deref(), Some("/new/liba.so.1"));
        assert_eq!(lookup(new_format(b"", &entries, &[]), "libb.so.1", 1, None), None);
    }

    #[test]
    fn the_best_hwcaps_directory_that_the_processor_has_wins() {
        let v2 = (0x303, "liba.so.1", "/v2/liba.so.1", NAMED | 1 << 32);
        let v3 = (0x303, "liba.so.1", "/v3/liba.so.1", NAMED | 2 << 32 | 1);
        let plain = (0x303, "liba.so.1", "/plain/liba.so.1", 0);
        for entries in [[v2, v3, plain], [v3, v2, plain]] {
            let cache = new_format(b"", &entries, &["x86-64-v2", "x86-64-v3"]);
            for (level, path) in [(1, "/plain"), (2, "/v2"), (3, "/v3"), (4, "/v3")] {
                assert_eq!(
                    lookup(cache.clone(), "liba.so.1", level, None),
                    Some(format!("{path}/liba.so.1")),
                    "{level}"
                );
            }
        }
    }

    #[test]
    fn a_library_that_needs_more_than_its_directory_says_is_left() {
        let entries =
            [(0x303, "liba.so.1", "/v2/liba.so.1", NAMED | 3 << 32), (0x303, "liba.so.1", "/plain/liba.so.1", 0)];
        let cache = new_format(b"", &entries, &["x86-64-v2"]);
        assert_eq!(lookup(cache.clone(), "liba.so.1", 3, None).as_deref(), Some("/plain/liba.so.1"));
        assert_eq!(lookup(cache, "liba.so.1", 4, None).as_deref(), Some("/v2/liba.so.1"));
    }

    #[test]
    fn legacy_capabilities_count_for_old_loaders_alone() {
        let entries = [(0x303, "liba.so.1", "/tls/liba.so.1", 1 << 63), (0x303, "liba.so.1", "/plain/liba.so.1", 0)];
        let cache = new_format(b"", &entries, &[]);
        assert_eq!(lookup(cache.clone(), "liba.so.1", 1, None).as_deref(), Some("/plain/liba.so.1"));
        assert_eq!(lookup(cache.clone(), "liba.so.1", 1, Some(1 << 63)).as_deref(), Some("/tls/liba.so.1"));
        assert_eq!(lookup(cache, "liba.so.1", 1, Some(1 << 1)).as_deref(), Some("/plain/liba.so.1"));
    }

    #[test]
    fn numbers_in_names_are_compared_by_value() {
        for (a, b, same) in [
            ("libx.so.1", "libx.so.01", true),
            ("libx.so.1", "libx.so.10", false),
            ("libx1y2", "libx01y002", true),
            ("libx.so", "libx.so.1", false),
            ("libx.so.a", "libx.so.1", false),
        ] {
            assert_eq!(same_library(a.as_bytes(), b.as_bytes()), same, "{a} {b}");
        }
    }

    #[test]
    fn every_damage_of_a_cache_is_harmless() {
        let entries = [(0x303, "liba.so.1", "/v2/liba.so.1", NAMED | 1 << 32), (0x303, "libb.so.1", "/b", 0)];
        let cases = [new_format(b"", &entries, &["x86-64-v2"]), new_format(&old_format(&[]), &entries, &["x86-64-v2"])];
        for whole in cases {
            for at in 0..whole.len() {
                for value in [0, 1, 0x7f, 0xff] {
                    let mut bytes = whole.clone();
                    bytes[at] = value;
                    for bytes in [bytes, whole[..at].to_vec()] {
                        if let Ok(cache) = Cache::parse(bytes, Endianness::Little) {
                            let subdirs = [b"glibc-hwcaps/x86-64-v2/".to_vec()];
                            let wanted = Selection { target: &X86_64, subdirs: &subdirs, level: 2, legacy: None };
                            cache.lookup(b"liba.so.1", &wanted);
                            cache.lookup(b"libb.so.1", &wanted);
                        }
                    }
                }
            }
        }
        assert_eq!(Cache::parse(b"something else".to_vec(), Endianness::Little), Err("not a cache of ld.so"));
        let mut other = new_format(b"", &entries, &[]);
        other[28] = 3;
        assert_eq!(Cache::parse(other, Endianness::Little), Err("written for the other byte order"));
    }
}
