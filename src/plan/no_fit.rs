//! Why a rung of the ladder is not taken.

use std::fmt;

/// Why one rung does not fit; the next one is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoFit {
    obstacle: Obstacle,
    words: String,
}

/// What stands in the way of a rung, in kind.
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
