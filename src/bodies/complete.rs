//! The body-complete index: up to which record this node holds everything.
//!
//! Promises: while the index is n, every record below n was read back from the disk and
//! hashes to its leaf in the tree, and every body that an OK record below n names is
//! durable here. It follows what is applied; a body that is missing is given a short time
//! to arrive by the usual fan-out and is then brought from another holder, until it is
//! here. Leaves what the index is good for (cosignatures) to `service/`.
//!
//! The index is kept beside the bodies as a mark, so that a start goes on from there, and
//! whoever restores or removes the bodies does the same to the mark. It holds for one
//! ledger and one generation of the state: a snapshot brings records that were never
//! looked at here, so after one the index begins again at zero.

use super::{Bodies, Error};
use crate::ledger::state::{State, Tables};
use crate::stop::Stop;
use crate::store::keys::Generation;
use futures::stream::{self, TryStreamExt as _};
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::{Document, Rendition};
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::statement::Kind;
use muniment_evidence::tree::{Rows as _, TILE_WIDTH, leaf_hash};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a body may be on its way after its record is applied before it is asked for.
/// While a peer is sending it, it is not asked for however long that takes.
const GRACE: Duration = Duration::from_millis(500);
/// Pause between looks at a body that is expected.
const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// Pause before the holders of a missing body are asked again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Bodies brought at the same time: each holds a chunk or two in memory.
const FETCHES_MAX: usize = 4;
/// The mark is moved this often at most; what it saves is looking again.
const MARK_EVERY: Duration = Duration::from_secs(1);

const VERSION: u8 = 1;

/// How far everything is here, and of which history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    ledger: Digest,
    generation: Generation,
    size: u64,
}

impl Mark {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(VERSION).digest(&self.ledger);
        w.u32(self.generation.0).u64(self.size);
        w.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Mark, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return Err(r.error("mark version 1"));
        }
        let mark = Mark {
            ledger: r.digest()?,
            generation: Generation(r.u32()?),
            size: r.u64()?,
        };
        r.end()?;
        Ok(mark)
    }
}

/// Follows what is applied for as long as the node runs.
pub fn start(bodies: Bodies, state: State, stop: Stop) -> watch::Receiver<u64> {
    let (index, watched) = watch::channel(0);
    tokio::spawn(async move {
        let follower = Follower {
            bodies,
            state,
            index,
        };
        tokio::select! {
            Err(error) = follower.follow() => {
                stop.broken(format!("the bodies held here cannot be checked: {error}"));
            }
            _ = stop.stopped() => {}
        }
    });
    watched
}

struct Follower {
    bodies: Bodies,
    state: State,
    index: watch::Sender<u64>,
}

/// What some records name.
struct Page {
    mark: Mark,
    renditions: Vec<Rendition>,
}

