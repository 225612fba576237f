//! Why a rung of the ladder is not taken.

use std::fmt;

/// Why one rung does not fit; the next one is tried.
///
/// ```
/// use driver_runpath::plan::{Obstacle, Refusal};
///
/// /// Whether the file would do, were it not for what follows it.
/// fn is_self_extracting(refusal: &Refusal) -> bool {
///     let Refusal::NoRung { reasons } = refusal else { return false };
///     reasons.iter().any(|(_, why)| why.obstacle() == Obstacle::Payload)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoFit {
    obstacle: Obstacle,
    words: String,
}

/// What stands in the way of a rung, in kind.
///
/// ```
/// use driver_runpath::decide::Tag;
/// use driver_runpath::elf::Image;
/// use driver_runpath::plan::{Change, Obstacle, Refusal, plan};
///
/// let file = [&std::fs::read("testdata/prebuilt/x86_64/libopens.so")?[..], b"a payload"].concat();
/// let refusal = plan(&Image::parse(&file)?, &Change::new(Tag::Runpath, vec![b'/'; 5000])).unwrap_err();
/// assert!(matches!(refusal, Refusal::NoRung { reasons } if reasons.iter().any(|(_, why)| why.obstacle() == Obstacle::Payload)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Obstacle {
    /// There is no place of that kind, or it is too small.
    Room,
    /// Bytes behind the ELF image must stay at the end of the file, as in a self-extracting program.
    Payload,
    /// What would have to be known is not: section headers are missing or cannot be read, or bytes belong to nothing.
    Unknown,
    /// A number does not fit its field.
    Field,
}

impl NoFit {
    /// No room.
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self::of(Obstacle::Room, why)
    }

    pub(super) fn of(obstacle: Obstacle, why: impl Into<String>) -> Self {
        Self { obstacle, words: why.into() }
    }

    /// What stands in the way.
    pub fn obstacle(&self) -> Obstacle {
        self.obstacle
    }
}

impl fmt::Display for NoFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}
