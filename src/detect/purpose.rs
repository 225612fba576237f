//! What a file wants the driver for, by the library or function that it names.

use std::collections::BTreeSet;
use std::fmt;

use super::{Detection, EvidenceKind};

/// An interface of the driver.
///
/// ```
/// # let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so").unwrap();
/// # let image = driver_runpath::elf::Image::parse(&file).unwrap();
/// use driver_runpath::detect::{Depth, DriverNames, Purpose, detect};
///
/// let found = detect(&image, &DriverNames::default(), Depth::All);
/// assert!(found.purposes().into_iter().eq([Purpose::Cuda]));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "cli", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Purpose {
    /// CUDA.
    Cuda,
    /// NVML: management.
    Nvml,
    /// NVENC, NVDEC and optical flow.
    Video,
    /// OptiX: ray tracing.
    Optix,
    /// OpenCL.
    #[cfg_attr(feature = "cli", serde(rename = "opencl"))]
    OpenCl,
    /// Vendor libraries of OpenGL, EGL and Vulkan.
    Graphics,
    /// VDPAU and VA-API: video through the driver's plugin.
    VideoPlugin,
    /// NvFBC: capture of the screen.
    Capture,
    /// Level Zero.
    LevelZero,
    /// Jetson's own interfaces: DLA, NvSci, resource manager.
    Jetson,
    /// A further name, or a library of the driver that has no interface of its own.
    Other,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cuda => "CUDA",
            Self::Nvml => "NVML",
            Self::Video => "NVENC/NVDEC",
            Self::Optix => "OptiX",
            Self::OpenCl => "OpenCL",
            Self::Graphics => "OpenGL/EGL/Vulkan",
            Self::VideoPlugin => "VDPAU/VA-API",
            Self::Capture => "NvFBC",
            Self::LevelZero => "Level Zero",
            Self::Jetson => "Jetson",
            Self::Other => "other",
        })
    }
}

/// Starts of names, of libraries without `lib`, and of functions; the first that fits counts.
const STARTS: [(&str, Purpose); 32] = [
    ("cuda", Purpose::Cuda),
    ("cuInit", Purpose::Cuda),
    ("cuGetProcAddress", Purpose::Cuda),
    ("nvidia-ptxjitcompiler", Purpose::Cuda),
    ("nvidia-nvvm", Purpose::Cuda),
    ("nvidia-ml", Purpose::Nvml),
    ("nvml", Purpose::Nvml),
    ("nvcuvid", Purpose::Video),
    ("nvidia-encode", Purpose::Video),
    ("nvidia-opticalflow", Purpose::Video),
    ("NvEncodeAPI", Purpose::Video),
    ("cuvid", Purpose::Video),
    ("NvOFAPI", Purpose::Video),
    ("nvoptix", Purpose::Optix),
    ("nvidia-rtcore", Purpose::Optix),
    ("optix", Purpose::Optix),
    ("nvidia-opencl", Purpose::OpenCl),
    ("MesaOpenCL", Purpose::OpenCl),
    ("RusticlOpenCL", Purpose::OpenCl),
    ("amdocl", Purpose::OpenCl),
    ("igdrcl", Purpose::OpenCl),
    ("EGL_", Purpose::Graphics),
    ("GLX_", Purpose::Graphics),
    ("GLESv", Purpose::Graphics),
    ("vulkan_", Purpose::Graphics),
    ("nvidia-egl", Purpose::Graphics),
    ("nvidia-gl", Purpose::Graphics),
    ("vdpau_", Purpose::VideoPlugin),
    ("nvidia-fbc", Purpose::Capture),
    ("NvFBC", Purpose::Capture),
    ("ze_intel_", Purpose::LevelZero),
    ("nv", Purpose::Jetson),
];

impl Purpose {
    /// That of a library's or a function's name.
    pub fn of(name: &str) -> Self {
        if name.contains("_drv_video.so") {
            return Self::VideoPlugin;
        }
        if name.contains("_dri.so") {
            return Self::Graphics;
        }
        let stem = name.strip_prefix("lib").unwrap_or(name);
        let found = STARTS.iter().find(|(start, _)| stem.starts_with(start)).map(|(_, purpose)| *purpose);
        // Of that family, no other member has to do with Jetson.
        found.filter(|found| *found != Self::Jetson || !stem.starts_with("nvidia-")).unwrap_or(Self::Other)
    }
}

impl Detection {
    /// What the file wants the driver for.
    pub fn purposes(&self) -> BTreeSet<Purpose> {
        let wanted = self.evidence.iter().filter(|found| found.kind != EvidenceKind::Probe);
        wanted.map(|found| Purpose::of(&found.what)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::entry_points::ENTRY_POINTS;

    #[test]
    fn names_tell_the_purpose() {
        for (name, purpose) in [
            ("libcuda.so.1", Purpose::Cuda),
            ("libnvidia-ml.so.1", Purpose::Nvml),
            ("libnvcuvid.so.1", Purpose::Video),
            ("libnvidia-encode.so.1", Purpose::Video),
            ("libnvoptix.so.1", Purpose::Optix),
            ("libnvidia-opencl.so.1", Purpose::OpenCl),
            ("libGLX_%s.so", Purpose::Graphics),
            ("libGLESv2_nvidia.so.2", Purpose::Graphics),
            ("libvdpau_nvidia.so.1", Purpose::VideoPlugin),
            ("iHD_drv_video.so", Purpose::VideoPlugin),
            ("libnvscibuf.so.1", Purpose::Jetson),
            ("libnvidia-cfg.so.1", Purpose::Other),
            ("vendor-gpu.so", Purpose::Other),
        ] {
            assert_eq!(Purpose::of(name), purpose, "{name}");
        }
    }

    #[test]
    fn every_function_has_a_purpose() {
        for name in ENTRY_POINTS {
            assert!(!matches!(Purpose::of(name), Purpose::Other | Purpose::Jetson), "{name}");
        }
    }
}
