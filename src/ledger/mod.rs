//! The ledger: the deterministic state machine, command in, answers out.
//!
//! Apply reads nothing but the entry and the replicated state: no clock, no randomness,
//! no body, no I/O turned into an answer. One apply is one [`txn::Txn`]: leaf, tree rows,
//! tables, lanes, head and the rolling state hash, all in one batch. Names neither
//! RocksDB nor openraft; `raft/` feeds it, `service/` reads it through [`state`].
//!
//! * [`tables`]: every key, and the row that it leads to
//! * [`rows`], [`roles`]: what the tables hold, byte for byte
//! * [`txn`]: one atomic step over the state
//! * [`tip`]: head and tree, as they are kept between steps
//! * [`apply`]: a command becomes records; `openings`: what of them is kept and read
//! * [`lanes`]: exactly once, by lane and seq
//! * `past`: what the rules of the evidence crate ask; [`invoices`], `downloads`, [`founding`],
//!   [`keys`], [`policy`], [`membership`]: what each kind leaves behind
//! * `orders`: whether an operator wills it; `exceptions`: what is wrong for good, and said
//! * [`outboxes`]: what a BOOT says of its node's outboxes
//! * [`state`], [`tree_rows`]: reading it; [`look_through`]: one that came from elsewhere

// No bytes that reach apply may end it: what cannot go wrong is shown by the types.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

pub mod apply;
mod downloads;
mod exceptions;
pub mod founding;
pub mod invoices;
pub mod keys;
pub mod lanes;
pub mod look_through;
pub mod membership;
mod openings;
mod orders;
pub mod outboxes;
mod past;
pub mod policy;
pub mod roles;
pub mod rows;
#[allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    reason = "it reads what apply has written"
)]
pub mod state;
pub mod tables;
pub mod tip;
#[allow(
    clippy::arithmetic_side_effects,
    reason = "tiles are asked for by the tree, within its size"
)]
pub mod tree_rows;
pub mod txn;

#[cfg(test)]
pub(crate) mod tests;
