//! The search of glibc's loader for one library, step by step: plain data in, the places it tries out.
//!
//! Pure, but for [`Processor::of_this_machine`]: the file system is a trait, the loader's built-in values come in as
//! [`System`]. Modelled is
//! `_dl_map_object` of glibc 2.33 and later (elf/dl-load.c), with what 2.33 to 2.36 still had (the legacy directories
//! for hardware capabilities). Not modelled: other libcs, `LD_PRELOAD`, auditing, tunables, set-user-ID programs,
//! libraries that are loaded already, and errors that come after a file's ELF header.

mod builtin;
mod cache;
mod header;
mod note_reader;
mod processor;
mod search;
mod steps;
#[doc(hidden)]
pub mod sysroot;
mod tokens;

pub use builtin::{BuiltIn, well_known};
pub use cache::{Cache, Selection};
pub use header::{Fit, Header, Target};
pub use note_reader::{Loaders, Reader, reads_notes};
pub use processor::{Processor, legacy_bits, legacy_subdirs, platform};
pub use search::{Files, Object, Opened, System, search};
pub use steps::{Directory, Dropped, Ending, Outcome, Rule, Search, Stage, Try};
pub use tokens::{Tokens, expand};
