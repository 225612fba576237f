//! What several test files share. Each test binary uses a part of it only.
#![allow(dead_code, unused_imports)]

pub mod generated;
pub mod hand;
pub mod lab;
pub mod prefixes;
pub mod referee;
pub mod targets;
pub mod tools;
pub mod trace;
