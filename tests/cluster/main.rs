//! Real nodes over real gRPC: one binary, since each links RocksDB.

mod breadth;
mod cosignatures;
mod divergence;
mod harness;
mod kills;
mod limits;
mod restarts;
mod uniqueness;
