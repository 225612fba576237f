//! All that touches files: [`edit`] is its front, `write` the only module that changes one.
//!
//! ```
//! use driver_runpath::apply::Durability;
//!
//! assert_eq!(Durability::default(), Durability::Process);
//! ```

mod copy;
pub(crate) mod directories;
pub mod edit;
#[doc(hidden)]
pub mod journal;
#[doc(hidden)]
pub mod links;
pub(crate) mod lock;
#[doc(hidden)]
#[allow(unsafe_code)]
pub mod map;
#[doc(hidden)]
pub mod place;
mod privileges;
#[doc(hidden)]
pub mod source;
mod write;

pub use write::Durability;
