//! The body-complete index: up to which record this node holds everything.
//!
//! Promises: while the index is n, every record below n was read back from the disk and
//! hashes to its leaf in the tree, and every body that an OK record below n names is
//! durable here, but for those that an operator has said to be lost. It follows what is applied; a body that is missing is given a short time
//! to arrive by the usual fan-out and is then brought from another holder, until it is
//! here. When one of them is found damaged, the index goes back below its record until it
//! is repaired. Leaves bringing bodies to [`super::repair`], and what the index is good
//! for (cosignatures) to `service/`.
//!
//! The index is kept beside the bodies as a mark, so that a start goes on from there, and
//! whoever restores or removes the bodies does the same to the mark. It holds for one
//! ledger and one generation of the state: a snapshot brings records that were never
//! looked at here, so after one the index begins again at zero.

use super::names::still_wanted;
use super::{Bodies, BodyError, BodyPlane};
use crate::domain::ids::TreeSize;
use crate::ledger::state::{State, Tables};
use crate::stop::Stop;
use crate::store;
use crate::store::bodies::content;
use crate::store::keys::Generation;
use crate::supervise::{self, Life};
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
/// Pause between looks at those that are arriving or being brought: they take a while.
const ARRIVING_PAUSE: Duration = Duration::from_millis(100);
/// The mark is moved this often at most; what it saves is looking again.
const MARK_EVERY: Duration = Duration::from_secs(1);
/// Records that come within this time are looked through in one go, which asks the disk once
/// for all their bodies. Cosignatures wait for it, and are made once a second.
const GATHER: Duration = Duration::from_millis(20);

const VERSION: u8 = 1;

/// How far everything is here, and of which history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    ledger: Digest,
    generation: Generation,
    size: TreeSize,
}

impl Mark {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(VERSION).digest(&self.ledger);
        w.u32(self.generation.0).u64(self.size.get());
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
            size: TreeSize::read(&mut r)?,
        };
        r.end()?;
        Ok(mark)
    }
}

/// Follows what is applied for as long as the node runs.
pub fn start(bodies: Bodies, state: State, stop: Stop) -> watch::Receiver<TreeSize> {
    let (index, watched) = watch::channel(TreeSize::EMPTY);
    let broken = stop.clone();
    supervise::keep(
        &stop,
        Life::UntilStopped,
        "the body-complete index",
        async move {
            let follower = Follower {
                bodies,
                state,
                index,
            };
            tokio::select! {
                Err(error) = follower.follow() => {
                    broken.broken(format!("the bodies held here cannot be checked: {error}"));
                }
                () = follower.publish() => {}
            }
        },
    );
    watched
}

struct Follower {
    bodies: Bodies,
    state: State,
    index: watch::Sender<TreeSize>,
}

/// What some records name.
struct Page {
    /// Below it all was looked through before.
    from: TreeSize,
    mark: Mark,
    applied: TreeSize,
    renditions: Vec<Rendition>,
}

impl Follower {
    /// Ends only with an error.
    async fn follow(&self) -> Result<(), BodyError> {
        let mut applied = self.bodies.group.watch_applied();
        // A mark that cannot be read saves nothing; that is all it is for.
        let stored = match self.bodies.store.mark().await {
            Err(store::StoreError::Unreadable(_)) => None,
            stored => stored?,
        };
        let mut mark = stored.and_then(|bytes| Mark::decode(&bytes).ok());
        let (mut kept, mut kept_at) = (mark, Instant::now());
        loop {
            applied.mark_unchanged();
            let (state, from) = (self.state.clone(), mark);
            let read = self.bodies.blocking;
            let read = read.run(move || state.read(|tables| page(tables, from)));
            let page = read.await?;
            let moved = mark != Some(page.mark);
            // Also where what comes next is waited for.
            self.bodies.repairs.seen.send_replace(page.from);
            if !page.renditions.is_empty() {
                self.hold(&page.renditions).await?;
            }
            mark = Some(page.mark);
            self.bodies.repairs.seen.send_replace(page.mark.size);
            if kept != mark && kept_at.elapsed() >= MARK_EVERY {
                self.bodies.store.set_mark(page.mark.encode()).await?;
                (kept, kept_at) = (mark, Instant::now());
            }
            if !moved && applied.changed().await.is_err() {
                // Raft has ended; so does the node.
                std::future::pending::<()>().await;
            }
            if page.mark.size >= page.applied {
                tokio::time::sleep(GATHER).await;
            }
        }
    }

