//! Every limit of a node, with its default and its reason.
//!
//! tonic alone limits next to nothing; these are set on every listener and queue.

use crate::objective::budget;
use serde::{Deserialize, Serialize};

/// The default of [`Limits::message_bytes`].
pub const MESSAGE_BYTES: usize = 4 << 20;
/// The default of [`Limits::uploads_in_flight`].
pub const UPLOADS_IN_FLIGHT: usize = 256;

/// All sizes in bytes, all times in milliseconds.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// One gRPC message: the default of gRPC itself, so that every client agrees.
    pub message_bytes: usize,
    /// One chunk of a body: a quarter of a message.
    pub chunk_bytes: usize,
    /// One body: above any invoice PDF seen.
    pub body_bytes: u64,
    /// Uploads taken at the same time: each may hold some MiB on its way to peers.
    pub uploads_in_flight: usize,
    /// Downloads served at the same time.
    pub downloads_in_flight: usize,
    /// Statements waiting to be numbered; beyond it callers are told to come back.
    pub recorder_queue: usize,
    /// Streams on one client connection.
    pub streams_per_connection: u32,
    /// Client connections.
    pub connections: usize,
    /// Headers of one request.
    pub header_bytes: u32,
    /// A connection that has not finished its handshake by then is closed.
    pub handshake_timeout_ms: u64,
    /// Silence on a connection after which it is asked whether it is alive.
    pub keepalive_interval_ms: u64,
    /// ... and after which it is closed.
    pub keepalive_timeout_ms: u64,
    /// A call without a deadline of its own ends after this; long streams are bounded by
    /// their idle time instead.
    pub request_deadline_ms: u64,
    /// An upload that brings no byte for this long is ended, and a download of which nobody takes
    /// the next piece.
    pub idle_timeout_ms: u64,
    /// Free disk space below which bodies are refused while evidence goes on.
    pub disk_reserve_bytes: u64,
    /// Memory lent to downloads in flight: a long one holds 2 MiB, a short one twice its
    /// bytes. Thousands of usual invoices, hundreds of readers of large files.
    pub memory_bytes: u64,
    /// How long a stopping node waits for calls in flight.
    pub drain_ms: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message_bytes: MESSAGE_BYTES,
            chunk_bytes: 1 << 20,
            body_bytes: 64 << 20,
            uploads_in_flight: UPLOADS_IN_FLIGHT,
            downloads_in_flight: 2048,
            recorder_queue: 4096,
            streams_per_connection: 1024,
            connections: 1024,
            header_bytes: 16 << 10,
            handshake_timeout_ms: 5_000,
            keepalive_interval_ms: 10_000,
            keepalive_timeout_ms: 5_000,
            request_deadline_ms: 10_000,
            idle_timeout_ms: 30_000,
            disk_reserve_bytes: 256 << 20,
            memory_bytes: 512 << 20,
            drain_ms: 10_000,
        }
    }
}

impl Limits {
    pub(super) fn check(&self) -> Result<(), String> {
        let positive = [
            ("limits.message_bytes", self.message_bytes as u64),
            ("limits.chunk_bytes", self.chunk_bytes as u64),
            ("limits.body_bytes", self.body_bytes),
            ("limits.uploads_in_flight", self.uploads_in_flight as u64),
            (
                "limits.downloads_in_flight",
                self.downloads_in_flight as u64,
            ),
            ("limits.recorder_queue", self.recorder_queue as u64),
            ("limits.connections", self.connections as u64),
            ("limits.request_deadline_ms", self.request_deadline_ms),
            ("limits.idle_timeout_ms", self.idle_timeout_ms),
        ];
        for (key, value) in positive {
            if value == 0 {
                return Err(format!("{key}: is above 0"));
            }
        }
        if self.chunk_bytes + (64 << 10) > self.message_bytes {
            return Err("limits.chunk_bytes: leaves no room in limits.message_bytes".into());
        }
        let least = budget::memory_bytes_min();
        if self.memory_bytes < least {
            return Err(format!(
                "limits.memory_bytes: is at least {least}, what one long download holds"
            ));
        }
        if self.recorder_queue > budget::UNRESOLVED_MAX {
            return Err(format!(
                "limits.recorder_queue: is at most {}, what the ledger remembers of a lane",
                budget::UNRESOLVED_MAX
            ));
        }
        Ok(())
    }
}
