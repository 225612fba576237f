//! What can go wrong with one file. Every message completes the sentence "FILE: …".

use std::{fmt, io};

use crate::elf::{Malformed, NotCandidate, ParseError};
use crate::plan::Refusal;

/// Why a file was not looked at, or not changed. The file is as it was before, but for [`Error::HalfDone`].
///
/// ```
/// use driver_runpath::Error;
///
/// fn is_worth_a_second_try(error: &Error) -> bool {
///     matches!(error, Error::Locked(_) | Error::Changed | Error::Running(_))
/// }
/// # assert!(is_worth_a_second_try(&Error::Changed));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system said no.
    #[error("{action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system answered.
        source: io::Error,
    },
    /// The system said no to a write, or to what has to come before one.
    #[error("{action}: {source}; the file is unchanged")]
    Unwritten {
        /// What was tried.
        action: &'static str,
        /// What the system answered.
        source: io::Error,
    },
    /// A program that runs cannot be written to.
    #[error(
        "a process is running it: {0}; end that process, or --break-links gives the name a patched copy; the file is unchanged"
    )]
    Running(io::Error),
    /// The bytes contradict the ELF specification.
    #[error("damaged ELF file: {0}")]
    Malformed(#[from] Malformed),
    /// The kernel makes it up.
    #[error("a file system that the kernel makes up ({0}); no program's files are in it")]
    Pseudo(&'static str),
    /// The files are inside of it.
    #[error("an archive ({0}): unpack it first, and give the files that come out of it")]
    Archive(&'static str),
    /// The file takes no search path.
    #[error("{0}")]
    NotCandidate(NotCandidate),
    /// No placement fits under the rules.
    #[error("{0}; the file is unchanged")]
    Refused(#[from] Refusal),
    /// A write by anybody takes its bits and capabilities, and nothing would tell whose write it was.
    #[error(
        "it is set-user-ID or set-group-ID or has capabilities, and others can write to it: those bits would be lost; the file \
         is unchanged"
    )]
    Privileged,
    /// A write by that process during an edit would pass for a part of the edit, and keep the bits.
    #[error(
        "it is set-user-ID or set-group-ID or has capabilities, and another process has it open for writing; the file is \
         unchanged"
    )]
    PrivilegedAndOpen,
    /// A run was stopped while it edited the file.
    #[error(
        "a run was killed while it edited this file, which loads all the same; an edit by its name takes that edit back; the \
         file is unchanged"
    )]
    Interrupted,
    /// Names of the file lie outside the paths given, so many. `HardLinks::Break` or `HardLinks::ChangeAll` is the way out.
    #[error(
        "{0} more hard link(s) to it lie outside the paths given; --break-links replaces it by a patched copy; the file is \
             unchanged"
    )]
    Linked(u64),
    /// The file lies in the Nix store, and this is no build.
    #[error("it lies in the Nix store, which must not change; {IN_STORE}; the file is unchanged")]
    InStore,
    /// The second parser read something else than what was meant.
    #[error("internal error, please report it: the planned file does not verify: {0}; the file is unchanged")]
    Unverified(String),
    /// Another process keeps a lock on the file.
    #[error("{0} keeps a lock on it; the file is unchanged")]
    Locked(Holder),
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

impl From<ParseError> for Error {
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::NotCandidate(reason) => Self::NotCandidate(reason),
            ParseError::Malformed(damage) => Self::Malformed(damage),
        }
    }
}

/// The process that keeps a lock on a file, as far as it can be seen.
///
/// ```
/// use driver_runpath::Error;
///
/// fn who(error: &Error) -> Option<u32> {
///     let Error::Locked(holder) = error else { return None };
///     holder.process.map(|(process, _user)| process)
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Its number and its user's, where they are known.
    pub process: Option<(u32, u32)>,
    /// Whether it could be editing the file. A lock asks for no more than that the file can be opened.
    pub may_write: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((process, user)) = self.process else { return f.write_str("another process") };
        let rights = if self.may_write { "" } else { ", who can only read it," };
        write!(f, "process {process} of user {user}{rights}")
    }
}

/// The way out for what lies in the Nix store.
pub(crate) const IN_STORE: &str = "let the hook patch it when it is built (nativeBuildInputs = [ autoAddDriverRunpath ]), \
                                   or patch a copy outside the store";

impl Error {
    /// For `map_err`: names what was tried, before or instead of a write.
    #[cfg(feature = "files")]
    pub(crate) fn unwritten(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Unwritten { action, source }
    }

    /// Whether it is a rule that keeps the file from being changed, not the system.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Privileged | Self::PrivilegedAndOpen | Self::Linked(_) | Self::InStore)
    }

    /// The words where the same is true of several files.
    #[cfg(feature = "cli")]
    pub(crate) fn of_several(&self) -> String {
        match self {
            Self::Linked(_) => "more hard links to them lie outside the paths given, as in a cache of uv or conda; \
                                --break-links replaces each by a patched copy of its own; the files are unchanged"
                .to_owned(),
            Self::InStore => {
                format!("they lie in the Nix store, which must not change; {IN_STORE}; the files are unchanged")
            }
            other => other.to_string().replace("; the file is unchanged", "; the files are unchanged"),
        }
    }

    /// For `map_err`: names what was tried.
    #[cfg(feature = "files")]
    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}

/// Bytes of a file's name or search path, harmless on a terminal: control characters and bytes that are not UTF-8 are
/// written as `\xNN`.
#[cfg(feature = "cli")]
pub(crate) fn harmless(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            // Bidirectional marks can make one name look like another.
            if character.is_control()
                || matches!(character, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            {
                let mut buffer = [0; 4];
                for byte in character.encode_utf8(&mut buffer).bytes() {
                    text.push_str(&format!("\\x{byte:02x}"));
                }
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}
