//! What can go wrong with one file. Every message completes the sentence "FILE: …".

use std::io;

use crate::elf::{Malformed, NotCandidate};
use crate::plan::Refusal;

/// Why a file was not looked at, or not changed. The file is as it was before, but for [`Error::HalfDone`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system said no.
    #[error("{action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system answered.
        source: io::Error,
    },
    /// The bytes contradict the ELF specification.
    #[error("damaged ELF file: {0}")]
    Malformed(#[from] Malformed),
    /// The file takes no search path.
    #[error("{0}")]
    NotCandidate(NotCandidate),
    /// No placement fits under the rules.
    #[error("{0}; the file is unchanged")]
    Refused(#[from] Refusal),
    /// The directory entry must not be edited in place.
    #[error("{0}; the file is unchanged")]
    Protected(String),
    /// The second parser read something else than what was meant.
    #[error("internal error, please report it: the planned file does not verify: {0}; the file is unchanged")]
    Unverified(String),
    /// Another process keeps a lock on the file.
    #[error("{0} keeps a lock on it; the file is unchanged")]
    Locked(String),
    /// A write failed in the middle of an edit, and so did the attempt to take the edit back.
    #[error(
        "cannot write: {source}; nor can the edit be taken back: {undoing}; the file has a part of it, loads with its old \
             or its new search path, and is mended by the next run that can write to it"
    )]
    HalfDone {
        /// What the system answered to the edit.
        source: io::Error,
        /// What it answered to taking it back.
        undoing: io::Error,
    },
    /// Someone else wrote to the file in the meantime.
    #[error("the file changed while it was looked at; it is left as it is")]
    Changed,
}

impl Error {
    /// For `map_err`: names what was tried.
    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}
