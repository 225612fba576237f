//! The names of driver libraries: SONAMEs that only a driver package provides.

use std::sync::OnceLock;

use aho_corasick::AhoCorasick;

/// Stems between `lib` and `.so` of NVIDIA's driver libraries, and of those of Jetson's driver.
///
/// The first group is what NVIDIA's archive installs (the driver's README, "Installed Components") and
/// libnvidia-container takes from the host (its src/nvc_info.c). The second one is what jetpack-nixos links into the driver
/// directory (its NixOS module): the driver's own libraries and NvSci (nvidia-l4t-nvsci). Jetson's multimedia
/// libraries (libnvbufsurface, libnvv4l2, libnvmm) and libnvos do not lie there, but in packages that programs are linked
/// to; libcudla is part of CUDA, not of the driver.
///
/// No group of its own has a use: nixpkgs links nothing of ROCm into the driver directory but files of OpenCL, which
/// `graphics` has, as it has Level Zero's drivers.
const STEMS: [&str; 19] = [
    "cuda",
    "cudadebugger",
    "nvcuvid",
    "nvoptix",
    "EGL_nvidia",
    "GLESv1_CM_nvidia",
    "GLESv2_nvidia",
    "GLX_nvidia",
    "vdpau_nvidia",
    "nvrm_gpu",
    "nvrm_mem",
    "nvdla_runtime",
    "nvcudla",
    "nvscibuf",
    "nvscicommon",
    "nvscievent",
    "nvsciipc",
    "nvscistream",
    "nvscisync",
];

/// A family with one name a library: `libnvidia-ml`, `libnvidia-encode`, `libnvidia-opticalflow`, …
const FAMILY: &str = "nvidia-";

/// Members of that family that say nothing: NVIDIA's container tools, which no driver provides, and libraries that only
/// the driver itself opens, so that another file has their names to pass them over.
const NOT_IN_FAMILY: [&str; 7] = ["container", "container-go", "fatbinaryloader", "glcore", "eglcore", "glsi", "tls"];

/// No member's name is longer. Without a bound, `libnvidia-libnvidia-…` would be read again and again.
const LONGEST_MEMBER: usize = 64;

/// What loaders of graphics and compute interfaces look for in the driver directory: families of libglvnd, VDPAU and
/// Vulkan, drivers of OpenCL and of Level Zero. The loaders themselves (`libGL`, `libEGL`, `libOpenCL`) do not lie there.
const GRAPHICS_FAMILIES: [&str; 5] = ["EGL_", "GLX_", "vdpau_", "vulkan_", "ze_intel_"];
const GRAPHICS_STEMS: [&str; 4] = ["MesaOpenCL", "RusticlOpenCL", "amdocl64", "igdrcl"];

/// Drivers of VA-API and of OpenGL, whose names end alike: `iHD_drv_video.so`, `radeonsi_dri.so`.
const GRAPHICS_TAILS: [&str; 2] = ["_drv_video.so", "_dri.so"];

/// The start of every built-in name that is no tail, short and seldom, for the search; of `libcuda` as little as may
/// stand in one place where compilers cut it ([`super::vectors`]).
const ANCHORS: [&str; 6] = ["libcu", "libnv", "libEGL_", "libGLESv", "libGLX_", "libvdpau_"];
const GRAPHICS_ANCHORS: [&str; 6] =
    ["libvulkan_", "libze_intel_", "libMesaOpenCL", "libRusticlOpenCL", "libamdocl64", "libigdrcl"];

/// A further, named set of driver libraries.
///
/// ```
/// use driver_runpath::detect::{DriverNames, Group};
///
/// let names = DriverNames::default().with(Group::Graphics);
/// assert!(names.is_driver_soname(b"libvulkan_radeon.so"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Group {
    /// What libglvnd and the loaders of Vulkan, OpenCL, VA-API, VDPAU and Level Zero look for.
    Graphics,
}

/// Which SONAMEs count as driver libraries.
///
/// ```
/// use driver_runpath::detect::DriverNames;
///
/// let names = DriverNames::new(["libmydriver.so".to_owned()]);
/// assert!(names.is_driver_soname(b"libcuda.so.1") && names.is_driver_soname(b"libmydriver.so.3"));
/// assert!(!names.is_driver_soname(b"libcudart.so.12"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct DriverNames {
    further: Vec<Vec<u8>>,
    graphics: bool,
    /// Built when it is first needed, for all files.
    pub(super) search: OnceLock<Option<AhoCorasick>>,
}

