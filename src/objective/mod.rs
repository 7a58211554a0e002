//! RPO and RTO as pure arithmetic: write levels, read levels, timing profiles.
//!
//! Decides with values and does nothing. Levels are functions of (members, holders);
//! layouts are judged by the levels promised; profiles bound how long a cluster can be
//! without a leader.

pub mod layout;
pub mod read;
pub mod timing;
pub mod write;
