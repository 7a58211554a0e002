//! Muniment: a replicated store for issued invoices that can prove itself.
//!
//! Three nodes or more in as many zones take invoices over gRPC, keep the bytes on
//! enough of them, and leave a signed, hash-chained record for each issuance and each
//! download, which an auditor checks offline with the `muniment-evidence` crate.
//!
//! The house has floors; a floor uses only floors above it in this list:
//!
//! * [`stop`], [`clock`]: ending a node; the only reader of OS time and randomness
//! * [`domain`]: ids, drafts, the command and its answers; pure
//! * [`objective`]: RPO and RTO as arithmetic; pure
//! * [`config`], [`keyring`], [`telemetry`]
//! * [`store`]: the only floor that names RocksDB
//! * [`ledger`]: the deterministic state machine; names neither RocksDB nor openraft
//! * [`transport`]: one trait for all traffic between nodes
//! * [`raft`]: the only floor that names openraft
//! * [`recorder`]: numbers, signs and submits statements
//! * [`bodies`]: bytes on their way in and out
//! * [`status`]: how every node is
//! * [`checkpoint`]: cosigned checkpoints, and the keys in force
//! * [`membership`]: members come and go
//! * [`witness`]: outside witnesses, the server and a node's side
//! * [`service`]: the verbs, one file each
//! * [`wire`]: generated protobuf code and its translation
//! * [`rpc`], [`http`]: listeners
//! * [`client`]: routing, retry, receipts always verified; stands beside `rpc`
//! * [`assemble`]: the composition root, of the node and of the simulator
//! * [`node`]: what ships: RocksDB, listeners and signals around it

// Here and not in the workspace: tests say what they expect by unwrapping.
#![warn(clippy::unwrap_used)]

pub mod assemble;
pub mod bodies;
pub mod checkpoint;
pub mod client;
pub mod clock;
pub mod config;
pub mod domain;
pub mod http;
pub mod keyring;
pub mod ledger;
pub mod membership;
#[cfg(feature = "rocksdb")]
pub mod node;
pub mod objective;
pub mod raft;
pub mod recorder;
pub mod rpc;
pub mod service;
pub mod status;
pub mod stop;
pub mod store;
pub mod telemetry;
pub mod transport;
pub mod wire;
pub mod witness;
