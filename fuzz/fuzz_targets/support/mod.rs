//! The part of the tests' support that the targets stand on.
#![allow(dead_code, unused_imports)]

#[path = "../../../tests/support/generated.rs"]
pub mod generated;
#[path = "../../../tests/support/prefixes.rs"]
pub mod prefixes;
#[path = "../../../tests/support/referee/mod.rs"]
pub mod referee;
#[path = "../../../tests/support/targets.rs"]
pub mod targets;
