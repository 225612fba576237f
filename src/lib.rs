//! Puts the GPU driver's directory first in the search path of the ELF files that load the driver, in place.
//!
//! The data go one way, a module each: [`elf`] reads a file, [`detect`] says whether it loads the driver, [`decide`] makes
//! the new search path, [`plan`] finds room for it, and [`verify`](mod@verify) reads the planned file with another parser. These are
//! pure, bytes in and bytes out, and there without any feature:
//!
//! ```
//! use driver_runpath::decide::{Current, Policy, Tag, decide};
//! use driver_runpath::detect::{Depth, DriverNames, detect};
//! use driver_runpath::elf::Image;
//! use driver_runpath::plan::{Change, Rung, plan};
//! use driver_runpath::verify::verify;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bytes = std::fs::read("testdata/prebuilt/x86_64/libopens.so")?;
//! let image = Image::parse(&bytes)?;
//!
//! let found = detect(&image, &DriverNames::default(), Depth::First);
//! assert!(found.loads_driver());
//! assert_eq!(found.evidence[0].what, "libcuda.so.1");
//!
//! let policy = Policy::new("/run/opengl-driver/lib");
//! let decision = decide(&image.search_paths(), &policy, |_stub_directory| false, false);
//! assert_eq!((decision.tag, &decision.path[..]), (Tag::Runpath, &b"/run/opengl-driver/lib"[..]));
//!
//! let plan = plan(&image, &Change::new(decision.tag, decision.path))?;
//! assert_eq!((plan.rung, plan.growth()), (Rung::Slack, 0));
//! let edited = verify(plan)?.into_bytes();
//! assert_eq!(Image::parse(&edited)?.search_path(), Some((Tag::Runpath, &b"/run/opengl-driver/lib"[..])));
//! # Ok(())
//! # }
//! ```
//!
//! A plan borrows the bytes that it was made for, and only one that was verified can be turned into bytes or written.
//!
//! # Files
//!
//! With the feature `files` there are calls for files and trees on Linux: `Editor` for one file, as safe as the binary;
//! `walk`, `fix` and `check` for trees.
//!
//! ```
//! # #[cfg(feature = "files")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use driver_runpath::Editor;
//! use driver_runpath::decide::PathOperation;
//! use driver_runpath::edit::{OpenOptions, Target};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("libopens.so");
//! # std::fs::copy("testdata/prebuilt/x86_64/libopens.so", &path)?;
//! if let Some(editor) = Editor::open(&path, &OpenOptions::default())? {
//!     let proposal = editor.propose(&PathOperation::driver("/run/opengl-driver/lib"), None)?;
//!     editor.commit(&proposal.changes, Target::Itself)?;
//! }
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "files"))]
//! # fn main() {}
//! ```
//!
//! # Features
//!
//! - none: the pure part, for any host.
//! - `files`: walks and edits files. Linux.
//! - `cli` (default): the binary, and what it reports with.
//! - `fixtures`: `fixtures`, ELF files for tests; `proptest` and `arbitrary` fit them to those crates.
//!
//! What is documented here is what other programs can build on. The modules behind the command line are public for the
//! binary alone and change without notice.

#![deny(unsafe_code)]
// What a file says must not end a run.
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::string_slice, clippy::panic)
)]

#[cfg(all(feature = "files", not(target_os = "linux")))]
compile_error!("the features `files` and `cli` of driver-runpath are for Linux; take default-features = false");

#[cfg(feature = "files")]
pub mod apply;
#[cfg(feature = "files")]
mod commands;
pub mod decide;
pub mod detect;
pub mod elf;
mod error;
#[doc(hidden)]
pub mod facts;
#[cfg(feature = "fixtures")]
pub mod fixtures;
#[cfg(feature = "files")]
#[doc(hidden)]
pub mod loader;
pub mod plan;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod report;
#[doc(hidden)]
pub mod resolution;
pub mod verify;
#[cfg(feature = "files")]
pub mod walk;

#[cfg(feature = "files")]
pub use apply::edit::{self, Editor};
#[cfg(feature = "files")]
pub use apply::map::outlive_truncation;
#[cfg(feature = "files")]
#[doc(hidden)]
pub use apply::{journal, links, map, place, source};
#[cfg(feature = "cli")]
#[doc(hidden)]
pub use commands::patchelf;
#[cfg(feature = "files")]
#[doc(hidden)]
pub use commands::{audit, explain, gpu_code, here, runpath, stub_references};
#[cfg(feature = "files")]
pub use commands::{check, fix};
pub use error::{Error, Holder};
#[cfg(feature = "files")]
#[doc(hidden)]
pub use loader::sysroot;
/// The crate whose names of the ELF specification are in [`elf`]: `object::elf::EM_X86_64`.
pub use object;
#[cfg(feature = "files")]
#[doc(hidden)]
pub use walk::tree;
#[cfg(feature = "files")]
pub use walk::watch;
