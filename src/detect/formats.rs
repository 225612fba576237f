//! Format strings that become a driver's SONAME: `libGLX_%s.so.0`, `libvdpau_%s.so`.

/// The starts of families whose members differ in one word.
const FAMILIES: [&str; 4] = ["libEGL_", "libGLX_", "libvdpau_", "libnvidia-"];

/// The format string at the start of `text`, up to and with its `.so`.
pub(super) fn format_string(text: &[u8]) -> Option<&[u8]> {
    let rest = FAMILIES.iter().find_map(|family| text.strip_prefix(family.as_bytes()))?;
    let rest = behind_conversion(rest)?;
    let rest = rest.strip_prefix(b".so")?;
    text.get(..text.len() - rest.len())
}

/// Skips a conversion of C (`%s`, `%.*s`) or of Rust and {fmt} (`{}`, `{name}`).
fn behind_conversion(text: &[u8]) -> Option<&[u8]> {
    match text.split_first()? {
        (b'%', rest) => {
            let flags = rest.iter().take_while(|byte| byte.is_ascii_digit() || b".*-l".contains(byte)).count();
            let (conversion, rest) = rest.get(flags..)?.split_first()?;
            b"sdiu".contains(conversion).then_some(rest)
        }
        (b'{', rest) => {
            let word = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
            rest.get(word..)?.strip_prefix(b"}")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_string_of_a_driver_name_is_known() {
        for (text, found) in [
            ("libGLX_%s.so.0", "libGLX_%s.so"),
            ("libvdpau_%s.so%s", "libvdpau_%s.so"),
            ("libEGL_%.*s.so", "libEGL_%.*s.so"),
            ("libnvidia-{}.so.1", "libnvidia-{}.so"),
            ("libvdpau_{name}.so", "libvdpau_{name}.so"),
        ] {
            assert_eq!(format_string(text.as_bytes()), Some(found.as_bytes()), "{text}");
        }
    }

    #[test]
    fn other_strings_are_not() {
        for text in ["libGLX_%s", "libGLX_.so", "lib%s.so", "libGLX_%", "libGLX_{", "libGLX_%c.so", "libEGL_%s is"] {
            assert_eq!(format_string(text.as_bytes()), None, "{text}");
        }
    }
}