    /// Says how far records were looked through, but not above a body that is damaged here:
    /// also while the follower waits for a body that nobody has.
    async fn publish(&self) {
        let repairs = &self.bodies.repairs;
        let (mut seen, mut low) = (repairs.seen.subscribe(), repairs.low_watermark());
        loop {
            let size = (*seen.borrow_and_update()).min(*low.borrow_and_update());
            self.index.send_if_modified(|index| {
                let moved = *index != size;
                *index = size;
                moved
            });
            // Their senders live in `repairs`.
            tokio::select! {
                _ = seen.changed() => {}
                _ = low.changed() => {}
            }
        }
    }

    /// Returns once all of these are durable here.
    async fn hold(&self, renditions: &[Rendition]) -> Result<(), BodyError> {
        let BodyPlane {
            store,
            inbound,
            repairs,
            ..
        } = &*self.bodies;
        let asked: Vec<_> = renditions.iter().map(|r| (r.body_id, content(r))).collect();
        let mut done = repairs.done();
        // One grace for all of them: who is far behind would else wait for each.
        let since = Instant::now();
        let mut missing = asked;
        loop {
            done.mark_unchanged();
            let held = store.held(&missing).await?;
            let left = missing.into_iter().zip(held).filter(|(_, held)| !held);
            missing = left.map(|(body, _)| body).collect();
            if missing.is_empty() {
                return Ok(());
            }
            if since.elapsed() < GRACE {
                tokio::time::sleep(LOOK_PAUSE).await;
                continue;
            }
            // Nobody has those that an operator has said to be lost.
            let state = self.state.clone();
            let wanted = self.bodies.blocking;
            let wanted = wanted.run(move || state.read(|tables| still_wanted(tables, missing)));
            missing = wanted.await?;
            if missing.is_empty() {
                return Ok(());
            }
            // One that is in the queue stays where it is; one that finds no room comes
            // again.
            for (body, content) in &missing {
                if !inbound.has(*body) {
                    repairs.missing(*body, *content);
                }
            }
            // Not after each that was brought: every look asks for all of them, and a sync.
            let brought = async { while done.changed().await.is_ok() && !repairs.is_idle() {} };
            tokio::select! {
                () = brought => {}
                () = tokio::time::sleep(ARRIVING_PAUSE) => {}
            }
        }
    }
}

/// The records from the mark to the end of their tile, each compared with its leaf.
fn page(tables: &Tables<'_>, from: Option<Mark>) -> Result<Page, store::StoreError> {
    let damaged = |index, what| store::StoreError::corrupt(format!("record {index} {what}"));
    let head = tables.head()?;
    let mut mark = Mark {
        ledger: head.ledger,
        generation: tables.generation(),
        size: TreeSize::EMPTY,
    };
    if let Some(from) = from
        && (from.ledger, from.generation) == (mark.ledger, mark.generation)
    {
        // What a crash took back is applied again, and is then looked at again.
        mark.size = from.size.min(head.size);
    }
    let from = mark.size;
    let first = from.next_index();
    let count = (TILE_WIDTH - from.get() % TILE_WIDTH).min(head.size.count_since(from));
    let records = tables.record_range(first, first.after(count), count as usize)?;
    if records.len() as u64 != count {
        return Err(damaged(first.after(records.len() as u64), "is missing"));
    }
    let leaves = match count {
        0 => Vec::new(),
        _ => tables.tree_rows().rows(0, from.get(), count)?,
    };
    let mut renditions = Vec::new();
    for ((index, bytes), leaf) in first.onwards().zip(records).zip(leaves) {
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
    mark.size = first.after(count).size_before();
    Ok(Page {
        from,
        mark,
        applied: head.size,
        renditions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_and_another_version_is_none() {
        let mark = Mark {
            ledger: Digest([7; 32]),
            generation: Generation(3),
            size: TreeSize::new(1_000_000),
        };
        let mut bytes = mark.encode();
        assert_eq!(Mark::decode(&bytes), Ok(mark));
        bytes[0] = 9;
        assert!(Mark::decode(&bytes).is_err());
    }
}
