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
            soname: image.soname().map(<[u8]>::to_vec),
            needed: to_measure(image.needed().map(<[u8]>::to_vec).collect()),
            search: image.search_paths(),
            broken_sections: image.sections.damage(),
            is_interrupted: false,
            note: resolution::find(image).descriptor(image).map(<[u8]>::to_vec),
            interpreter: image.interpreter().map(<[u8]>::to_vec),
            is_i386: image.machine == elf::EM_386,
            detection: depth.map(|depth| detection(image, names, depth)).unwrap_or_default(),
        }
    }
}

fn detection(image: &Image<'_>, names: &DriverNames, depth: Depth) -> Detection {
    let found = detect(image, names, depth);
    Detection { evidence: to_measure(found.evidence), ..found }
}

/// A list that is kept for every file of a walk takes the room that it needs.
fn to_measure<T>(mut list: Vec<T>) -> Vec<T> {
    list.shrink_to_fit();
    list
}
