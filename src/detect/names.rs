//! The names of driver libraries: SONAMEs that only a driver package provides.

/// Stems between `lib` and `.so` of NVIDIA's driver libraries, and of those of Jetson's driver.
const STEMS: [&str; 11] = [
    "cuda",
    "cudadebugger",
    "nvcuvid",
    "nvoptix",
    "EGL_nvidia",
    "GLX_nvidia",
    "vdpau_nvidia",
    "nvrm_gpu",
    "nvrm_mem",
    "nvdla_runtime",
    "nvcudla",
];

/// A family with one name a library: `libnvidia-ml`, `libnvidia-encode`, `libnvidia-opticalflow`, …
const FAMILY: &str = "nvidia-";

/// Which SONAMEs count as driver libraries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DriverNames {
    further: Vec<Vec<u8>>,
}

impl DriverNames {
    /// The built-in names and `further` ones. A further name matches with any version behind it.
    pub fn new(further: impl IntoIterator<Item = String>) -> Self {
        Self { further: further.into_iter().map(String::into_bytes).filter(|name| !name.is_empty()).collect() }
    }

    /// Names of the user's own, to be looked for one by one.
    pub(super) fn further(&self) -> &[Vec<u8>] {
        &self.further
    }

    /// Whether `soname`, a whole name, is a driver library's.
    pub fn is_driver_soname(&self, soname: &[u8]) -> bool {
        let versioned = |rest: &[u8]| rest.is_empty() || rest.starts_with(b".");
        built_in(soname) == Some(soname)
            || self.further.iter().any(|name| soname.strip_prefix(name.as_slice()).is_some_and(versioned))
    }
}

/// The driver library's name, with its version, that `text` starts with. `text` is cut where the string ends or later.
pub(super) fn built_in(text: &[u8]) -> Option<&[u8]> {
    let rest = text.strip_prefix(b"lib")?;
    let stem = STEMS
        .iter()
        .filter_map(|stem| rest.strip_prefix(stem.as_bytes()))
        .chain(rest.strip_prefix(FAMILY.as_bytes()).and_then(family_member));
    let tail = stem.filter_map(|tail| tail.strip_prefix(b".so")).next()?;
    let version = tail.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    // `libcuda.sources` is no library.
    let goes_on = tail.get(version).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let end = text.len() - tail.len() + version;
    text.get(..end).filter(|_| !goes_on || version > 0).map(trim_dots)
}

/// Skips the member's name in `libnvidia-MEMBER.so`.
fn family_member(rest: &[u8]) -> Option<&[u8]> {
    let in_name = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    let len = rest.iter().take_while(|byte| in_name(byte)).count();
    if len == 0 { None } else { rest.get(len..) }
}

/// `libcuda.so.` at the end of a sentence is `libcuda.so`.
fn trim_dots(name: &[u8]) -> &[u8] {
    let end = name.iter().rposition(|&byte| byte != b'.').map_or(0, |last| last + 1);
    name.get(..end).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<&str> {
        built_in(text.as_bytes()).map(|name| std::str::from_utf8(name).expect("ASCII"))
    }

    #[test]
    fn driver_libraries_are_known_by_name() {
        for name in [
            "libcuda.so",
            "libcuda.so.1",
            "libcudadebugger.so.1",
            "libnvcuvid.so.1",
            "libnvoptix.so.1",
            "libnvidia-ml.so.1",
            "libnvidia-encode.so.1",
            "libnvidia-ptxjitcompiler.so.1",
            "libnvidia-opencl.so.1",
            "libEGL_nvidia.so.0",
            "libGLX_nvidia.so.0",
            "libvdpau_nvidia.so.1",
            "libnvrm_gpu.so",
            "libnvcudla.so",
        ] {
            assert_eq!(found(name), Some(name));
            assert!(DriverNames::default().is_driver_soname(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn other_libraries_are_not() {
        for name in [
            "libcudart.so.12",
            "libcudnn.so.9",
            "libnvrtc.so.12",
            "libcuda",
            "libcuda.s",
            "libcuda.sources",
            "libnvidia-.so",
            "libnvidia_ml.so",
            "libGLX.so.0",
            "libnccl.so.2",
            "cuda.so",
            "",
        ] {
            assert_eq!(found(name), None, "{name}");
        }
        assert!(!DriverNames::default().is_driver_soname(b"libcuda.so.1:x"));
    }

    #[test]
    fn a_name_in_a_sentence_ends_where_the_name_ends() {
        assert_eq!(found("libcuda.so.1 not found"), Some("libcuda.so.1"));
        assert_eq!(found("libcuda.so. Is a driver installed?"), Some("libcuda.so"));
        assert_eq!(found("libcuda.so.1libcuda.so"), Some("libcuda.so.1"));
    }

    #[test]
    fn further_names_match_with_a_version() {
        let names = DriverNames::new(["libvendor.so".to_owned()]);
        assert!(names.is_driver_soname(b"libvendor.so"));
        assert!(names.is_driver_soname(b"libvendor.so.2"));
        assert!(!names.is_driver_soname(b"libvendor.so2"));
        assert!(!names.is_driver_soname(b"xlibvendor.so"));
    }
}
