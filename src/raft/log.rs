//! The library's log storage, on [`crate::store::log`].
//!
//! Promises what the library asks for: appended entries are readable on return and
//! durable on callback, a vote is durable on return, one ordered writer for all. Leaves
//! bytes, files and the watermark to `store/`.

use super::codec;
use super::types::{Entry, LogId, TypeConfig, Vote};
use crate::domain::ids::{LogIndex, Term};
use crate::store::StoreError;
use crate::store::log::{LogStore, StoredEntry};
use crate::store::watermark::{DurableVote, LogPosition};
use futures::Stream;
use futures::stream::{self, BoxStream, StreamExt as _};
use openraft::entry::RaftEntry as _;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::vote::RaftLeaderId as _;
use openraft::{OptionalSend, RaftLogReader};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

/// Bytes of entries in one append message: far below the frame limit, and small enough
/// that a follower's log connection is never busy for long.
pub const APPEND_BYTES_MAX: usize = 1 << 20;
/// Bytes of entries read at a time for apply.
const APPLY_BYTES_MAX: usize = 4 << 20;

/// Cheap to clone.
#[derive(Clone)]
pub struct RaftLog {
    store: LogStore,
}

impl RaftLog {
    pub fn new(store: LogStore) -> RaftLog {
        RaftLog { store }
    }

    async fn entries(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let stored = self
            .store
            .read(LogIndex::new(start), LogIndex::new(end), bytes_max)
            .await?;
        stored.iter().map(|bytes| decode(bytes)).collect()
    }
}

fn decode<T: codec::Wire>(bytes: &[u8]) -> io::Result<T> {
    codec::decode(bytes).map_err(|error| StoreError::corrupt_in("raft log", error).into())
}

/// Start inclusive, end exclusive.
fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last + 1,
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<TypeConfig> for RaftLog {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<Entry>> {
        let (start, end) = bounds(&range);
        self.entries(start, end, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.entries(start, end, APPEND_BYTES_MAX).await
    }

    async fn entries_stream<R>(
        &mut self,
        range: R,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        let log = self.clone();
        // One page in memory at a time; a page that comes back empty ends the log.
        let pages = stream::try_unfold(start, move |next| {
            let log = log.clone();
            async move {
                if next >= end {
                    return Ok::<_, io::Error>(None);
                }
                let page = log.entries(next, end, APPLY_BYTES_MAX).await?;
                let count = page.len() as u64;
                Ok((count > 0).then_some((page, next + count)))
            }
        });
        let entries = pages.flat_map(|page| -> BoxStream<'static, io::Result<Entry>> {
            match page {
                Ok(page) => stream::iter(page.into_iter().map(Ok)).boxed(),
                Err(error) => stream::iter([Err(error)]).boxed(),
            }
        });
        entries.boxed()
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let stored = match self.store.read_vote().await? {
            None => None,
            Some(bytes) => Some(decode::<Vote>(&bytes)?),
        };
        // The watermark file may know a newer vote than a database that lost its tail.
        let noted = self
            .store
            .watermark()
            .vote
            .map(|vote| match vote.committed {
                true => Vote::new_committed(vote.term.get(), vote.node),
                false => Vote::new(vote.term.get(), vote.node),
            });
        Ok(match (stored, noted) {
            (Some(stored), Some(noted)) if noted > stored => Some(noted),
            (None, noted) => noted,
            (stored, _) => stored,
        })
    }
}

impl RaftLogStorage<TypeConfig> for RaftLog {
    type LogReader = RaftLog;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let extent = self.store.extent().await?;
        let purged: Option<LogId> = match &extent.purged {
            None => None,
            Some(bytes) => Some(decode(bytes)?),
        };
        let last = match &extent.last {
            None => purged,
            Some((_, bytes)) => Some(decode::<Entry>(bytes)?.log_id()),
        };
        Ok(LogState {
            last_purged_log_id: purged,
            last_log_id: last,
        })
    }

    async fn get_log_reader(&mut self) -> RaftLog {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let noted = DurableVote {
            term: Term::new(vote.leader_id().term()),
            node: *vote.leader_id().node_id(),
            committed: vote.is_committed(),
        };
        Ok(self.store.save_vote(noted, codec::encode(vote)).await?)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        match committed {
            None => Ok(()),
            Some(id) => Ok(self.store.save_committed(codec::encode(&id)).await?),
        }
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        match self.store.read_committed().await? {
            None => Ok(None),
            Some(bytes) => Ok(Some(decode(&bytes)?)),
        }
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let stored = entries
            .into_iter()
            .map(|entry| StoredEntry {
                id: watermark_id(&entry.log_id()),
                bytes: codec::encode(&entry),
            })
            .collect();
        let on_durable = Box::new(move |result: Result<(), StoreError>| {
            callback.io_completed(result.map_err(io::Error::from));
        });
        Ok(self.store.append(stored, on_durable).await?)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let last = last.as_ref().map(watermark_id);
        Ok(self.store.truncate_after(last).await?)
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let id = codec::encode(&log_id);
        Ok(self.store.purge(LogIndex::new(log_id.index()), id).await?)
    }
}

/// A log id as the watermark file keeps it.
pub fn watermark_id(id: &LogId) -> LogPosition {
    LogPosition {
        term: Term::new(id.committed_leader_id().term),
        index: LogIndex::new(id.index()),
    }
}
