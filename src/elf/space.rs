//! File offsets and virtual addresses are numbers of two kinds. Mixing them up corrupts files, so each has its type.

use std::fmt;
use std::ops::Range;

macro_rules! position {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// This position plus `bytes`; `None` past 2^64.
            pub fn checked_add(self, bytes: u64) -> Option<Self> {
                self.0.checked_add(bytes).map(Self)
            }

            /// Bytes from `start` to this position; `None` where `start` lies behind.
            pub fn checked_since(self, start: Self) -> Option<u64> {
                self.0.checked_sub(start.0)
            }

            /// The range of `len` bytes from here; `None` past 2^64.
            pub fn range(self, len: u64) -> Option<Range<Self>> {
                Some(self..self.checked_add(len)?)
            }

            /// This position rounded up to a multiple of `align`; `None` past 2^64. An `align` of 0 counts as 1.
            pub fn checked_round_up(self, align: u64) -> Option<Self> {
                self.0.checked_next_multiple_of(align.max(1)).map(Self)
            }

            /// This position rounded down to a multiple of `align`. An `align` of 0 counts as 1.
            pub fn round_down(self, align: u64) -> Self {
                Self(self.0 - self.0 % align.max(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

position! {
    /// A position in the file, in bytes from its start.
    ///
    /// ```
    /// use driver_runpath::elf::FileOffset;
    ///
    /// assert_eq!(FileOffset(0x1001).checked_round_up(0x1000), Some(FileOffset(0x2000)));
    /// ```
    FileOffset
}

position! {
    /// A virtual address as the file has it, before the loader adds its base.
    ///
    /// ```
    /// use driver_runpath::elf::Vaddr;
    ///
    /// assert_eq!(Vaddr(0x1fff).round_down(0x1000).to_string(), "0x1000");
    /// ```
    Vaddr
}

/// Whether two ranges share a byte.
pub(crate) fn overlap<T: Ord + Copy>(a: &Range<T>, b: &Range<T>) -> bool {
    a.start.max(b.start) < a.end.min(b.end)
}

/// The ranges in order, those that overlap as one.
pub(crate) fn merged<T: Ord + Copy>(mut ranges: Vec<Range<T>>) -> Vec<Range<T>> {
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<T>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}
