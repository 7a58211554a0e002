//! Real nodes over real gRPC: one binary, since each links RocksDB.

mod breadth;
mod budgets;
mod cosignatures;
mod deferred;
mod divergence;
mod failover;
mod full_disk;
mod harness;
mod http;
mod keys;
mod kills;
mod levels;
mod limits;
mod many;
mod oracles;
mod plain_http;
mod profiles;
mod questions;
mod reader;
mod reads;
mod restarts;
mod slow_disk;
mod slow_follower;
mod streams;
mod uniqueness;
mod witnesses;
