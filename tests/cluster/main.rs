//! Real nodes over real gRPC: one binary, since each links RocksDB.

mod breadth;
mod cosignatures;
mod divergence;
mod harness;
mod http;
mod keys;
mod kills;
mod limits;
mod oracles;
mod questions;
mod reader;
mod restarts;
mod scrubbing;
mod streams;
mod uniqueness;
mod witnesses;
