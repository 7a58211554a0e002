//! Real nodes over real gRPC: one binary, since each links RocksDB.

mod breadth;
mod harness;
mod http;
mod kills;
mod limits;
mod oracles;
mod reader;
mod restarts;
mod uniqueness;
mod witnesses;
