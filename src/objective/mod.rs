//! RPO and RTO as pure arithmetic: write levels, read levels, timing profiles.
//!
//! Decides with values and does nothing. Levels are functions of (members, holders);
//! layouts are judged by the levels promised; profiles bound how long a cluster can be
//! without a leader; [`disk`] tells a slow disk and a nearly full one, [`clock`] a clock that
//! is off, [`budget`] shares out descriptors and memory; [`majority`] counts voices.

pub mod budget;
pub mod clock;
pub mod disk;
pub mod freshness;
pub mod lag;
pub mod layout;
pub mod loss;
pub mod majority;
pub mod read;
pub mod timing;
pub mod write;