impl DriverNames {
    /// The built-in names and `further` ones. A further name matches with any version behind it.
    pub fn new(further: impl IntoIterator<Item = String>) -> Self {
        let further = further.into_iter().map(String::into_bytes).filter(|name| !name.is_empty()).collect();
        Self { further, ..Self::default() }
    }

    /// The same with the names of `group`.
    #[must_use]
    pub fn with(self, group: Group) -> Self {
        match group {
            Group::Graphics => Self { further: self.further, graphics: true, search: OnceLock::new() },
        }
    }

    /// Whether `soname`, a whole name, is a driver library's.
    pub fn is_driver_soname(&self, soname: &[u8]) -> bool {
        let versioned = |rest: &[u8]| rest.is_empty() || rest.starts_with(b".");
        self.built_in(soname) == Some(soname)
            || self.graphics && GRAPHICS_TAILS.iter().any(|tail| soname.ends_with(tail.as_bytes()))
            || self.further.iter().any(|name| soname.strip_prefix(name.as_slice()).is_some_and(versioned))
    }

    /// Byte strings one of which every driver name has, for the search.
    pub(super) fn anchors(&self) -> Vec<&[u8]> {
        let graphics = GRAPHICS_ANCHORS.iter().chain(&GRAPHICS_TAILS).filter(|_| self.graphics);
        let built_in = ANCHORS.iter().chain(graphics).map(|anchor| anchor.as_bytes());
        built_in.chain(self.further.iter().map(Vec::as_slice)).collect()
    }

    /// The start and end of the driver library's name around an anchor at `at` of `bytes`.
    pub(super) fn around(&self, bytes: &[u8], at: usize) -> Option<(usize, usize)> {
        let text = bytes.get(at..)?;
        if let Some(name) = self.built_in(text) {
            return Some((at, at.checked_add(name.len())?));
        }
        let tail = GRAPHICS_TAILS.iter().filter(|_| self.graphics).find(|tail| text.starts_with(tail.as_bytes()));
        if let Some(tail) = tail {
            let front = bytes.get(..at)?.iter().rev().take_while(|byte| is_word(byte) || **byte == b'-').count();
            return (front > 0).then_some((at - front, at.checked_add(tail.len())?));
        }
        let further = self.further.iter().filter(|name| text.starts_with(name)).map(Vec::len).max()?;
        Some((at, at.checked_add(further)?))
    }

    /// The driver library's name, with its version, that `text` starts with. `text` is cut where the string ends or
    /// later.
    fn built_in<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        let rest = text.strip_prefix(b"lib")?;
        let stems = STEMS.iter().chain(GRAPHICS_STEMS.iter().filter(|_| self.graphics));
        let families = [FAMILY].into_iter().chain(GRAPHICS_FAMILIES.into_iter().filter(|_| self.graphics));
        let tails = stems
            .filter_map(|stem| rest.strip_prefix(stem.as_bytes()))
            .chain(families.filter_map(|family| rest.strip_prefix(family.as_bytes())).filter_map(behind_member));
        let tail = tails.filter_map(|tail| tail.strip_prefix(b".so")).next()?;
        let version = tail.iter().take_while(|byte| is_version(byte)).count();
        // `libcuda.sources` is no library.
        let goes_on = tail.get(version).is_some_and(is_word);
        let end = text.len() - tail.len() + version;
        text.get(..end).filter(|_| !goes_on || version > 0).map(trim_dots)
    }

    /// Whether a driver library's name can start with `text`, or be `text`, version included.
    pub(super) fn can_start_with(&self, text: &[u8]) -> bool {
        let goes_on = |text: &[u8], name: &[u8]| match text.strip_prefix(name) {
            Some(version) => version.iter().all(is_version),
            None => name.starts_with(text),
        };
        // Piece by piece: this is asked at every candidate in the code.
        let stem_goes_on = |text: &[u8], stem: &str| match text.strip_prefix(stem.as_bytes()) {
            Some(rest) => goes_on(rest, b".so"),
            None => stem.as_bytes().starts_with(text),
        };
        let fixed = match text.strip_prefix(b"lib") {
            Some(rest) => STEMS.iter().any(|stem| stem_goes_on(rest, stem)),
            None => b"lib".starts_with(text),
        };
        let fixed = fixed || self.further.iter().any(|name| goes_on(text, name));
        fixed || can_start_family(text)
    }
}

