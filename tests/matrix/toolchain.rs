//! The compilers and linkers of the matrix, and how what they make is run.

use std::path::Path;
use std::process::Command;

/// How a toolchain is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linker {
    /// `cc -fuse-ld=`.
    Fuse(&'static str),
    /// Through a directory that holds it as `ld`: not every gcc has `-fuse-ld=mold`.
    Mold,
    /// `rustc` with its own linker and arguments.
    Rustc,
    /// Go's internal linker.
    Go,
    /// `musl-gcc`: another libc, another loader.
    Musl,
    /// A cross compiler with its binutils.
    Cross,
}

/// One compiler with one linker.
#[derive(Debug)]
pub struct Toolchain {
    pub name: &'static str,
    pub linker: Linker,
    /// The prefix of its tools; empty for this machine.
    triplet: &'static str,
    /// What runs its programs; empty for this machine.
    qemu: &'static str,
    /// The programs that it takes beside the C compiler.
    needs: &'static [&'static str],
    /// Whether continuous integration installs it.
    pub is_in_ci: bool,
}

const fn native(name: &'static str, linker: Linker, needs: &'static [&'static str]) -> Toolchain {
    Toolchain { name, linker, triplet: "", qemu: "", needs, is_in_ci: true }
}

const fn cross(
    name: &'static str,
    triplet: &'static str,
    qemu: &'static str,
    needs: &'static [&'static str],
    is_in_ci: bool,
) -> Toolchain {
    Toolchain { name, linker: Linker::Cross, triplet, qemu, needs, is_in_ci }
}

/// All of them. The first six share this machine's compiler, libc and loader.
pub const TOOLCHAINS: [Toolchain; 17] = [
    native("bfd", Linker::Fuse("bfd"), &["ld.bfd"]),
    native("gold", Linker::Fuse("gold"), &["ld.gold"]),
    native("lld", Linker::Fuse("lld"), &["ld.lld"]),
    native("mold", Linker::Mold, &["mold"]),
    native("rustc", Linker::Rustc, &["rustc"]),
    native("go", Linker::Go, &["go"]),
    native("musl", Linker::Musl, &["musl-gcc"]),
    cross("i386", "i686-linux-gnu", "qemu-i386", &["i686-linux-gnu-gcc", "qemu-i386"], true),
    cross("aarch64", "aarch64-linux-gnu", "qemu-aarch64", &["aarch64-linux-gnu-gcc", "qemu-aarch64"], true),
    cross("armhf", "arm-linux-gnueabihf", "qemu-arm", &["arm-linux-gnueabihf-gcc", "qemu-arm"], false),
    cross("ppc64le", "powerpc64le-linux-gnu", "qemu-ppc64le", &["powerpc64le-linux-gnu-gcc", "qemu-ppc64le"], false),
    cross("ppc64", "powerpc64-linux-gnu", "qemu-ppc64", &["powerpc64-linux-gnu-gcc", "qemu-ppc64"], false),
    cross("powerpc", "powerpc-linux-gnu", "qemu-ppc", &["powerpc-linux-gnu-gcc", "qemu-ppc"], true),
    cross("s390x", "s390x-linux-gnu", "qemu-s390x", &["s390x-linux-gnu-gcc", "qemu-s390x"], false),
    cross("riscv64", "riscv64-linux-gnu", "qemu-riscv64", &["riscv64-linux-gnu-gcc", "qemu-riscv64"], false),
    cross("mips", "mips-linux-gnu", "qemu-mips", &["mips-linux-gnu-gcc", "qemu-mips"], false),
    cross("mipsel", "mipsel-linux-gnu", "qemu-mipsel", &["mipsel-linux-gnu-gcc", "qemu-mipsel"], false),
];

impl Toolchain {
    /// Whether its programs need another loader than this machine's own.
    pub fn is_foreign(&self) -> bool {
        matches!(self.linker, Linker::Musl | Linker::Cross)
    }

    /// Whether its programs run under qemu.
    pub fn is_emulated(&self) -> bool {
        !self.qemu.is_empty()
    }

    /// The programs without which nothing can be linked, prepared and judged.
    pub fn needs(&self) -> Vec<&'static str> {
        [&["cc", "strip", "objcopy", "eu-strip", "eu-elflint"], self.needs].concat()
    }

    /// Whether a level of a factor is known to it.
    pub fn knows(&self, factor: &str, level: &str) -> bool {
        let is_go = self.linker == Linker::Go;
        let is_mips = self.name.starts_with("mips");
        match (factor, level) {
            // Go links executables, by itself at least, and takes no linker's options.
            ("kind", "shared") => !is_go,
            ("hash", "gnu" | "both") => !is_go && !is_mips,
            ("code", "separate") => !is_go && self.linker != Linker::Fuse("gold"),
            ("relro", "relro" | "now") => !is_go,
            // glibc wants a version beside DT_RELR, which older linkers do not name.
            ("relocations", "relr") => matches!(self.linker, Linker::Fuse("bfd") | Linker::Rustc),
            ("page", "16K" | "2M") => !is_go && !self.is_foreign(),
            ("page", "64K") => !is_go,
            ("shape", "verdef" | "names") => !is_go && self.linker != Linker::Rustc,
            ("shape", "bss") | ("path", "both") => !is_go,
            _ => true,
        }
    }

    /// The C compiler.
    pub fn cc(&self) -> String {
        if self.linker == Linker::Musl { "musl-gcc".into() } else { self.tool("gcc").replace("gcc", self.gcc_name()) }
    }

    fn gcc_name(&self) -> &'static str {
        if self.triplet.is_empty() { "cc" } else { "gcc" }
    }

    /// One of the binutils.
    pub fn tool(&self, name: &str) -> String {
        if self.triplet.is_empty() { name.into() } else { format!("{}-{name}", self.triplet) }
    }

    /// A command that runs a program of this toolchain.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = if self.qemu.is_empty() {
            Command::new(program)
        } else {
            let mut command = Command::new(self.qemu);
            command.arg("-L").arg(format!("/usr/{}", self.triplet)).arg(program);
            command
        };
        command.env("LC_ALL", "C").env_remove("LD_LIBRARY_PATH");
        command
    }

    /// Toolchains with the same libc share libraries.
    pub fn libc(&self) -> &'static str {
        if self.is_foreign() { self.name } else { "native" }
    }
}
