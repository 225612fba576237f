//! What a build asks of its files: GPUs on which each must run.

use std::fmt;
use std::str::FromStr;

use super::{Capability, GpuCode, Kind, Scope};

/// One wish of `--require`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// `8.6`: the file runs on such a GPU.
    Gpu(Capability),
    /// `9.0+PTX`: and on all later ones.
    GpuAndLater(Capability),
    /// `9.0a`, `10.0f`: the file has code for that very target, with all that such a GPU can do.
    Target(Capability),
    /// `gfx90a`: the file has a code object for that GPU of AMD.
    Amd(String),
}

/// What becomes of a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// The file meets it.
    Met,
    /// It does not.
    Missed,
    /// It is about GPUs of another make than the file's code.
    NotAsked,
}

impl Requirement {
    /// Whether a file with this code meets it.
    pub fn judge(&self, code: &GpuCode) -> Judgement {
        let mut kinds = code.kinds();
        let is_asked = kinds.any(|kind| match self {
            Self::Amd(_) => matches!(kind, Kind::Amd(_)),
            _ => kind.capability().is_some(),
        });
        let mut kinds = code.kinds();
        let is_met = match self {
            Self::Gpu(gpu) => code.runs_on(*gpu),
            Self::GpuAndLater(gpu) => {
                let later = code.later_from().is_some_and(|first| first.ptx_runs_on(*gpu));
                later && code.runs_on(*gpu)
            }
            Self::Target(target) => kinds.any(|kind| has_target(kind, *target)),
            Self::Amd(name) => kinds.any(|kind| matches!(kind, Kind::Amd(own) if is_amd(own, name))),
        };
        match (is_asked, is_met) {
            (false, _) => Judgement::NotAsked,
            (true, true) => Judgement::Met,
            (true, false) => Judgement::Missed,
        }
    }
}

/// Code for 9.0a is that; what 10.0f asks for, code for an earlier member of the family has, and code for 10.0a as well.
fn has_target(kind: &Kind, wanted: Capability) -> bool {
    let (Kind::Cubin(own) | Kind::Ptx(own)) = kind else { return false };
    own.scope != Scope::Portable && own.scope >= wanted.scope && kind.runs_on(wanted)
}

/// Without features the name alone counts.
fn is_amd(own: &str, wanted: &str) -> bool {
    own == wanted || own.split(':').next() == Some(wanted)
}

impl FromStr for Requirement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("gfx") && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":+-".contains(&byte)) {
            return Ok(Self::Amd(text.to_owned()));
        }
        let (name, later) = match text.strip_suffix("+PTX") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let capability: Capability = name.parse()?;
        match (capability.scope, later) {
            (Scope::Portable, false) => Ok(Self::Gpu(capability)),
            (Scope::Portable, true) => Ok(Self::GpuAndLater(capability)),
            (_, false) => Ok(Self::Target(capability)),
            (_, true) => Err(format!("{text}: PTX for {capability} does not serve later GPUs")),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gpu(capability) | Self::Target(capability) => write!(f, "{capability}"),
            Self::GpuAndLater(capability) => write!(f, "{capability}+PTX"),
            Self::Amd(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Linkage;
    use super::*;

    fn code(kinds: &[Kind]) -> GpuCode {
        let mut code = GpuCode::default();
        code.add_unit(Linkage::Executable, kinds.iter().map(|kind| (kind.clone(), 1)).collect());
        code
    }

    fn cubin(text: &str) -> Kind {
        Kind::Cubin(text.parse().expect("a capability"))
    }

    fn ptx(text: &str) -> Kind {
        Kind::Ptx(text.parse().expect("a capability"))
    }

    fn judge(wish: &str, kinds: &[Kind]) -> Judgement {
        wish.parse::<Requirement>().expect("a requirement").judge(&code(kinds))
    }

    #[test]
    fn a_wish_is_met_by_a_cubin_or_by_ptx() {
        use Judgement::{Met, Missed};
        let kinds = [cubin("8.0"), cubin("9.0a"), ptx("8.0")];
        for (wish, judgement) in [
            ("8.0", Met),
            ("86", Met),
            ("sm_90", Met),
            ("12.0", Met),
            ("7.5", Missed),
            ("8.0+PTX", Met),
            ("9.0+PTX", Met),
            ("9.0a", Met),
            ("10.0a", Missed),
            ("8.0a", Missed),
        ] {
            assert_eq!(judge(wish, &kinds), judgement, "{wish}");
        }
        // Later GPUs than 8.9 have no use for these.
        assert_eq!(judge("8.0+PTX", &[cubin("8.0"), ptx("9.0a"), ptx("9.0")]), Missed);
    }

    #[test]
    fn what_a_family_asks_for_its_earlier_members_have() {
        use Judgement::{Met, Missed};
        assert_eq!(judge("10.0f", &[cubin("10.0f")]), Met);
        assert_eq!(judge("10.3f", &[cubin("10.0f")]), Met);
        assert_eq!(judge("10.0f", &[cubin("10.0a")]), Met);
        assert_eq!(judge("10.0f", &[cubin("10.0")]), Missed);
        assert_eq!(judge("10.0a", &[cubin("10.0f")]), Missed);
    }

    #[test]
    fn a_file_is_asked_about_gpus_of_its_make() {
        use Judgement::{Met, Missed, NotAsked};
        let kinds = [Kind::Amd("gfx90a:xnack-".into())];
        assert_eq!(judge("gfx90a", &kinds), Met);
        assert_eq!(judge("gfx90a:xnack-", &kinds), Met);
        assert_eq!(judge("gfx90a:xnack+", &kinds), Missed);
        assert_eq!(judge("gfx1100", &kinds), Missed);
        assert_eq!(judge("8.6", &kinds), NotAsked);
        assert_eq!(judge("gfx90a", &[cubin("8.6")]), NotAsked);
    }

    #[test]
    fn wishes_are_shown_as_they_are_read() {
        for text in ["8.6", "9.0+PTX", "9.0a", "gfx1100"] {
            assert_eq!(text.parse::<Requirement>().expect("a requirement").to_string(), text);
        }
        for text in ["", "+PTX", "9.0a+PTX", "8.6+ptx", "gfx 90a", "compute_90"] {
            assert!(text.parse::<Requirement>().is_err(), "{text}");
        }
    }
}
