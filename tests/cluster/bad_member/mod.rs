//! One bad member: a node with valid keys that is compromised, broken or set up wrongly.
//!
//! Node 3 of three runs in the test's own process, put together by the same composition root
//! as any node; where it departs from an honest one is a [`Twist`] on what it answers, or
//! something that a test does with its keys. Nodes 1 and 2 are honest processes. Each file
//! here is one deed, done by a follower and, where it can, by a leader, under 50 issues a second at the honest nodes. What must be so after each:
//!
//! * from two seconds after the deed on, 95 % of the calls at honest nodes succeed;
//! * nothing acknowledged is lost, every receipt verifies, and so does the whole log;
//! * the honest nodes go on, with one state;
//! * status, metrics and log of an honest node name the culprit, where it can be told.
//!
//! Deeds that only a certificate stops, since a number in a frame is all that tells peers
//! apart, have tests that say what is so today.

mod another_place;
mod anothers_end;
mod bad_record;
mod clock_ahead;
mod ended_changes;
mod false_notices;
mod forged_chunk;
mod forged_holding;
mod forged_snapshot;
mod in_the_leaders_name;
mod load;
mod long_text;
mod member;
mod out_of_turn;
mod takeover;
mod without_belonging;

pub use load::Scene;
pub use member::{Honest, Role, Twist};