impl Follower {
    /// Ends only with an error.
    async fn follow(&self) -> Result<(), Error> {
        let mut applied = self.bodies.group.watch_applied();
        let stored = self.bodies.store.mark().await?;
        // A mark that cannot be read saves nothing; that is all it is for.
        let mut mark = stored.and_then(|bytes| Mark::decode(&bytes).ok());
        let (mut kept, mut kept_at) = (mark, Instant::now());
        loop {
            applied.mark_unchanged();
            let (state, from) = (self.state.clone(), mark);
            let read = self.bodies.blocking;
            let read = read.run(move || state.stable(|tables| page(tables, from)));
            let page = read.await?;
            let moved = mark != Some(page.mark);
            if !page.renditions.is_empty() {
                self.hold(&page.renditions).await?;
            }
            mark = Some(page.mark);
            self.index.send_if_modified(|index| {
                let moved = *index != page.mark.size;
                *index = page.mark.size;
                moved
            });
            if kept != mark && kept_at.elapsed() >= MARK_EVERY {
                self.bodies.store.set_mark(page.mark.encode()).await?;
                (kept, kept_at) = (mark, Instant::now());
            }
            if !moved && applied.changed().await.is_err() {
                // Raft has ended; so does the node.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Returns once all of these are durable here.
    async fn hold(&self, renditions: &[Rendition]) -> Result<(), Error> {
        let asked: Vec<_> = renditions
            .iter()
            .map(|r| (r.body_id, (r.length, r.sha256)))
            .collect();
        let held = self.bodies.store.held(&asked).await?;
        let missing = renditions.iter().zip(held).filter(|(_, held)| !held);
        let missing: Vec<_> = missing.map(|(rendition, _)| Ok(rendition)).collect();
        // One grace for all of them: who is far behind would else wait for each.
        let since = Instant::now();
        stream::iter(missing)
            .try_for_each_concurrent(FETCHES_MAX, |rendition| self.bring(rendition, since))
            .await
    }

    /// `since`: when it was first found to be missing.
    async fn bring(&self, rendition: &Rendition, since: Instant) -> Result<(), Error> {
        let (id, content) = (rendition.body_id, (rendition.length, rendition.sha256));
        let mut said = false;
        loop {
            let manifest = self.bodies.store.manifest(id).await?;
            if manifest.is_some_and(|m| (m.length, m.sha256) == content)
                && self.bodies.store.held(&[(id, content)]).await? == [true]
            {
                return Ok(());
            }
            if since.elapsed() < GRACE || self.bodies.arriving.has(id) {
                tokio::time::sleep(LOOK_PAUSE).await;
                continue;
            }
            match self.bodies.obtain(rendition).await {
                Ok(()) => tracing::info!(sha256 = %rendition.sha256, "a missing body was brought"),
                Err(Error::Unavailable(why)) => {
                    if !said {
                        tracing::warn!(sha256 = %rendition.sha256, why, "a body is missing here");
                    }
                    said = true;
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The records from the mark to the end of their tile, each compared with its leaf.
fn page(tables: &Tables, from: Option<Mark>) -> Result<Page, crate::store::Error> {
    let damaged = |index, what| crate::store::Error::corrupt(format!("record {index} {what}"));
    let head = tables.head()?;
    let mut mark = Mark {
        ledger: head.ledger,
        generation: tables.generation(),
        size: 0,
    };
    if let Some(from) = from
        && (from.ledger, from.generation) == (mark.ledger, mark.generation)
    {
        // What a crash took back is applied again, and is then looked at again.
        mark.size = from.size.min(head.size);
    }
    let from = mark.size;
    let count = (TILE_WIDTH - from % TILE_WIDTH).min(head.size - from);
    let records = tables.record_range(from, from + count, count as usize)?;
    if records.len() as u64 != count {
        return Err(damaged(from + records.len() as u64, "is missing"));
    }
    let leaves = match count {
        0 => Vec::new(),
        _ => tables.tree_rows().rows(0, from, count)?,
    };
    let mut renditions = Vec::new();
    for ((index, bytes), leaf) in (from..).zip(records).zip(leaves) {
        if leaf_hash(&bytes) != leaf {
            return Err(damaged(index, "does not hash to its leaf"));
        }
        let record = Record::decode(&bytes).map_err(|_| damaged(index, "cannot be read"))?;
        let names = matches!(
            record.statement.kind,
            Kind::Issue | Kind::Reverse | Kind::AddRendition
        );
        if !names || record.outcome != Outcome::Ok {
            continue;
        }
        match tables.document(index)? {
            Document::Issue(issue) | Document::Reverse(issue) => {
                renditions.extend(issue.renditions);
            }
            Document::AddRendition(add) => renditions.push(add.rendition),
            _ => return Err(damaged(index, "opens to something else")),
        }
    }
    mark.size += count;
    Ok(Page { mark, renditions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_and_another_version_is_none() {
        let mark = Mark {
            ledger: Digest([7; 32]),
            generation: Generation(3),
            size: 1_000_000,
        };
        let mut bytes = mark.encode();
        assert_eq!(Mark::decode(&bytes), Ok(mark));
        bytes[0] = 9;
        assert!(Mark::decode(&bytes).is_err());
    }
}
