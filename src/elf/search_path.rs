//! The search path that a dynamic table has, by its two tags (gABI, "Dynamic Section").

/// The two tags that hold a search path.
///
/// ```
/// use driver_runpath::decide::Tag;
///
/// assert_eq!((Tag::Rpath.other(), Tag::Runpath.to_string()), (Tag::Runpath, "RUNPATH".to_owned()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "cli", derive(serde::Serialize))]
pub enum Tag {
    /// `DT_RPATH`: searched before `LD_LIBRARY_PATH`, inherited by dependencies.
    #[cfg_attr(feature = "cli", serde(rename = "RPATH"))]
    Rpath,
    /// `DT_RUNPATH`: searched after `LD_LIBRARY_PATH`, for the object's own dependencies alone. Ends the inheritance.
    #[cfg_attr(feature = "cli", serde(rename = "RUNPATH"))]
    Runpath,
}

impl Tag {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Rpath => Self::Runpath,
            Self::Runpath => Self::Rpath,
        }
    }
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Rpath => "RPATH",
            Self::Runpath => "RUNPATH",
        })
    }
}

/// What the dynamic table says now. Search paths are without NUL.
///
/// ```
/// use driver_runpath::decide::{Current, Tag};
///
/// // Loaders ignore the one beside the other.
/// let both = Current { runpath: Some(b"/a".to_vec()), rpath: Some(b"/b".to_vec()) };
/// assert_eq!(both.effective(), Some((Tag::Runpath, &b"/a"[..])));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Current {
    /// The value of `DT_RUNPATH`.
    pub runpath: Option<Vec<u8>>,
    /// The value of `DT_RPATH`. Loaders ignore it beside a `DT_RUNPATH`.
    pub rpath: Option<Vec<u8>>,
}

impl Current {
    /// The search path that loaders go by, and its tag.
    pub fn effective(&self) -> Option<(Tag, &[u8])> {
        let runpath = self.runpath.as_deref().map(|path| (Tag::Runpath, path));
        runpath.or_else(|| self.rpath.as_deref().map(|path| (Tag::Rpath, path)))
    }
}
