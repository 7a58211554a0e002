//! Real nodes over real gRPC: one binary, since each links RocksDB.

mod breadth;
mod harness;
mod kills;
mod limits;
mod restarts;
mod uniqueness;
mod witnesses;
