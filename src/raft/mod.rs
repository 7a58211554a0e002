//! Consensus: the only floor that names openraft.
//!
//! Raft (Ongaro and Ousterhout, 2014) orders commands; openraft implements it. This
//! floor gives it our storage ([`log`], [`machine`]), our network ([`network`],
//! [`server`]) and our bytes ([`codec`]), and hands the rest of the node a plain view of
//! it ([`group`], [`membership`], [`reader`]).
//!
//! What we add to the library's guarantees: votes and log are durable in one ordered
//! write-ahead log; a node that lost its log's tail abstains (the floor); one snapshot
//! install at a time; reads by read index, never by lease; any fatal error ends the
//! process; what a disk says that the ledger does not know counts for nothing
//! ([`identity`]). What is left out: leases, priorities.

pub mod codec;
pub mod group;
pub mod identity;
pub mod log;
pub mod machine;
pub mod membership;
pub mod network;
pub mod reader;
pub mod runtime;
pub mod server;
pub mod types;

#[cfg(test)]
mod suite;
