//! What the fuzzer runs, as plain functions: `tests/corpus.rs` runs them over the inputs that are kept, and the bad-input
//! tests over mutated files. A fault is a panic.

use super::generated::{self, Case, change, wanted};
use driver_runpath::decide::{Current, Policy, Tag, decide as new_path, entries};
use driver_runpath::detect::{Depth, DriverNames, detect as look};
use driver_runpath::elf::{Image, MAGIC};
use driver_runpath::facts::Facts;
use driver_runpath::fixtures::{Bytes, Entropy, Spec, damage};
use driver_runpath::plan::{Plan, plan as place};
use driver_runpath::verify::verify;
use std::sync::LazyLock;

/// A target by its name.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: [Target; 4] = [("detect", detect), ("decide", decide), ("plan", plan), ("fix", fix)];

/// Names that `detect` looks for, for the generator to put into files.
const NAMES: [&[u8]; 12] = [
    b"libcuda.so.1\0",
    b"libnvidia-%s.so.%d\0",
    b"libnvidia-ml.so.\0",
    b"cuGetProcAddress\0",
    b"nvmlInit_v2\0",
    b"\x48\xb8libcuda.",
    b"lib",
    b"so.1",
    b"\x04\0\0\0\x40\0\0\0\x0a\x0c\x7c\x40FDO\0",
    b"[{\"soname\":[\"libcuda.so.1\"],\"priority\":\"required\"}]",
    b"vendor.so",
    b"\0\0\0\0",
];

/// The file that an input stands for: itself if it is ELF, else a generated one, with some of its bytes changed.
pub fn file_of(input: &[u8]) -> Vec<u8> {
    if input.starts_with(&MAGIC) {
        return input.to_vec();
    }
    let (mutations, spec) = input.split_at(input.len().min(48));
    let mut spec = Entropy::new(spec);
    let mut drawn = Spec::draw(&mut spec);
    let mut rodata = drawn.rodata.to_vec();
    while !spec.rest().is_empty() && rodata.len() < 4096 {
        match usize::from(spec.byte()) {
            token if token < 2 * NAMES.len() => rodata.extend(NAMES[token / 2]),
            token => rodata.push(token as u8),
        }
    }
    drawn.rodata = Bytes(rodata);
    let mut file = drawn.build().expect("what is drawn builds");
    damage(&mut file, mutations);
    file
}

/// Evidence lies where it is said to lie, and the first piece is among all of them.
pub fn detect(input: &[u8]) {
    let file = file_of(input);
    let Ok(image) = Image::parse(&file) else { return };
    // It keeps its automaton.
    static DRIVERS: LazyLock<DriverNames> = LazyLock::new(|| DriverNames::new(["vendor.so".to_owned()]));
    let all = look(&image, &DRIVERS, Depth::All);
    let first = look(&image, &DRIVERS, Depth::First);
    assert_eq!(first.loads_driver(), all.loads_driver(), "{first:?} {all:?}");
    assert!(first.evidence.len() <= 1, "{first:?}");
    for evidence in &all.evidence {
        assert!(evidence.offset.0 < file.len() as u64, "{evidence:?}");
    }
    assert_eq!(Facts::of(&image, &DRIVERS, None).search, image.search_paths());
}

/// The driver directory comes first, nothing is empty or there twice, and a second run changes nothing.
pub fn decide(input: &[u8]) {
    let mut from = Entropy::new(input);
    let which = from.byte();
    let force = from.pick(None, &[Some(Tag::Runpath), Some(Tag::Rpath)]);
    let sizes = [from.byte(), from.byte(), from.byte()].map(usize::from);
    let mut rest = from.rest();
    let mut take = |size: usize| {
        let (taken, left) = rest.split_at(size.min(rest.len()));
        rest = left;
        taken.iter().copied().filter(|byte| *byte != 0).collect::<Vec<u8>>()
    };
    let dir = |bytes: Vec<u8>| bytes.into_iter().filter(|byte| *byte != b':').collect::<Vec<u8>>();
    let driver_dir = [b"/", &dir(take(sizes[0]))[..]].concat();
    let prepend = if which & 1 == 0 { Vec::new() } else { vec![dir(take(sizes[1]))] };
    let runpath = (which & 2 != 0).then(|| take(sizes[2]));
    let rpath = (which & 4 != 0).then(|| take(usize::MAX));
    let policy = Policy::new(driver_dir).prepend(prepend).force(force);
    let must_stay = |entry: &[u8]| which & 8 != 0 && entry.len() % 2 == 0;
    let decision = new_path(&Current { runpath, rpath }, &policy, must_stay, which & 16 != 0);
    let found: Vec<&[u8]> = entries(&decision.path).collect();
    assert!(found.iter().all(|entry| !entry.is_empty()), "{decision:?}");
    let is_driver = |entry: &&[u8]| entry.starts_with(&policy.driver_dir) || policy.driver_dir.starts_with(entry);
    assert!(found.iter().any(is_driver), "{decision:?} has no {policy:?}");
    let now = match decision.tag {
        Tag::Runpath => Current { runpath: Some(decision.path.clone()), rpath: None },
        Tag::Rpath => Current { runpath: None, rpath: Some(decision.path.clone()) },
    };
    let again = new_path(&now, &policy, must_stay, which & 16 != 0);
    assert!(!again.changes, "{decision:?}, then {again:?}");
}

/// A search path for any file: an error, or a plan that the second parser takes and that has the path.
pub fn plan(input: &[u8]) {
    let file = file_of(input);
    let size = input.get(1).copied().map_or(8, |byte| usize::from(byte) * usize::from(byte) / 16 + 1);
    let tag = if input.first().is_some_and(|byte| byte & 1 == 1) { Tag::Rpath } else { Tag::Runpath };
    let _ = plan_for(&file, tag, vec![b'/'; size]);
}

/// Plans, verifies and replays; `None` where it is refused. A result that verifies is right.
pub fn plan_for(file: &[u8], tag: Tag, path: Vec<u8>) -> Option<Plan<'_>> {
    let image = Image::parse(file).ok()?;
    let old = image.search_paths();
    let plan = place(&image, &change(tag, Some(path))).ok()?;
    verify(plan.clone()).ok()?;
    let after = plan.replay(plan.edits.len()).expect("edits copy from within the file");
    assert_eq!(after.len() as u64, plan.new_len);
    let image = Image::parse(&after).expect("the result can have a search path");
    assert_eq!(image.search_paths(), wanted(&old, &plan.change));
    Some(plan)
}

/// A generated file and its new search path, judged by the referee after every edit.
pub fn fix(input: &[u8]) {
    if let Err(why) = generated::check(&Case::of(input)) {
        panic!("{why}\n{:?}", Case::of(input));
    }
}
