//! SONAMEs in UTF-16 and UTF-32, as `wchar_t` literals and Qt's and .NET's strings have them. Little-endian
//! ones: no other machines have such programs.

use super::DriverNames;

/// A further name can be of any length; one that ends behind so many characters is none of a library.
const LONGEST: usize = 128;

/// `lib` in UTF-16 and in UTF-32, for the search, and the bytes of a character.
pub(super) const ANCHORS: [(&[u8], usize); 2] = [(b"l\0i\0b\0", 2), (b"l\0\0\0i\0\0\0b\0\0\0", 4)];

/// The SONAME at the start of `bytes`, as ASCII.
pub(super) fn wide_name(bytes: &[u8], names: &DriverNames) -> Option<String> {
    let (_, width) = ANCHORS.into_iter().find(|(anchor, _)| bytes.starts_with(anchor))?;
    let name = narrowed(bytes, width);
    let (from, to) = names.around(&name, 0)?;
    Some(String::from_utf8_lossy(name.get(from..to)?).into_owned())
}

/// The characters at the start of `bytes`, up to one that is not ASCII.
fn narrowed(bytes: &[u8], width: usize) -> Vec<u8> {
    let characters = bytes.chunks_exact(width).take(LONGEST).map_while(|character| {
        let (low, high) = character.split_first()?;
        (low.is_ascii() && *low != 0 && high.iter().all(|byte| *byte == 0)).then_some(*low)
    });
    characters.collect()
}

#[cfg(test)]
mod tests {
    use super::narrowed;

    #[test]
    fn wide_text_ends_with_its_last_character() {
        assert_eq!(narrowed(b"l\0i\0b\0\0\0x\0", 2), b"lib");
        assert_eq!(narrowed(b"l\0i\0b\x01", 2), b"li");
        assert_eq!(narrowed(b"l\0\0\0i\0\0\0\xe9\0\0\0", 4), b"li");
        assert_eq!(narrowed(b"l\0i", 2), b"l");
        assert_eq!(narrowed(b"", 4), b"");
    }
}
