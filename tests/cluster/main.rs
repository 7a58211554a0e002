//! Real nodes over real gRPC: one binary, since each links RocksDB.

mod breadth;
mod cosignatures;
mod deferred;
mod divergence;
mod failover;
mod harness;
mod http;
mod keys;
mod kills;
mod levels;
mod limits;
mod many;
mod oracles;
mod questions;
mod reader;
mod reads;
mod restarts;
mod streams;
mod uniqueness;
mod witnesses;
