//! What the later steps need to know of one file, without its bytes.

use object::elf;

use crate::decide::Current;
use crate::detect::{Depth, Detection, DriverNames, detect};
use crate::elf::Image;
use crate::resolution;

/// Facts of one dynamic file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// `DT_SONAME`.
    pub soname: Option<Vec<u8>>,
    /// `DT_NEEDED`, in order.
    pub needed: Vec<Vec<u8>>,
    /// The search paths.
    pub search: Current,
    /// Why its section headers cannot be used. Loaders do not read them.
    pub broken_sections: Option<String>,
    /// Whether a run was stopped while it edited the file.
    pub is_interrupted: bool,
    /// What its resolution note says, if it has one.
    pub note: Option<Vec<u8>>,
    /// `PT_INTERP`: the loader that a program names.
    pub interpreter: Option<Vec<u8>>,
    /// Whether it is a file for 32-bit x86.
    pub is_i386: bool,
    /// Why we believe that it loads the driver.
    pub detection: Detection,
}

impl Facts {
    /// Reads the facts; `depth` is `None` where no detection is wanted.
    pub fn of(image: &Image<'_>, names: &DriverNames, depth: Option<Depth>) -> Self {
        Self {
            soname: image.strings_of(elf::DT_SONAME).last().map(<[u8]>::to_vec),
            needed: image.strings_of(elf::DT_NEEDED).map(<[u8]>::to_vec).collect(),
            search: search_paths(image),
            broken_sections: image.sections.damage(),
            is_interrupted: false,
            note: resolution::find(image).descriptor(image).map(<[u8]>::to_vec),
            interpreter: interpreter(image).map(<[u8]>::to_vec),
            is_i386: image.machine == elf::EM_386,
            detection: depth.map(|depth| detect(image, names, depth)).unwrap_or_default(),
        }
    }
}

/// `PT_INTERP`, without its NUL.
pub fn interpreter<'data>(image: &Image<'data>) -> Option<&'data [u8]> {
    let segment = image.segments.iter().find(|segment| segment.kind == elf::PT_INTERP)?;
    image.bytes(&segment.file_range())?.split(|&byte| byte == 0).next()
}

/// The values of `DT_RUNPATH` and `DT_RPATH`. An entry whose string cannot be read counts as empty.
pub fn search_paths(image: &Image<'_>) -> Current {
    let path = |tag| image.dynamic.value(tag).map(|at| image.string(at).unwrap_or_default().to_vec());
    Current { runpath: path(elf::DT_RUNPATH), rpath: path(elf::DT_RPATH) }
}
