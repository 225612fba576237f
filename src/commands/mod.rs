//! The commands: each leads the data along the way and holds no rule of its own.

pub mod audit;
pub mod check;
pub mod explain;
pub mod fix;
pub mod gpu_code;
pub mod here;
mod orphan;
#[cfg(feature = "cli")]
pub mod patchelf;
pub mod runpath;
pub mod stub_references;
