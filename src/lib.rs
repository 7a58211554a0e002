//! Muniment: a replicated store for issued invoices that can prove itself.
//!
//! Three nodes or more in as many zones take invoices over gRPC, keep the bytes on
//! enough of them, and leave a signed, hash-chained record for each issuance and each
//! download, which an auditor checks offline with the `muniment-evidence` crate.
//!
//! The house has layers; a layer uses only layers above it in this list:
//!
//! * [`stop`], [`clock`], [`sync`]: ending a node; the only reader of OS time and
//!   randomness; a value held by several tasks
//! * [`domain`]: ids, drafts, the command and its answers; pure
//! * [`objective`]: RPO and RTO as arithmetic; pure
//! * [`config`]: the file, every key; [`preflight`] beside it looks at the machine
//! * [`keyring`], [`telemetry`]
//! * [`store`]: the only layer that names RocksDB
//! * [`ledger`]: the deterministic state machine; names neither RocksDB nor openraft
//! * [`transport`]: one trait for all traffic between nodes
//! * [`raft`]: the only layer that names openraft
//! * [`recorder`]: numbers, signs and submits statements
//! * [`bodies`]: bytes on their way in and out
//! * [`witness`]: outside witnesses, the server and a node's side
//! * [`service`]: the verbs, one file each
//! * [`wire`]: generated protobuf code and its translation
//! * [`rpc`], [`http`]: listeners
//! * [`client`]: routing, retry, receipts always verified; stands beside `rpc`
//! * [`node`]: the composition root

// Here and not in the workspace: tests say what they expect by unwrapping.
#![warn(clippy::unwrap_used)]

pub mod bodies;
pub mod client;
pub mod clock;
pub mod config;
pub mod domain;
pub mod http;
pub mod keyring;
pub mod ledger;
#[cfg(feature = "rocksdb")]
pub mod node;
pub mod objective;
pub mod preflight;
pub mod raft;
pub mod recorder;
pub mod rpc;
pub mod service;
pub mod stop;
pub mod store;
pub mod sync;
pub mod telemetry;
pub mod transport;
pub mod wire;
pub mod witness;
