//! Dynamic string tokens: `$ORIGIN`, `$LIB`, `$PLATFORM`, each with or without braces.

/// What the tokens stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens<'a> {
    /// The directory of the object that has the entry.
    pub origin: Option<&'a [u8]>,
    /// Such as `lib64`, or Debian's `lib/x86_64-linux-gnu`.
    pub lib: &'a [u8],
    /// Such as `x86_64`.
    pub platform: Option<&'a [u8]>,
}

/// Replaces the tokens in one entry; `None` where the loader has no value for one and drops the entry (glibc,
/// elf/dl-load.c, `_dl_dst_substitute`). A `$` that starts no token stays.
pub fn expand(entry: &[u8], tokens: &Tokens<'_>) -> Option<Vec<u8>> {
    let known = [(&b"ORIGIN"[..], tokens.origin), (b"PLATFORM", tokens.platform), (b"LIB", Some(tokens.lib))];
    let mut expanded = Vec::with_capacity(entry.len());
    let mut rest = entry;
    while let Some((&first, tail)) = rest.split_first() {
        let token = (first == b'$')
            .then(|| known.iter().find_map(|&(name, value)| Some((behind(tail, name)?, value))))
            .flatten();
        rest = match token {
            Some((behind, value)) => {
                expanded.extend_from_slice(value?);
                behind
            }
            None => {
                expanded.push(first);
                tail
            }
        };
    }
    Some(expanded)
}

/// What follows the token `name` at the start of `text`, which begins behind a `$` (`is_dst`).
fn behind<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    if let Some(braced) = text.strip_prefix(b"{") {
        return braced.strip_prefix(name)?.strip_prefix(b"}");
    }
    let behind = text.strip_prefix(name)?;
    let goes_on = behind.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    (!goes_on).then_some(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: Tokens<'_> = Tokens { origin: Some(b"/opt/app"), lib: b"lib64", platform: Some(b"x86_64") };

    #[test]
    fn each_entry_becomes_a_directory() {
        for (entry, expanded) in [
            ("$ORIGIN", "/opt/app"),
            ("${ORIGIN}/../x", "/opt/app/../x"),
            ("/a/$LIB/$PLATFORM", "/a/lib64/x86_64"),
            ("/a/${LIB}${PLATFORM}", "/a/lib64x86_64"),
            ("$ORIGINAL", "$ORIGINAL"),
            ("$LIB64", "$LIB64"),
            ("$LIB_", "$LIB_"),
            ("$LIB-64", "lib64-64"),
            ("${LIB", "${LIB"),
            ("${LIBS}", "${LIBS}"),
            ("$$LIB", "$lib64"),
            ("$OTHER/$", "$OTHER/$"),
            ("", ""),
        ] {
            assert_eq!(expand(entry.as_bytes(), &TOKENS).as_deref(), Some(expanded.as_bytes()), "{entry}");
        }
    }

    #[test]
    fn an_entry_with_a_token_without_a_value_is_dropped() {
        let tokens = Tokens { origin: None, platform: None, ..TOKENS };
        assert_eq!(expand(b"/a/$PLATFORM", &tokens), None);
        assert_eq!(expand(b"${ORIGIN}", &tokens), None);
        assert_eq!(expand(b"/a/$PLATFORMS", &tokens).as_deref(), Some(&b"/a/$PLATFORMS"[..]));
    }
}
