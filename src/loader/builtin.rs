//! What is compiled into a loader, read from its file. It is read and not asked (`ld.so --list-diagnostics`): the
//! loader that a file names is a program of whoever made the file, and a loader for another machine does not run here.

use memchr::memmem;
use object::elf;

use super::Target;

/// The values that differ between builds of glibc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltIn {
    /// The version, such as 2.36; `None` where the loader does not say (before 2.33).
    pub version: Option<(u32, u32)>,
    /// The default directories, without the slash at the end (`SYSTEM_DIRS`, elf/Makefile).
    pub default_dirs: Vec<Vec<u8>>,
    /// What `$LIB` stands for (`DL_DST_LIB`, elf/Makefile).
    pub lib: Vec<u8>,
    /// The cache (`LD_SO_CACHE`, sysdeps/generic/dl-cache.h). nixpkgs' glibc has one of its own.
    pub cache: Vec<u8>,
}

/// Loaders have a few hundred KB; a file that claims to be one can have any size.
const MOST_BYTES: usize = 16 << 20;

/// Where loaders lie, by the ABI of each architecture (glibc, `ld.so` in the shlib-versions of each).
pub fn well_known(target: &Target) -> &'static [&'static str] {
    let is_64 = target.class == elf::ELFCLASS64;
    match target.machine {
        elf::EM_X86_64 if is_64 => &["/lib64/ld-linux-x86-64.so.2"],
        elf::EM_X86_64 => &["/libx32/ld-linux-x32.so.2"],
        elf::EM_386 => &["/lib/ld-linux.so.2"],
        elf::EM_AARCH64 => &["/lib/ld-linux-aarch64.so.1"],
        elf::EM_ARM => &["/lib/ld-linux-armhf.so.3", "/lib/ld-linux.so.3"],
        elf::EM_PPC64 => &["/lib64/ld64.so.2", "/lib64/ld64.so.1"],
        elf::EM_RISCV if is_64 => &["/lib/ld-linux-riscv64-lp64d.so.1", "/lib/ld-linux-riscv64-lp64.so.1"],
        elf::EM_S390 if is_64 => &["/lib/ld64.so.1"],
        elf::EM_LOONGARCH => &["/lib64/ld-linux-loongarch-lp64d.so.1"],
        elf::EM_MIPS if is_64 => &["/lib64/ld.so.1"],
        _ => &["/lib/ld.so.1"],
    }
}

impl BuiltIn {
    /// What a recent glibc has without any configuration, for where no loader can be read.
    pub fn usual(target: &Target) -> Self {
        // `libc_cv_slibdir` in sysdeps/unix/sysv/linux/*/configure.
        let lib = if target.class == elf::ELFCLASS64 { "lib64" } else { "lib" };
        Self {
            version: None,
            default_dirs: vec![format!("/{lib}").into_bytes(), format!("/usr/{lib}").into_bytes()],
            lib: lib.as_bytes().to_vec(),
            cache: b"/etc/ld.so.cache".to_vec(),
        }
    }

    /// Reads the strings of a loader; `None` if it is not glibc's.
    pub fn read(loader: &[u8]) -> Option<Self> {
        let loader = loader.get(..MOST_BYTES).unwrap_or(loader);
        let default_dirs = default_dirs(loader)?;
        let lib = lib_of(default_dirs.first()?);
        Some(Self { version: version(loader), lib, default_dirs, cache: cache(loader)? })
    }
}

/// The longest run of strings that look like directories of libraries: an array of them, one behind the other.
fn default_dirs(loader: &[u8]) -> Option<Vec<Vec<u8>>> {
    let strings: Vec<&[u8]> = loader.split(|&byte| byte == 0).collect();
    let runs = strings.split(|string| !is_library_dir(string));
    // The array can be there more than once; the first string of one can have other bytes in front.
    let longest = runs.rev().max_by_key(|run| run.len()).filter(|run| !run.is_empty())?;
    Some(longest.iter().filter_map(|dir| dir.strip_suffix(b"/").map(<[u8]>::to_vec)).collect())
}