/// The same for `libnvidia-MEMBER.so`.
fn can_start_family(text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(b"lib") else { return b"lib".starts_with(text) };
    let Some(member) = rest.strip_prefix(FAMILY.as_bytes()) else { return FAMILY.as_bytes().starts_with(rest) };
    let tail = member.iter().position(|byte| !is_member(byte)).and_then(|end| member.get(end..));
    tail.is_none_or(|tail| match tail.strip_prefix(b".so") {
        Some(version) => version.iter().all(is_version),
        None => b".so".starts_with(tail),
    })
}

fn is_word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte == b'_'
}

fn is_version(byte: &u8) -> bool {
    byte.is_ascii_digit() || *byte == b'.'
}

fn is_member(byte: &u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-'
}

/// Skips the member's name in `libnvidia-MEMBER.so`.
fn behind_member(rest: &[u8]) -> Option<&[u8]> {
    let len = rest.iter().take(LONGEST_MEMBER).take_while(|byte| is_member(byte)).count();
    let member = rest.get(..len).filter(|member| !member.is_empty())?;
    if NOT_IN_FAMILY.iter().any(|other| other.as_bytes() == member) { None } else { rest.get(len..) }
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
        DriverNames::default().built_in(text.as_bytes()).map(|name| std::str::from_utf8(name).expect("ASCII"))
    }

    const KNOWN: [&str; 20] = [
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
        "libGLESv1_CM_nvidia.so.1",
        "libGLESv2_nvidia.so.2",
        "libnvidia-sandboxutils.so.1",
        "libnvidia-tileiras.so",
        "libnvscibuf.so.1",
        "libnvsciipc.so",
    ];

    const GRAPHICS: [&str; 8] = [
        "libGLX_mesa.so.0",
        "libEGL_mesa.so.0",
        "libvdpau_radeonsi.so.1",
        "libvulkan_radeon.so",
        "libRusticlOpenCL.so.1",
        "libigdrcl.so",
        "libze_intel_gpu.so.1",
        "iHD_drv_video.so",
    ];

    #[test]
    fn driver_libraries_are_known_by_name() {
        for name in KNOWN {
            assert_eq!(found(name), Some(name));
            assert!(DriverNames::default().is_driver_soname(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn every_name_has_an_anchor_that_leads_to_it() {
        let names = DriverNames::new(["vendor-gpu.so".to_owned()]).with(Group::Graphics);
        for name in KNOWN.into_iter().chain(GRAPHICS).chain(["vendor-gpu.so"]) {
            let text = format!("/{name}\0");
            let anchors = names.anchors();
            let at = anchors.iter().find_map(|anchor| memchr::memmem::find(text.as_bytes(), anchor)).expect(name);
            assert_eq!(names.around(text.as_bytes(), at), Some((1, name.len() + 1)), "{name}");
        }
    }

    #[test]
    fn graphics_names_count_when_asked_for() {
        let graphics = DriverNames::default().with(Group::Graphics);
        for name in GRAPHICS {
            assert!(!DriverNames::default().is_driver_soname(name.as_bytes()), "{name}");
            assert!(graphics.is_driver_soname(name.as_bytes()), "{name}");
        }
        for name in ["libGL.so.1", "libEGL.so.1", "libOpenCL.so.1", "libvulkan.so.1", "libva.so.2", "libze_loader.so.1"]
        {
            assert!(!graphics.is_driver_soname(name.as_bytes()), "{name}");
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
            "libnvidia-container.so.1",
            "libnvidia-fatbinaryloader.so",
            "libGLX.so.0",
            "libGLESv2.so.2",
            "libnvsandboxutils.so",
            "libnvbufsurface.so.1.0.0",
            "libnvos.so",
            "libcudla.so.1",
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

    #[test]
    fn the_start_of_a_name_is_known_as_one() {
        let names = DriverNames::default();
        for start in ["lib", "libcuda.", "libcuda.so.1", "libnvidi", "libnvidia-ml.s", "libnvidia-ml.so.1"] {
            assert!(names.can_start_with(start.as_bytes()), "{start}");
        }
        for other in ["libcudart", "libcuda.so.x", "libnvidia-ML", "libnvidia-ml.a", "libc.so"] {
            assert!(!names.can_start_with(other.as_bytes()), "{other}");
        }
    }
}
