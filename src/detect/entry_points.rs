//! The driver's functions as strings: what `dlsym` is asked for.
//!
//! A program can build the SONAME at run time ("lib" + "cuda" + ".so.1"), but has to spell the functions. Only the
//! first function of each library counts: nothing works before it was called, so whoever loads the library asks for
//! it, while tables of other functions' names are also kept by tracers and by programs that translate code.

/// The functions without which nothing else of their library can be used.
pub(super) const ENTRY_POINTS: [&str; 13] = [
    "cuInit",
    "cuGetProcAddress",
    "cuGetProcAddress_v2",
    "nvmlInit",
    "nvmlInit_v2",
    "nvmlInitWithFlags",
    "NvEncodeAPICreateInstance",
    "cuvidCreateDecoder",
    "cuvidGetDecoderCaps",
    "optixQueryFunctionTable",
    "NvOFAPICreateInstanceCuda",
    "NvOFAPICreateInstanceVk",
    "NvFBCCreateInstance",
];

/// Byte strings one of which every entry point starts with, for the search.
pub(super) const ANCHORS: [&str; 9] = [
    "cuInit",
    "cuGetProcAddress",
    "nvmlInit",
    "NvEncodeAPICreateInstance",
    "cuvidCreateDecoder",
    "cuvidGetDecoderCaps",
    "optixQueryFunctionTable",
    "NvOFAPICreateInstance",
    "NvFBCCreateInstance",
];

/// The entry point that is the whole string at `at` of `bytes`, from a byte that is no part of a name to its NUL.
pub(super) fn entry_point(bytes: &[u8], at: usize) -> Option<&'static str> {
    let text = bytes.get(at..)?;
    let before = at.checked_sub(1).and_then(|before| bytes.get(before));
    if before.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
        return None;
    }
    let ends = |name: &&&str| text.strip_prefix(name.as_bytes()).and_then(<[u8]>::first) == Some(&0);
    ENTRY_POINTS.iter().find(ends).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_point_starts_with_an_anchor() {
        for name in ENTRY_POINTS {
            assert!(ANCHORS.iter().any(|anchor| name.starts_with(anchor)), "{name}");
        }
    }

    #[test]
    fn an_entry_point_is_a_whole_string() {
        assert_eq!(entry_point(b"\0cuInit\0", 1), Some("cuInit"));
        assert_eq!(entry_point(b"cuGetProcAddress_v2\0", 0), Some("cuGetProcAddress_v2"));
        for (bytes, at) in [
            (&b"\0cuInit failed\0"[..], 1),
            (b"\0cuInitialize\0", 1),
            (b"\0xcuInit\0", 2),
            (b"\0call cuInit", 6),
            (b"", 0),
            (b"\0cuInit\0", 9),
        ] {
            assert_eq!(entry_point(bytes, at), None, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
