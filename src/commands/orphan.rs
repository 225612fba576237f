//! A library that is given without its tree: what it inherits from whoever loads it is not known.
//!
//! A file without a search path looks for its libraries in the `DT_RPATH` of those that load it. A first `DT_RUNPATH` ends
//! that (glibc, elf/dl-load.c, `_dl_map_object`). The tree shows such an inheritance; a single file does not.

use std::cell::LazyCell;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::apply::directories::expand_origin;
use crate::decide::entries;
use crate::detect::DriverNames;
use crate::facts::Facts;

/// Libraries that whoever loads a library has loaded already: those of glibc and the loader itself.
const ALWAYS_LOADED: [&[u8]; 8] =
    [b"libc.so", b"libm.so", b"libdl.so", b"libpthread.so", b"librt.so", b"libresolv.so", b"ld-linux", b"ld64.so"];

/// The default directories of the usual builds of glibc.
const DEFAULT_DIRS: [&str; 4] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"];

/// A warning for a file at `path` that gets its first search path, a `DT_RUNPATH` of the value `new`, where that leaves it
/// without one of its libraries unless it was without it before.
pub fn warning(path: &Path, facts: &Facts, new: &[u8], names: &DriverNames) -> Option<String> {
    let cache = LazyCell::new(|| fs::read("/etc/ld.so.cache").unwrap_or_default());
    let is_found = |name: &[u8]| {
        let own = entries(new).map(|entry| expand_origin(entry, path));
        let default = DEFAULT_DIRS.iter().map(|dir| Path::new(dir).to_owned());
        own.chain(default).any(|dir| dir.join(OsStr::from_bytes(name)).exists())
            || memchr::memmem::find(&cache, &[b"/", name, b"\0"].concat()).is_some()
    };
    let missing = facts.needed.iter().find(|name| {
        !name.contains(&b'/')
            && !names.is_driver_soname(name)
            && !ALWAYS_LOADED.iter().any(|known| name.starts_with(known))
            && !is_found(name)
    })?;
    Some(format!(
        "it had no search path and needs {}, which neither its new one nor the loader's directories have; where the \
         program that loads it finds that by a DT_RPATH, this DT_RUNPATH ends it: give the whole tree, or --force-rpath",
        String::from_utf8_lossy(missing)
    ))
}
