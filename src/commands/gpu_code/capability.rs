//! Compute capabilities, and which GPU can run which code.

use std::fmt;
use std::str::FromStr;

/// How far code made for one compute capability may be carried to others (CUDA Programming Guide, "Feature
/// availability"; the suffix of `sm_90a` and `sm_100f`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// No suffix.
    Portable,
    /// `f`: GPUs of the same family.
    Family,
    /// `a`: this GPU alone.
    Exact,
}

/// A compute capability such as 9.0a.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability {
    /// The number in front of the point.
    pub major: u32,
    /// The number behind it: one digit.
    pub minor: u32,
    /// The suffix.
    pub scope: Scope,
}

impl Capability {
    /// That of a number as `sm_` names have it: 120 is 12.0.
    pub fn of_number(number: u32, scope: Scope) -> Self {
        Self { major: number / 10, minor: number % 10, scope }
    }

    /// The capability of a GPU, which has no suffix.
    pub fn gpu(self) -> Self {
        Self { scope: Scope::Portable, ..self }
    }

    /// Whether a GPU could have it. In a damaged file all numbers occur, and each that counts is work.
    pub(super) fn is_of_a_gpu(self) -> bool {
        const MOST_MAJOR: u32 = 99;
        (1..=MOST_MAJOR).contains(&self.major)
    }

    /// The name that compilers take, without the prefix `sm_` or `compute_`.
    pub fn number(self) -> String {
        format!("{}{}{}", self.major, self.minor, self.suffix())
    }

    fn suffix(self) -> &'static str {
        match self.scope {
            Scope::Portable => "",
            Scope::Family => "f",
            Scope::Exact => "a",
        }
    }

    /// Whether a cubin for this capability runs on `gpu`: the same major number and a minor one that is not lower (CUDA
    /// Programming Guide, "Binary compatibility").
    pub fn cubin_runs_on(self, gpu: Self) -> bool {
        match self.scope {
            Scope::Exact => self.gpu() == gpu.gpu(),
            Scope::Family => self.is_family_of(gpu),
            Scope::Portable => self.major == gpu.major && self.minor <= gpu.minor,
        }
    }

    /// Whether the driver can compile PTX for this capability for `gpu`: any later one ("PTX compatibility").
    pub fn ptx_runs_on(self, gpu: Self) -> bool {
        match self.scope {
            Scope::Exact => self.gpu() == gpu.gpu(),
            Scope::Family => self.is_family_of(gpu),
            Scope::Portable => (self.major, self.minor) <= (gpu.major, gpu.minor),
        }
    }

    /// What ptxas takes: `.target sm_100f` for 10.0, 10.3 and 10.7, `.target sm_120f` for 12.0 and 12.1. 10.1, which
    /// CUDA 13 calls 11.0, is a family of its own.
    fn is_family_of(self, gpu: Self) -> bool {
        const ALONE: (u32, u32) = (10, 1);
        let (own, other) = ((self.major, self.minor), (gpu.major, gpu.minor));
        own == other || own != ALONE && other != ALONE && own.0 == other.0 && own.1 < other.1
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}{}", self.major, self.minor, self.suffix())
    }
}

/// `8.6` as nixpkgs writes it, `86` as CMake does, or `sm_86`; with `a` or `f` behind it.
impl FromStr for Capability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let no = || format!("{text}: no compute capability such as 8.6, 9.0a, 86 or sm_86");
        let name = text.strip_prefix("sm_").unwrap_or(text);
        let (number, scope) = match name.strip_suffix(['a', 'f']) {
            Some(number) if name.ends_with('a') => (number, Scope::Exact),
            Some(number) => (number, Scope::Family),
            None => (name, Scope::Portable),
        };
        // Two digits at most: numbers of five digits are no capability, whatever they mean.
        let digits = |part: &str| (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        let (major, minor) = match number.split_once('.') {
            Some(parts) => parts,
            None => number.split_at_checked(number.len().saturating_sub(1)).ok_or_else(no)?,
        };
        if !digits(major) || !digits(minor) || minor.len() != 1 {
            return Err(no());
        }
        let parse = |part: &str| part.parse::<u32>().map_err(|_| no());
        Ok(Self { major: parse(major)?, minor: parse(minor)?, scope })
    }
}

/// Compute capabilities of GPUs for computers, by NVIDIA's list of GPUs; those of the Tegra modules are asked about where
/// a file has code for them.
pub(super) const GPUS: [(u32, u32); 18] = [
    (3, 0),
    (3, 5),
    (3, 7),
    (5, 0),
    (5, 2),
    (6, 0),
    (6, 1),
    (7, 0),
    (7, 5),
    (8, 0),
    (8, 6),
    (8, 9),
    (9, 0),
    (10, 0),
    (10, 3),
    (11, 0),
    (12, 0),
    (12, 1),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn capability(text: &str) -> Capability {
        text.parse().expect("a capability")
    }

    #[test]
    fn all_spellings_are_read_and_one_is_written() {
        for (text, shown) in [
            ("8.6", "8.6"),
            ("86", "8.6"),
            ("sm_86", "8.6"),
            ("9.0a", "9.0a"),
            ("90a", "9.0a"),
            ("sm_120f", "12.0f"),
            ("12.1", "12.1"),
        ] {
            assert_eq!(capability(text).to_string(), shown);
        }
        for text in ["", "8", "8.", ".6", "8.66", "86b", "sm_", "compute_86", "8.6 ", "-8.6", "99999", "8,6", "é"] {
            assert!(text.parse::<Capability>().is_err(), "{text}");
        }
        assert_eq!(capability("9.0a").number(), "90a");
    }

    #[test]
    fn a_cubin_runs_on_later_gpus_of_its_major_number() {
        let runs = |code: &str, gpu: &str| capability(code).cubin_runs_on(capability(gpu));
        assert!(runs("8.0", "8.0") && runs("8.0", "8.9"));
        assert!(!runs("8.6", "8.0") && !runs("8.0", "9.0"));
        assert!(runs("9.0a", "9.0") && !runs("10.0a", "10.3"));
        assert!(runs("10.0f", "10.3") && !runs("10.3f", "10.0") && !runs("10.0f", "12.0"));
    }

    // As `ptxas -arch` of CUDA 13.5 takes or refuses `.target`.
    #[test]
    fn ptx_runs_where_ptxas_compiles_it() {
        let runs = |code: &str, gpu: &str| capability(code).ptx_runs_on(capability(gpu));
        assert!(runs("7.5", "12.1") && runs("8.7", "8.8") && runs("10.3", "11.0") && !runs("12.0", "11.0"));
        assert!(runs("9.0a", "9.0") && !runs("9.0a", "10.0") && !runs("10.0a", "10.3"));
        assert!(runs("10.0f", "10.0") && runs("10.0f", "10.7") && !runs("10.0f", "11.0") && !runs("10.3f", "10.0"));
        assert!(runs("12.0f", "12.1") && !runs("12.1f", "12.0"));
        assert!(runs("10.1f", "10.1") && !runs("10.0f", "10.1") && !runs("10.1f", "10.3"));
    }
}
