//! File systems that the kernel makes up: nothing in them is a program's file, and reading some has effects.

use std::os::fd::AsFd;

/// The magic numbers of statfs(2), from linux/magic.h.
const PSEUDO: [(u64, &str); 20] = [
    (0x0000_9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x0027_e0eb, "cgroup"),
    (0x6367_7270, "cgroup2"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0x7363_6673, "securityfs"),
    (0xf97c_ff8c, "selinuxfs"),
    (0x4341_5d53, "smackfs"),
    (0x5a3c_69f0, "apparmorfs"),
    (0xcafe_4a11, "bpf"),
    (0x0000_1cd1, "devpts"),
    (0x6165_676c, "pstore"),
    (0xde5e_81e4, "efivarfs"),
    (0x6265_6570, "configfs"),
    (0x6573_5543, "fusectl"),
    (0x4249_4e4d, "binfmt_misc"),
    (0x1980_0202, "mqueue"),
    (0x6e73_6673, "nsfs"),
    (0x6759_6969, "rpc_pipefs"),
];

/// The name of the pseudo file system that an open file or directory lies in, if it is one.
pub fn pseudo(file: &impl AsFd) -> Option<&'static str> {
    #[allow(clippy::unnecessary_cast, reason = "the field has other types on other architectures")]
    let kind = rustix::fs::fstatfs(file).ok()?.f_type as u64;
    // On some architectures the field has a sign.
    let kind = kind & u64::from(u32::MAX);
    PSEUDO.iter().find(|(known, _)| *known == kind).map(|(_, name)| *name)
}
