//! A driver's SONAME that x86-64 code moves through vector registers: of `libnvidia-encode.so.1` compilers put the first
//! 16 bytes into `.rodata`, for one `movdqa`, and the rest into a constant of the code. So a name is cut where 16 or 32
//! bytes of data end, and what is wanted is the code that loads those bytes and has the rest of the name near it.

use std::collections::BTreeMap;

use super::immediates::{Piece, assemble, near, pieces_near, text_of};
use super::regions::Region;
use super::{DriverNames, Evidence, EvidenceKind};

/// Sizes of vectors, to which the compiler aligns what is loaded as one.
const SIZES: [u64; 2] = [16, 32];

/// Bytes of a name without which too many others begin alike: `libcu`, `libnv`.
const SHORTEST: usize = 5;

/// So many cut names are followed up, and so many loads of them.
const MOST: usize = 1000;

/// Loads of a vector, by the last byte of their opcode: `movdqa` and `movdqu` (6F), `movaps` (28), `movups` (10), and
/// those of AVX and AVX-512, which end alike (Intel SDM, volume 2).
const LOADS: [u8; 3] = [0x6f, 0x28, 0x10];

/// A name that goes on elsewhere.
struct Cut<'data> {
    region: &'data Region<'data>,
    /// Where it starts in the region.
    at: usize,
    head: &'data [u8],
}

/// Cut names by the vectors' addresses.
#[derive(Default)]
pub(super) struct Cuts<'data> {
    by_vector: BTreeMap<u64, Vec<Cut<'data>>>,
    count: usize,
}

impl<'data> Cuts<'data> {
    /// Takes note of a name at `at` of `region` that is cut where a vector ends, if one is.
    pub(super) fn note(&mut self, region: &'data Region<'data>, at: usize, names: &DriverNames) {
        for (vector, cut) in SIZES.into_iter().filter_map(|size| cut(region, at, size, names)) {
            if self.count < MOST {
                self.count += 1;
                self.by_vector.entry(vector).or_default().push(cut);
            }
        }
    }

    /// The first name of which the code has the rest.
    pub(super) fn built_name(&self, regions: &[Region<'_>], names: &DriverNames) -> Option<Evidence> {
        if self.by_vector.is_empty() {
            return None;
        }
        let loads = regions.iter().filter(|region| region.is_code).flat_map(loads);
        let of_cuts = loads.filter_map(|load| Some((self.by_vector.get(&load.target)?, load)));
        of_cuts.take(MOST).find_map(|(cuts, load)| {
            cuts.iter().find_map(|cut| {
                let name = assemble(cut.head.to_vec(), pieces(&load, regions), names)?;
                Some(Evidence {
                    kind: EvidenceKind::Immediate,
                    what: String::from_utf8_lossy(&name).into_owned(),
                    place: cut.region.place(),
                    offset: cut.region.offset.checked_add(cut.at as u64)?,
                })
            })
        })
    }
}

fn cut<'data>(region: &'data Region<'data>, at: usize, size: u64, names: &DriverNames) -> Option<(u64, Cut<'data>)> {
    let address = region.addr.checked_add(at as u64)?.0;
    let vector = address - address % size;
    let end = at.checked_add(usize::try_from(vector.checked_add(size)?.checked_sub(address)?).ok()?)?;
    let head = region.bytes.get(at..end).filter(|head| head.len() >= SHORTEST && names.can_start_with(head))?;
    // What lies before it in the vector is a directory.
    let start = usize::try_from(address - vector).ok()?;
    let front = region.bytes.get(at.checked_sub(start)?..at)?;
    let is_path = front.is_empty() || front.ends_with(b"/") && text_of(front).is_some();
    is_path.then_some((vector, Cut { region, at, head }))
}

/// An instruction that loads a vector from an address relative to its own.
struct Load<'data> {
    code: &'data [u8],
    region: &'data Region<'data>,
    /// Where the last byte of its opcode lies.
    at: usize,
    target: u64,
}

fn loads<'data>(region: &'data Region<'data>) -> impl Iterator<Item = Load<'data>> {
    let [first, second, third] = LOADS;
    let opcodes = memchr::memchr3_iter(first, second, third, region.bytes);
    opcodes.filter_map(move |at| load_at(region, at))
}

/// The load whose opcode ends at `at`.
fn load_at<'data>(region: &'data Region<'data>, at: usize) -> Option<Load<'data>> {
    /// ModRM for an address relative to the next instruction, whatever the register.
    const RELATIVE: u8 = 0x05;
    const REGISTER: u8 = 0x38;
    let code = region.bytes;
    let (modrm, rest) = code.get(at.checked_add(1)?..)?.split_first()?;
    if modrm & !REGISTER != RELATIVE {
        return None;
    }
    let distance = i32::from_le_bytes(*rest.first_chunk()?);
    let next = region.addr.checked_add(at as u64)?.checked_add(6)?.0;
    let target = next.checked_add_signed(i64::from(distance))?;
    Some(Load { code, region, at, target })
}

/// The constants near a load: those of the code, and vectors.
fn pieces<'data>(load: &Load<'data>, regions: &'data [Region<'data>]) -> Vec<Piece<'data>> {
    const LEN: usize = 8;
    let mut pieces = pieces_near(load.code, load.at, LEN);
    let other_loads = near(load.code, load.at, LEN).filter(|at| load.code.get(*at).is_some_and(|b| LOADS.contains(b)));
    let others = other_loads.filter_map(|at| Some((load_at(load.region, at)?.target, at.abs_diff(load.at))));
    let vectors = others.filter_map(|(target, distance)| {
        let data = regions.iter().find_map(|region| {
            let at = usize::try_from(target.checked_sub(region.addr.0)?).ok()?;
            region.bytes.get(at..at.checked_add(16)?)
        });
        Some(Piece { text: text_of(data?)?, distance })
    });
    pieces.extend(vectors);
    pieces
}