fn is_library_dir(string: &[u8]) -> bool {
    let is_path = string.starts_with(b"/") && string.ends_with(b"/");
    is_path && string.iter().all(u8::is_ascii_graphic) && memmem::find(string, b"/lib").is_some()
}

/// `$LIB`, which is the tail of the first default directory: `lib64` of `/lib64`, and with Debian's multiarch
/// `lib/x86_64-linux-gnu` of `/lib/x86_64-linux-gnu`.
fn lib_of(first_dir: &[u8]) -> Vec<u8> {
    let tail = memmem::rfind(first_dir, b"/lib").and_then(|slash| first_dir.get(slash..)?.strip_prefix(b"/"));
    tail.unwrap_or(b"lib").to_vec()
}

/// The path of the cache: a string of its own that ends in `/ld.so.cache`.
fn cache(loader: &[u8]) -> Option<Vec<u8>> {
    memmem::find_iter(loader, b"/ld.so.cache\0").find_map(|at| {
        let head = loader.get(..at)?;
        let start = head.iter().rposition(|&byte| byte == 0).map_or(0, |nul| nul + 1);
        let path = loader.get(start..at.checked_add(b"/ld.so.cache".len())?)?;
        (path.starts_with(b"/") && path.iter().all(u8::is_ascii_graphic)).then(|| path.to_vec())
    })
}

/// `ld.so (…) stable release version 2.36.` (elf/dl-usage.c).
fn version(loader: &[u8]) -> Option<(u32, u32)> {
    const BEFORE: &[u8] = b" release version ";
    memmem::find_iter(loader, BEFORE).find_map(|at| {
        let text = loader.get(at.checked_add(BEFORE.len())?..)?;
        let (major, rest) = number(text)?;
        let (minor, _) = number(rest.strip_prefix(b".")?)?;
        Some((major, minor))
    })
}

fn number(text: &[u8]) -> Option<(u32, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(digits)?;
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built_in(dirs: &[&str], lib: &str, cache: &str, version: Option<(u32, u32)>) -> Option<BuiltIn> {
        let default_dirs = dirs.iter().map(|dir| dir.as_bytes().to_vec()).collect();
        Some(BuiltIn { version, default_dirs, lib: lib.into(), cache: cache.into() })
    }

    #[test]
    fn debian_has_multiarch_directories() {
        let strings = b"\x7fELF\0x/lib/\0/usr/lib/locale\0/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0/lib/\0\
            /usr/lib/\0\0  Do not use /etc/ld.so.cache\0/etc/ld.so.cache\0ld.so (Debian) stable release version 2.36.\n\0";
        let dirs = ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib"];
        let expected = built_in(&dirs, "lib/x86_64-linux-gnu", "/etc/ld.so.cache", Some((2, 36)));
        assert_eq!(BuiltIn::read(strings), expected);
    }

    #[test]
    fn nixpkgs_has_one_directory_and_a_cache_of_its_own() {
        let strings = b"\0/nix/store/h-glibc-2.40-66/lib/\0/nix/store/h-glibc-2.40-66/etc/ld.so.cache\0\
            ld.so (GNU libc) stable release version 2.40.\0";
        let cache = "/nix/store/h-glibc-2.40-66/etc/ld.so.cache";
        let expected = built_in(&["/nix/store/h-glibc-2.40-66/lib"], "lib", cache, Some((2, 40)));
        assert_eq!(BuiltIn::read(strings), expected);
    }

    #[test]
    fn lib_is_the_tail_of_the_first_directory() {
        for (dir, lib) in [("/lib64", "lib64"), ("/opt/lib/glibc/lib32", "lib32"), ("/usr/lib/a-b", "lib/a-b")] {
            assert_eq!(lib_of(dir.as_bytes()), lib.as_bytes());
        }
    }

    #[test]
    fn what_is_not_glibc_is_not_guessed_at() {
        assert_eq!(BuiltIn::read(b"\0/lib:/usr/local/lib:/usr/lib\0/etc/ld-musl-x86_64.path\0"), None);
        assert_eq!(BuiltIn::read(b""), None);
        assert_eq!(BuiltIn::read(&b"/lib".repeat(10_000)), None);
    }
}
