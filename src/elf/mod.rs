//! What an ELF file says of itself, read through `object`'s typed structs.
//!
//! Class (32/64-bit) and byte order enter in [`class`] and nowhere below: everything above speaks of
//! [`Image`], whose tables are plain values, and of [`class::Layout`], which knows where a field lies.
//!
//! ```
//! use driver_runpath::elf::Image;
//!
//! let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so")?;
//! assert!(Image::parse(&file)?.needed().eq([b"libc.so.6"]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[doc(hidden)]
pub mod class;
mod errors;
mod image;
mod kind;
mod notes;
mod search_path;
mod sections;
mod space;
mod strings;
mod symbols;

pub use errors::{Malformed, ParseError};
pub use image::{DynamicEntry, DynamicTable, Headers, Image, Segment};
pub use kind::NotCandidate;
#[doc(hidden)]
pub use notes::has_build_id;
pub(crate) use notes::{Note, Notes};
pub use search_path::{Current, Tag};
pub use sections::{Section, SectionTable};
pub use space::{FileOffset, Vaddr};
pub(crate) use space::{merged, overlap};
pub use strings::{StringTable, string_at};
pub use symbols::SymbolTable;

/// The four bytes that every ELF file starts with (gABI, "ELF Identification").
///
/// ```
/// let file = std::fs::read("testdata/prebuilt/x86_64/libopens.so")?;
/// assert!(file.starts_with(&driver_runpath::elf::MAGIC));
/// # Ok::<(), std::io::Error>(())
/// ```
pub const MAGIC: [u8; 4] = object::elf::ELFMAG;
