//! Consensus: the only layer that names openraft.
//!
//! Raft (Ongaro and Ousterhout, 2014) puts commands into one order on all nodes, and
//! openraft implements it. A node proposes a command; the leader appends it to its log and
//! sends it to the followers; when a majority has it durably it is committed, and every
//! node applies it to its state. This layer hosts the library: it gives it our storage, our
//! network and our bytes, and hands the rest of the node a plain view of it.
//!
//! # What runs
//!
//! openraft runs one core task per node, which decides, and beside it one that applies
//! ([`machine`]) and one per follower that replicates ([`network`]). None of them touches a
//! disk or a socket itself: they call the traits that are implemented here.
//!
//! ```text
//!   recorder, service              other nodes
//!        │ queue, read index            ▲ │
//!        ▼                              │ ▼
//!   proposals ─────────► openraft ──► network    server ◄── transport
//!   reader                 │  │                    │
//!   leadership, status ◄───┘  │  ◄─────────────────┘
//!                   ┌─────────┴────────┐
//!                   ▼                  ▼
//!                  log              machine
//!                   ▼                  ▼
//!               store::log          ledger
//! ```
//!
//! # The order of fsyncs of an append
//!
//! An entry is acknowledged when a majority has synced it. On each node:
//!
//! 1. The library calls `append` ([`log`]), which writes the entries to the ledger database
//!    without a sync and returns: they can be read now, and are sent to followers while the
//!    leader's own disk still works on them.
//! 2. The one flusher of the database ([`crate::store::flush`]) makes one fsync for all who
//!    wait, and then calls back, the oldest first. Only then does this node count itself
//!    among those who have the entry, or, as a follower, answer the append.
//! 3. When a majority has called back or answered, the entry is committed and applied: its
//!    writes, its log id and the membership go into one batch of the same database, *not*
//!    synced. A crash may lose applies, never a part of one; start-up applies again from
//!    the log, which was synced.
//! 4. A moment later the durability watermark, a file of its own, is raised to the newest
//!    synced entry. It never runs ahead of the log. When a node starts and its log ends
//!    below the watermark, the database has lost what was acknowledged.
//!
//! # Votes
//!
//! A vote is synced in the database and then in the watermark file before it is answered,
//! so that neither a crash nor a database that lost its tail makes a node vote twice in a
//! term; of the two, the newer counts. A term or vote never goes back. A node below its
//! watermark neither votes nor campaigns ([`elections`]) until the leader has sent what it
//! lacks, since its vote could elect a leader without it. A pre-vote comes first, so that a
//! node that was cut off does not depose a leader that works. With each vote, and at the
//! head of each stream of answers, a node shows which disk it runs on; the answers of a
//! disk that the ledger does not know count for nothing ([`identity`], I2). Whoever meets
//! such a node tells it; it ends once a majority of the voters has.
//!
//! # Snapshots
//!
//! After a number of entries the state is kept as a snapshot (a checkpoint of the database,
//! taken between two applies) and the log before it is dropped, but for what lagging
//! followers may still need. A follower that needs more is sent the snapshot over a stream
//! of its own ([`network`] sends, [`server`] receives): header, pieces of key-value pairs,
//! digest. It is written beside the state in force and takes its place in one batch, so
//! that a crash leaves the old state or the new one. One is received at a time; none is
//! taken or received while the disk is nearly full.
//!
//! # How long a slow peer is kept
//!
//! Each follower has one long-lived stream for appends. When it owes an answer for 3 s
//! (`APPEND_ANSWER_MAX` in [`network`]) the stream is given up and opened anew, from where
//! the follower stands; it is never removed for being slow, and never slows the others: a
//! majority without it commits. A snapshot transfer is given up when nothing moves for
//! 60 s. Heartbeats, log and snapshots have connections of their own. (For bodies, which
//! travel beside Raft, see [`crate::bodies`].)
//!
//! # Reading
//!
//! A read that must miss nothing asks the quorum for a *read index* and waits until that is
//! applied here ([`reader`]). There are no leases: no clock of another node is trusted.
//!
//! # The time of an entry
//!
//! Whoever proposes an entry writes its own time into it. A follower whose clock is more than
//! 5 s behind that time does not take the entry in, as if it had not come, and tells its leader;
//! a leader that too many tell so leaves the lead (`clock_bound`). So a majority of clocks
//! stands behind the time of what is committed.
//!
//! # What ends the node
//!
//! Any fatal error of the library, which includes every storage error below it: a node that
//! cannot keep its log must not go on as if it could ([`group`]).
//!
//! # Where to read on
//!
//! * [`group`]: starting and ending; [`proposals`]: commands in, answers out
//! * [`elections`], [`leadership`]: who campaigns, who leads, handing over
//! * `clock_bound`: entries of a time that has not come; [`inadmissible`]: what no ledger takes
//! * [`progress`], [`status`]: how far this replica is, how the group is
//! * [`membership`]: learners and voters
//! * [`reader`]: permission to read; [`reads`]: a read level made true
//! * [`hearing`]: whose frames are heard; [`identity`]: on which disk a node runs
//! * [`context`]: what the tasks and verbs of a node share
//! * [`log`], [`machine`]: storage; [`snapshot_judge`]: which snapshots come in force
//! * [`network`], [`server`]: the two ends of a line; [`codec`]: bytes; [`types`]: the
//!   library's type parameters
//!
//! Tests: `src/raft/storage_tests.rs` (openraft's own suite, and power cuts),
//! `src/raft/group_tests.rs` and `src/raft/absence_tests.rs` (groups in one process, with
//! lines that are cut or still).

mod clock_bound;
pub mod codec;
pub mod context;
mod elections;
pub mod group;
pub mod hearing;
pub mod identity;
pub mod inadmissible;
pub mod leadership;
pub mod log;
pub mod machine;
pub mod membership;
pub mod network;
pub mod progress;
pub mod proposals;
pub mod reader;
pub mod reads;
pub mod runtime;
pub mod server;
pub mod snapshot_judge;
pub mod status;
pub mod types;

#[cfg(test)]
mod absence_tests;
#[cfg(test)]
mod bad_snapshot_tests;
#[cfg(test)]
pub(crate) mod group_tests;
#[cfg(test)]
mod install_tests;
#[cfg(test)]
mod storage_tests;
