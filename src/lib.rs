//! Puts the GPU driver's directory first in the search path of the ELF files that load the driver, in place.

pub mod apply;
pub mod check;
mod copy;
pub mod decide;
pub mod detect;
pub mod edit;
pub mod elf;
mod error;
pub mod explain;
pub mod facts;
pub mod fix;
#[cfg(feature = "fixtures")]
pub mod fixtures;
pub mod journal;
pub mod links;
pub mod loader;
mod map;
pub mod patchelf;
pub mod plan;
pub mod privileges;
pub mod report;
pub mod runpath;
pub mod source;
pub mod sysroot;
pub mod tree;
pub mod verify;
pub mod walk;

pub use error::Error;
