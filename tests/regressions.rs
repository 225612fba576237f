//! Files that the property tests and the fuzzer found, made small: each showed a fault of the editor once.

mod support;

use driver_runpath::decide::{Tag, entries};
use driver_runpath::fixtures::{Access, ByteOrder, Class, Entry, Header, Load, Part, Part::*, Sections, Spec, Symbol};
use driver_runpath::plan::Rung;
use support::generated::{Case, Source, Taken, Wish, check};

/// Gives `spec` the search path, checks everything, and says which way was taken.
fn edited(spec: Spec, path: &str) -> Taken {
    let case = Case { spec, wish: Wish::Exactly(Tag::Runpath, path.into()) };
    check(&case).unwrap_or_else(|why| panic!("{why}"))
}

/// A library without room behind its segments, so that only a new segment serves.
fn packed(parts: &[Part], headers: &[Header]) -> Spec {
    let mut spec = Spec { headers: headers.to_vec(), ..Spec::default() };
    spec.loads = vec![
        Load::new(Access::ReadExecute, parts.iter().copied().chain([Text(0x80), RoData])),
        Load { zero_fill: 0x20, ..Load::new(Access::ReadWrite, [Dynamic, Data(0x20)]) },
    ];
    spec
}

const LONG: &str = "/run/opengl-driver/lib:/a/directory/more";

#[test]
fn relro_that_starts_with_dynamic_stays_when_dynamic_moves() {
    let spec = Spec { spare: 0, ..packed(&[Property, GnuHash, DynSym, DynStr], &Spec::default().headers) };
    let spec = Spec { dynamic: vec![Entry::SoName("libfixture.so".into()), Entry::Tables], ..spec };
    assert_eq!(edited(spec, LONG), Taken::Planned(Rung::Append, Source::MovedTable));
}

#[test]
fn zeros_behind_the_image_are_a_payload_and_no_slack() {
    let mut spec = packed(&[GnuHash, DynSym, DynStr], &[Header::Loads, Header::Dynamic]);
    spec.loads.push(Load::new(Access::Read, [Stray(8)]));
    (spec.sections, spec.trailing) = (Sections::Before(2), (&[0; 4096]).into());
    assert_eq!(edited(spec, LONG), Taken::Refused);
}

#[test]
fn a_note_whose_header_is_taken_can_make_way() {
    let headers = [Header::Loads, Header::Note(Property), Header::Property, Header::Dynamic];
    let mut spec = packed(&[GnuHash, DynSym, DynStr, Property], &headers);
    // The new segment starts at a stray byte's end, the note in it at the next word.
    spec.trailing = "P".into();
    assert_eq!(edited(spec, "/run/driver/lib"), Taken::Planned(Rung::Append, Source::Spare));
}

#[test]
fn a_note_whose_header_is_borrowed_can_make_way() {
    let headers = [Header::Loads, Header::Dynamic, Header::Note(AbiTag)];
    let spec = packed(&[GnuHash, DynSym, DynStr, AbiTag, VerSym, VerNeed], &headers);
    assert_eq!(edited(spec, "/run/driver/lib"), Taken::Planned(Rung::AppendHead, Source::Spare));
}

#[test]
fn an_empty_section_takes_no_room() {
    let mut spec = Spec { symtab: false, ..Spec::default() };
    // It lies within the room that .dynstr takes.
    spec.loads[1].parts = vec![Text(0)];
    (spec.loads[0].file_gap, spec.loads[1].file_gap) = (24, 0x400);
    assert_eq!(edited(spec, LONG), Taken::Planned(Rung::Slack, Source::Spare));
}
