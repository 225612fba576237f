//! What the processor means for the search: the subdirectories for hardware capabilities, and `$PLATFORM`.

use object::elf;

use super::Target;

/// What glibc asks of an x86-64 processor (sysdeps/x86/get-isa-level.h, sysdeps/x86/cpu-features.c).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Processor {
    /// 1 for any x86-64 processor, up to 4 for x86-64-v4; 0 for another.
    pub level: u8,
    /// An Intel processor with what glibc calls `haswell`.
    pub haswell: bool,
    /// An Intel processor with the AVX-512 of Skylake servers, `avx512_1` in legacy directories.
    pub avx512_1: bool,
}

impl Processor {
    /// The processor of this machine.
    #[cfg(target_arch = "x86_64")]
    pub fn of_this_machine() -> Self {
        use std::arch::is_x86_feature_detected as has;
        // LAHF in 64-bit mode, a part of level 2, cannot be asked for here; every processor with the rest has it.
        let v2 =
            has!("cmpxchg16b") && has!("popcnt") && has!("sse3") && has!("ssse3") && has!("sse4.1") && has!("sse4.2");
        let fused = has!("avx2") && has!("fma") && has!("lzcnt") && has!("movbe");
        let v3 = v2 && fused && has!("avx") && has!("f16c");
        let wide = has!("avx512cd") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
        let v4 = v3 && wide && has!("avx512f");
        let is_intel = std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("GenuineIntel"));
        Self {
            level: 1 + u8::from(v2) + u8::from(v3) + u8::from(v4),
            haswell: is_intel && fused && has!("bmi1") && has!("bmi2") && has!("popcnt"),
            avx512_1: is_intel && wide,
        }
    }

    /// The processor of this machine.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn of_this_machine() -> Self {
        Self::default()
    }

    /// The subdirectories of `glibc-hwcaps` in the order of the search (sysdeps/x86_64/dl-hwcaps-subdirs.c). Other
    /// machines have such directories, too (POWER, s390x); they are not modelled.
    pub fn hwcaps_subdirs(&self, target: &Target) -> Vec<Vec<u8>> {
        if target.machine != elf::EM_X86_64 {
            return Vec::new();
        }
        (2..=self.level).rev().map(|level| format!("glibc-hwcaps/x86-64-v{level}/").into_bytes()).collect()
    }
}

/// What `$PLATFORM` stands for. The kernel says it (`AT_PLATFORM`), and glibc on x86 knows better; `None` where neither
/// is known here.
pub fn platform(target: &Target, processor: &Processor) -> Option<&'static str> {
    match target.machine {
        elf::EM_X86_64 if processor.haswell => Some("haswell"),
        elf::EM_X86_64 => Some("x86_64"),
        elf::EM_386 => Some("i686"),
        elf::EM_AARCH64 => Some("aarch64"),
        _ => None,
    }
}

/// The directories for hardware capabilities that glibc before 2.37 tried under each directory: all subsets of the
/// capabilities, the platform and `tls`, the largest first (elf/dl-hwcaps.c of glibc 2.36). The last one, the directory
/// itself, is not among them. Modelled for x86 alone.
pub fn legacy_subdirs(target: &Target, processor: &Processor) -> Vec<Vec<u8>> {
    let mut names = match target.machine {
        elf::EM_X86_64 if processor.avx512_1 => vec!["x86_64", "avx512_1"],
        elf::EM_X86_64 => vec!["x86_64"],
        elf::EM_386 => vec!["sse2"],
        _ => return Vec::new(),
    };
    names.extend(platform(target, processor));
    names.push("tls");
    let subset = |mask: usize| {
        let held = names.iter().enumerate().rev().filter(|(bit, _)| mask >> bit & 1 == 1);
        held.flat_map(|(_, name)| name.bytes().chain([b'/'])).collect()
    };
    (1..1usize << names.len()).rev().map(subset).collect()
}

/// The bits of legacy capabilities that glibc before 2.37 takes in cache entries: `tls`, and what the processor has
/// (sysdeps/x86/dl-hwcap.h, sysdeps/x86/dl-procinfo.h).
pub fn legacy_bits(target: &Target, processor: &Processor) -> u64 {
    const TLS: u64 = 1 << 63;
    let x86 = match target.machine {
        elf::EM_X86_64 => 1 << 1 | u64::from(processor.avx512_1) << 2 | u64::from(processor.haswell) << 50,
        elf::EM_386 => 1 | 1 << 49,
        _ => 0,
    };
    TLS | x86
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(machine: elf::Machine) -> Target {
        Target { class: elf::ELFCLASS64, data: elf::ELFDATA2LSB, machine }
    }

    fn text(subdirs: Vec<Vec<u8>>) -> Vec<String> {
        subdirs.into_iter().map(|subdir| String::from_utf8(subdir).expect("ASCII")).collect()
    }

    #[test]
    fn the_highest_level_is_searched_first() {
        let processor = Processor { level: 3, ..Processor::default() };
        let subdirs = text(processor.hwcaps_subdirs(&target(elf::EM_X86_64)));
        assert_eq!(subdirs, ["glibc-hwcaps/x86-64-v3/", "glibc-hwcaps/x86-64-v2/"]);
        assert!(processor.hwcaps_subdirs(&target(elf::EM_AARCH64)).is_empty());
        let oldest = Processor { level: 1, ..Processor::default() };
        assert!(oldest.hwcaps_subdirs(&target(elf::EM_X86_64)).is_empty());
    }

    #[test]
    fn legacy_directories_are_all_subsets_the_largest_first() {
        let haswell = Processor { level: 3, haswell: true, avx512_1: false };
        let expected =
            ["tls/haswell/x86_64/", "tls/haswell/", "tls/x86_64/", "tls/", "haswell/x86_64/", "haswell/", "x86_64/"];
        assert_eq!(text(legacy_subdirs(&target(elf::EM_X86_64), &haswell)), expected);
        let expected = ["tls/i686/sse2/", "tls/i686/", "tls/sse2/", "tls/", "i686/sse2/", "i686/", "sse2/"];
        assert_eq!(text(legacy_subdirs(&target(elf::EM_386), &haswell)), expected);
    }
}
