//! Descriptors and memory shared out: what is kept for whom.
//!
//! Pure arithmetic. Clients get what is left after the databases, the peers and the HTTP
//! port: a crowd of clients must never keep a restarting peer out. Leaves asking the
//! system to `preflight`, taking and giving back to `service/budgets`.

/// Open table files per database, of which there are two.
pub const DATABASE_FILES_MAX: usize = 512;
/// Peers open a few connections each; the rest is for restarts that overlap.
pub const PEER_CONNECTIONS_MAX: usize = 256;
/// Connections to peers: one per class and peer, for as many members as a founding takes.
pub const DIALLED_CONNECTIONS_MAX: usize = 3 * 64;
/// HTTP connections: scrapers, probes and a few auditors.
pub const HTTP_CONNECTIONS_MAX: usize = 256;
/// Listeners, logs of the databases, watermark, guard, snapshots being sent, the runtime.
pub const OWN_FILES_MAX: usize = 128;

/// Statements of one lane that are accepted but not yet resolved. Each of them must still
/// be found in what the ledger remembers of the lane, so that window is as long.
pub const UNRESOLVED_MAX: usize = 4096;

/// Bytes that one download may hold here at most: a chunk of 1 MiB that is being cut, a
/// piece of 256 KiB of it being encoded, 400 KiB in the connection's send buffer, and what
/// the allocator rounds up. A slow reader holds that much and no more: the next chunk is
/// read when the last piece was taken.
pub const DOWNLOAD_BYTES_MAX: u64 = 2 << 20;
/// What a download holds beside its bytes: receipt, state, buffers.
const DOWNLOAD_BASE_BYTES: u64 = 32 << 10;

/// Descriptors that a node needs beside its clients'.
pub const RESERVED_FILES: usize = 2 * DATABASE_FILES_MAX
    + PEER_CONNECTIONS_MAX
    + DIALLED_CONNECTIONS_MAX
    + HTTP_CONNECTIONS_MAX
    + OWN_FILES_MAX;

/// Descriptors with which `connections` clients can be served.
pub fn descriptors_wanted(connections: usize) -> u64 {
    (RESERVED_FILES + connections) as u64
}

/// Clients that can be served with so many descriptors.
pub fn client_connections(descriptors: u64) -> usize {
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    descriptors.saturating_sub(RESERVED_FILES)
}

/// Bytes to set aside for a download of `length` bytes: twice its bytes, read and encoded,
/// up to what a long one holds at a time.
pub fn download_bytes(length: u64) -> u64 {
    DOWNLOAD_BASE_BYTES + length.saturating_mul(2).min(DOWNLOAD_BYTES_MAX)
}

/// The least memory for downloads: one of any length.
pub fn memory_bytes_min() -> u64 {
    download_bytes(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_the_others_leave() {
        assert_eq!(client_connections(0), 0);
        assert_eq!(client_connections(RESERVED_FILES as u64), 0);
        assert_eq!(client_connections(descriptors_wanted(1024)), 1024);
        // The limit that systemd units and containers are given here.
        assert!(client_connections(4096) > 1024);
        assert_eq!(client_connections(u64::MAX), usize::MAX - RESERVED_FILES);
    }

    #[test]
    fn a_download_holds_its_bytes_twice_or_what_a_long_one_holds() {
        assert_eq!(download_bytes(0), 32 << 10);
        assert_eq!(download_bytes(100 << 10), 232 << 10);
        assert_eq!(download_bytes(64 << 20), memory_bytes_min());
        // 512 MiB, the default: thousands of usual invoices, hundreds of large files.
        assert!((512 << 20) / download_bytes(100 << 10) > 2000);
        assert!((512 << 20) / memory_bytes_min() > 200);
    }
}
