//! Puts the GPU driver's directory first in the search path of the ELF files that load the driver, in place.
//!
//! The data go one way, a module each: [`elf`] reads a file, [`detect`] says whether it loads the driver, [`decide`] makes
//! the new search path, [`plan`] finds room for it, [`verify`] reads the planned file with another parser, [`apply`]
//! writes. All but the last are pure. With the feature `fixtures`, [`fixtures`] makes ELF files for tests.
//!
//! ```
//! use std::fs::OpenOptions;
//!
//! use driver_runpath::apply::{Durability, apply};
//! use driver_runpath::decide::{Current, Policy, Tag, decide};
//! use driver_runpath::detect::{Depth, DriverNames, detect};
//! use driver_runpath::elf::Image;
//! use driver_runpath::plan::{Change, NoteChange, Rung, plan};
//! use driver_runpath::verify::verify;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("libopens.so");
//! # std::fs::copy("testdata/prebuilt/x86_64/libopens.so", &path)?;
//! let bytes = std::fs::read(&path)?;
//! let image = Image::parse(&bytes)?.map_err(|reason| reason.to_string())?;
//!
//! let found = detect(&image, &DriverNames::default(), Depth::First);
//! assert!(found.loads_driver());
//! assert_eq!(found.evidence[0].what, "libcuda.so.1");
//!
//! let policy = Policy { driver_dir: b"/run/opengl-driver/lib".to_vec(), prepend: Vec::new(), force: None };
//! let now = Current { runpath: None, rpath: None };
//! let decision = decide(&now, &policy, |_stub_directory| false, false);
//! assert_eq!((decision.tag, &decision.path[..]), (Tag::Runpath, &b"/run/opengl-driver/lib"[..]));
//!
//! let change = Change { tag: decision.tag, path: Some(decision.path), note: NoteChange::Drop };
//! let plan = plan(&image, &change)?;
//! assert_eq!((plan.rung, plan.growth(bytes.len() as u64)), (Rung::Slack, 0));
//! verify(&bytes, &plan)?;
//!
//! let file = OpenOptions::new().read(true).write(true).open(&path)?;
//! apply(&file, &plan, Durability::Process)?;
//! # let after = std::fs::read(&path)?;
//! # let elf = goblin::elf::Elf::parse(&after)?;
//! # assert_eq!(elf.runpaths, ["/run/opengl-driver/lib"]);
//! # Ok(())
//! # }
//! ```
//!
//! What is documented here is what other programs can build on. The modules behind the command line are public for the
//! binary alone and change without notice.

#![deny(unsafe_code)]
// What a file says must not end a run.
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::string_slice, clippy::panic)
)]

pub mod apply;
mod archive;
pub mod decide;
pub mod detect;
pub mod elf;
mod error;
#[cfg(feature = "fixtures")]
pub mod fixtures;
pub mod plan;
pub mod resolution;
pub mod verify;

#[doc(hidden)]
pub mod audit;
#[doc(hidden)]
pub mod check;
mod copy;
#[doc(hidden)]
pub mod edit;
mod exclude;
#[doc(hidden)]
pub mod explain;
#[doc(hidden)]
pub mod facts;
#[doc(hidden)]
pub mod fix;
#[doc(hidden)]
pub mod gpu_code;
#[doc(hidden)]
pub mod here;
#[doc(hidden)]
pub mod journal;
#[doc(hidden)]
pub mod links;
#[doc(hidden)]
pub mod loader;
mod lock;
#[doc(hidden)]
#[allow(unsafe_code)]
pub mod map;
mod orphan;
#[doc(hidden)]
pub mod patchelf;
#[doc(hidden)]
pub mod place;
mod privileges;
mod pseudo;
#[doc(hidden)]
pub mod report;
#[doc(hidden)]
pub mod runpath;
#[doc(hidden)]
pub mod source;
#[doc(hidden)]
pub mod stub_references;
#[doc(hidden)]
pub mod sysroot;
#[doc(hidden)]
pub mod tree;
#[doc(hidden)]
pub mod walk;
#[doc(hidden)]
pub mod watch;

pub use error::Error;
