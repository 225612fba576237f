//! Why bytes are no file that can be read, or none that takes a search path.

use super::{FileOffset, NotCandidate};

/// Why bytes are not the [`Image`](super::Image) of a file that can have a search path.
///
/// ```
/// use driver_runpath::elf::{Image, Malformed, NotCandidate, ParseError};
///
/// assert!(matches!(Image::parse(b"#!/bin/sh"), Err(ParseError::NotCandidate(NotCandidate::NotElf))));
/// assert!(matches!(Image::parse(b"\x7fELF"), Err(ParseError::Malformed(Malformed::CutOff))));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// A sound file, or none of ELF, that never has a search path.
    #[error("{0}")]
    NotCandidate(NotCandidate),
    /// The bytes contradict the ELF specification.
    #[error("damaged ELF file: {0}")]
    Malformed(#[from] Malformed),
}

impl From<NotCandidate> for ParseError {
    fn from(reason: NotCandidate) -> Self {
        Self::NotCandidate(reason)
    }
}

impl ParseError {
    /// What was read, or why it is not wanted; damage apart.
    #[cfg(feature = "files")]
    pub(crate) fn apart<T>(parsed: Result<T, Self>) -> Result<Result<T, NotCandidate>, Malformed> {
        match parsed {
            Ok(parsed) => Ok(Ok(parsed)),
            Err(Self::NotCandidate(reason)) => Ok(Err(reason)),
            Err(Self::Malformed(damage)) => Err(damage),
        }
    }
}

/// Why bytes that start with the ELF magic cannot be read as an ELF file. Segments are named by their index.
///
/// ```
/// use driver_runpath::elf::{Image, Malformed, ParseError};
///
/// let mut file = std::fs::read("testdata/prebuilt/x86_64/libopens.so")?;
/// file.truncate(0x2000);
/// let error = Image::parse(&file).unwrap_err();
/// assert!(matches!(error, ParseError::Malformed(Malformed::Truncated { segment: 2, .. })));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The file ends before its header does.
    #[error("the file ends within the ELF header")]
    CutOff,
    /// `EI_CLASS` is neither of the two.
    #[error("unknown ELF class {0}")]
    UnknownClass(u8),
    /// The ELF header or the program header table cannot be read.
    #[error("{0}")]
    Headers(String),
    /// So many program headers that Linux reads none of them.
    #[error("{0} program headers, more than Linux reads")]
    TooManySegments(usize),
    /// Offset and size, or address and size, of a segment are too large.
    #[error("segment {0} ends past 2^64")]
    SegmentPastEnd(usize),
    /// The file has been cut off.
    #[error("segment {segment} ends at {end}, the file at {len:#x}: truncated")]
    Truncated {
        /// The segment.
        segment: usize,
        /// Where it ends.
        end: FileOffset,
        /// The size of the file in bytes.
        len: u64,
    },
    /// `p_filesz` is larger than `p_memsz`.
    #[error("segment {0} has more bytes in the file than in memory")]
    SegmentTooSmall(usize),
    /// The `PT_LOAD` entries do not ascend, or overlap.
    #[error("segment {0} is not behind the one before it")]
    SegmentOrder(usize),
    /// Nothing is loaded.
    #[error("no PT_LOAD")]
    NoLoad,
    /// What reads the dynamic table has been given a file without one.
    #[error("no PT_DYNAMIC")]
    NoDynamic,
    /// By its offset the dynamic table is another one than by its address.
    #[error("PT_DYNAMIC's address and file offset do not name the same bytes")]
    TwoDynamics,
    /// The dynamic table's bytes cannot be had.
    #[error("PT_DYNAMIC cannot be read")]
    DynamicUnreadable,
    /// Loaders would read on behind the dynamic table.
    #[error("the dynamic table has no DT_NULL at its end")]
    DynamicWithoutEnd,
    /// `DT_STRTAB` is missing.
    #[error("no DT_STRTAB")]
    NoStrings,
    /// `DT_STRSZ` is missing.
    #[error("no DT_STRSZ")]
    NoStringsSize,
    /// The string table is not mapped as a whole.
    #[error("DT_STRTAB and DT_STRSZ do not lie within one segment's bytes")]
    StringsOutside,
    /// The second parser, which judges a plan, cannot read the file as it is.
    #[error("{0}")]
    Unverifiable(String),
}
