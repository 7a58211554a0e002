//! Muniment: a replicated store for issued invoices that can prove itself.

pub mod bodies;
pub mod clock;
pub mod config;
pub mod domain;
pub mod keyring;
pub mod ledger;
pub mod objective;
pub mod raft;
pub mod recorder;
pub mod service;
pub mod stop;
pub mod store;
pub mod transport;
pub mod wire;
