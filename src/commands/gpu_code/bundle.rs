//! Bundles of code objects that clang makes for AMD's GPUs, in `.hip_fatbin` and as files.
//!
//! LLVM documents the format ("Clang Offload Bundler", "Bundled Code Object Layout"): the magic string, a u64 number of
//! entries, and of each entry u64 offset, u64 size, u64 length of its name, and the name:
//! `hipv4-amdgcn-amd-amdhsa--gfx90a:xnack-`.

use super::fatbin::{u16_at, u32_at, u64_at};
use super::{Entries, Kind};

/// The first bytes of a bundle.
pub(super) const MAGIC: &[u8] = b"__CLANG_OFFLOAD_BUNDLE__";

/// Those of a compressed one.
pub(super) const COMPRESSED_MAGIC: &[u8] = b"CCOB";

/// Bytes of an entry's name.
const LONGEST_NAME: usize = 256;

/// Entries of a bundle: there are about a hundred targets.
const MOST_ENTRIES: u64 = 1024;

/// The entries of the bundle at the start of `bytes`, without those of the host; and the bytes that it takes.
///
/// # Errors
/// Why there is none.
pub(super) fn read(bytes: &[u8]) -> Result<(Entries, usize), &'static str> {
    let count = u64_at(bytes, MAGIC.len()).filter(|_| bytes.starts_with(MAGIC)).ok_or("no offload bundle")?;
    if count > MOST_ENTRIES {
        return Err("an offload bundle with more entries than there are targets");
    }
    let mut at = MAGIC.len().saturating_add(8);
    let (mut entries, mut end) = (Vec::new(), at);
    for _ in 0..count {
        let entry = bytes.get(at..).unwrap_or_default();
        let fields = (|| Some((u64_at(entry, 0)?, u64_at(entry, 8)?, u64_at(entry, 16)?)))();
        let (offset, size, len) = fields.ok_or("an offload bundle with fewer entries than it says")?;
        let len = usize::try_from(len).ok().filter(|len| *len <= LONGEST_NAME);
        let name = len.and_then(|len| entry.get(24..)?.get(..len)).ok_or("an offload bundle that ends in a name")?;
        let object = offset.checked_add(size).and_then(|end| usize::try_from(end).ok());
        let object =
            object.filter(|end| *end <= bytes.len()).ok_or("an offload bundle that ends behind its section")?;
        at = at.saturating_add(24).saturating_add(name.len());
        end = end.max(object).max(at);
        if !name.starts_with(b"host-") {
            entries.push((kind(name), size));
        }
    }
    Ok((entries, end))
}

fn kind(name: &[u8]) -> Kind {
    // The target follows the triple, whose last part, the environment, may be empty.
    let at = memchr::memmem::rfind(name, b"-gfx").and_then(|at| at.checked_add(1));
    let found = at.and_then(|at| target(name.get(at..)?));
    found.map_or_else(|| Kind::Other(format!("offload bundle entry {}", String::from_utf8_lossy(name))), Kind::Amd)
}

/// The target at the start of `bytes`, with its features: `gfx90a:sramecc+:xnack-`.
pub(super) fn target(bytes: &[u8]) -> Option<String> {
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'+' | b'-');
    let len = bytes.iter().take(64).take_while(is_part).count();
    let name = std::str::from_utf8(bytes.get(..len)?).ok()?;
    name.starts_with("gfx").then(|| name.to_owned())
}

/// The bytes that the compressed bundle at the start of `bytes` takes, where its version says so ("Compressed Offload
/// Bundle": u16 version, u16 method, then the size of all, in four bytes in version 2 and in eight in version 3).
pub(super) fn compressed_size(bytes: &[u8]) -> Option<usize> {
    let version = u16_at(bytes, 4).filter(|_| bytes.starts_with(COMPRESSED_MAGIC))?;
    let size = match version {
        2 => u64::from(u32_at(bytes, 8)?),
        3 => u64_at(bytes, 8)?,
        _ => return None,
    };
    usize::try_from(size).ok().filter(|size| (24..=bytes.len()).contains(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(entries: &[(&str, u64)]) -> Vec<u8> {
        let mut bytes = [MAGIC, &(entries.len() as u64).to_le_bytes()].concat();
        let mut at = 4096u64;
        for (name, size) in entries {
            for field in [at, *size, name.len() as u64] {
                bytes.extend(field.to_le_bytes());
            }
            bytes.extend(name.as_bytes());
            at += size;
        }
        bytes.resize(at as usize, 0);
        bytes
    }

    #[test]
    fn targets_are_read_with_their_features() {
        let names =
            ["host-x86_64-unknown-linux--", "hipv4-amdgcn-amd-amdhsa--gfx90a:xnack-", "hip-amdgcn-amd-amdhsa-gfx1100"];
        let bytes = bundle(&[(names[0], 0), (names[1], 100), (names[2], 28)]);
        let expected = vec![(Kind::Amd("gfx90a:xnack-".into()), 100), (Kind::Amd("gfx1100".into()), 28)];
        assert_eq!(read(&bytes), Ok((expected, bytes.len())));
    }

    #[test]
    fn a_target_of_another_make_is_named() {
        let (entries, _) = read(&bundle(&[("sycl-spir64_gen-unknown-unknown", 8)])).expect("a bundle");
        let named = Kind::Other("offload bundle entry sycl-spir64_gen-unknown-unknown".into());
        assert_eq!(entries, [(named, 8)]);
    }

    #[test]
    fn what_lies_is_no_bundle() {
        let good = bundle(&[("hipv4-amdgcn-amd-amdhsa--gfx90a", 100)]);
        for (at, value) in [(24, u64::MAX), (24, 2000), (32, u64::MAX), (40, u64::MAX), (40, 101), (48, u64::MAX)] {
            let mut bytes = good.clone();
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            assert!(read(&bytes).is_err(), "{value:#x} at {at}");
        }
        for end in 0..good.len() {
            assert!(read(&good[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn a_compressed_bundle_is_as_long_as_it_says() {
        let mut bytes = vec![0; 200];
        bytes[..8].copy_from_slice(b"CCOB\x02\0\x01\0");
        bytes[8..12].copy_from_slice(&100u32.to_le_bytes());
        assert_eq!(compressed_size(&bytes), Some(100));
        bytes[4] = 3;
        bytes[8..16].copy_from_slice(&150u64.to_le_bytes());
        assert_eq!(compressed_size(&bytes), Some(150));
        for wrong in [0, 23, 201, u64::MAX] {
            bytes[8..16].copy_from_slice(&wrong.to_le_bytes());
            assert_eq!(compressed_size(&bytes), None, "{wrong}");
        }
        bytes[4] = 9;
        assert_eq!(compressed_size(&bytes), None);
    }
}
