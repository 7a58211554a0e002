//! Real nodes over real gRPC: one binary, since each links RocksDB.

mod breadth;
mod cosignatures;
mod divergence;
mod harness;
mod http;
mod joining;
mod keys;
mod kills;
mod limits;
mod members;
mod oracles;
mod questions;
mod reader;
mod restarts;
mod streams;
mod uniqueness;
mod witnesses;
