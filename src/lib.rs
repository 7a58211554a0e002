//! Muniment: a replicated store for issued invoices that can prove itself.
//!
//! Three nodes or more in as many zones take invoices over gRPC, keep the bytes on
//! enough of them, and leave a signed, hash-chained record for each issuance and each
//! download, which an auditor checks offline with the `muniment-evidence` crate.
//!
//! The house has layers; a layer uses only those listed before it:
//!
//! * [`stop`], [`supervise`], [`clock`], [`sync`]: ending a node; tasks that live as long as
//!   it; the only reader of OS time and randomness; a value held by several tasks
//! * [`domain`]: ids, drafts, the command and its answers; pure
//! * [`objective`]: RPO and RTO as arithmetic; pure
//! * [`config`]: the file, every key; [`preflight`] beside it looks at the machine
//! * [`keyring`], [`telemetry`]
//! * [`signatures`]: which signatures hold, none verified twice
//! * [`misconduct`]: what peers do that no member does, counted and told
//! * [`store`]: the only layer that names RocksDB
//! * [`ledger`]: the deterministic state machine; names neither RocksDB nor openraft
//! * [`transport`]: one trait for all traffic between nodes
//! * [`raft`]: the only layer that names openraft
//! * [`recorder`]: numbers, signs and submits statements
//! * [`bodies`]: bytes on their way in and out
//! * [`status`]: how every node is
//! * [`checkpoint`]: cosigned checkpoints, and the keys in force
//! * [`membership`]: members come and go
//! * [`witness`]: outside witnesses, the server and a node's side
//! * [`service`]: the verbs, one file each
//! * [`rpc`], [`http`]: listeners, and translation from and to protobuf
//! * [`assemble`]: the composition root, of the node and of the simulator
//! * [`node`]: what ships: RocksDB, listeners and signals around it
//!
//! Without the feature `node` there are only those layers that the command line stands on;
//! without `rocksdb` there is no [`node`], but all that a node is made of: the simulator
//! brings an engine of its own. The client is a crate beside this one.

#![allow(
    clippy::redundant_closure_for_method_calls,
    reason = "a method of Tables<'_> has no name for every lifetime at once"
)]
// Here and not in the workspace: tests say what they expect by unwrapping.
#![warn(clippy::unwrap_used)]

pub mod clock;
pub mod domain;
pub mod keyring;
pub mod objective;
pub mod sync;

#[cfg(feature = "node")]
pub mod assemble;
#[cfg(feature = "node")]
pub mod bodies;
#[cfg(feature = "node")]
pub mod checkpoint;
#[cfg(feature = "node")]
pub mod config;
#[cfg(feature = "node")]
pub mod http;
#[cfg(feature = "node")]
pub mod ledger;
#[cfg(feature = "node")]
pub mod membership;
#[cfg(feature = "node")]
pub mod misconduct;
#[cfg(feature = "rocksdb")]
pub mod node;
#[cfg(feature = "node")]
pub mod preflight;
#[cfg(feature = "node")]
pub mod raft;
#[cfg(feature = "node")]
pub mod recorder;
#[cfg(feature = "node")]
pub mod rpc;
#[cfg(feature = "node")]
pub mod service;
#[cfg(feature = "node")]
pub mod signatures;
#[cfg(feature = "node")]
pub mod status;
#[cfg(feature = "node")]
pub mod stop;
#[cfg(feature = "node")]
pub mod store;
#[cfg(feature = "node")]
pub mod supervise;
#[cfg(feature = "node")]
pub mod telemetry;
#[cfg(feature = "node")]
pub mod transport;
#[cfg(feature = "node")]
pub mod witness;
