//! Outside witnesses (C2SP tlog-witness): who vouches for a ledger without being part of it.
//!
//! A cluster whose operator is dishonest, or whose every voter was restored from a backup,
//! could show two histories. A witness elsewhere, run by somebody else, remembers the
//! largest head that it cosigned and cosigns nothing that contradicts it.
//!
//! * [`heads`], [`server`]: the witness, a process of its own
//! * [`breaker`], [`post`], [`client`], [`source`]: what a node does to be
//!   witnessed
//!
//! What is asked and how it is decided is `muniment_evidence::witness`. Never on the path
//! of a write: a witness that is away delays nothing but its own cosignatures.

pub mod breaker;
pub mod client;
#[cfg(test)]
mod exchange_tests;
pub mod heads;
pub mod post;
pub mod server;
pub mod source;
