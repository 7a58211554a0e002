//! The verified index: up to which record this node has seen that its log holds.
//!
//! Raft carries whatever a leader proposes, and a leader can propose what nobody signed: a
//! statement in another node's name, or a holding that its node never gave. Followers append
//! it all the same, since looking at signatures there would make every write wait for them.
//! So each node reads, behind what it applies, every record and its openings, and checks them
//! by the verifier's own code; and it cosigns nothing above one that does not hold. A node
//! never vouches for what an auditor would refuse.
//!
//! Promises: while the index is n, every record below n verifies by itself (statement,
//! openings, holdings) under the keys of this ledger. It is read on one thread, as fast as
//! that goes, so that it never falls behind for long; when it is more than [`BEHIND_MAX`]
//! behind it says so, and again when it is not. At a record that does not hold it stops,
//! for as long as the node runs: it says which and under which leader it came, and counts a
//! misdeed of that leader. A signature by a key that was revoked later is none of this: the
//! ledger says so itself. Leaves what one record means for the next to apply, and holding
//! bodies to [`crate::bodies::complete`].
//!
//! The index is kept as a mark with the root at its size, so that a start goes on from there;
//! a mark whose root is not that of the log is of another log, and then all is read again.
//! Trusted as the disk is; lost, it costs reading the log once more.
//!
//! Tests: below, and `tests/cluster/bad_member/`.

use crate::domain::ids::{NodeId, RecordIndex, Term, TreeSize};
use crate::ledger::state::Tables;
use crate::misconduct::Misdeed;
use crate::raft::context::Context;
use crate::recorder::booted::Booted;
use crate::store::StoreError;
use crate::store::notes::NoteStore;
use crate::supervise::{self, Life};
use muniment_evidence::class::FindingClass;
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::digest::Digest;
use muniment_evidence::ledger::Ledger;
use muniment_evidence::opening::Document;
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::tree::TILE_WIDTH;
use muniment_evidence::verify;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Behind what is applied for longer than this, it is said: checks are slower than records
/// come in, and cosignatures wait for them.
const BEHIND_MAX: Duration = Duration::from_secs(10);
/// The mark is moved this often at most; what it saves is reading again.
const MARK_EVERY: Duration = Duration::from_secs(1);

const VERSION: u8 = 1;

/// Who proposed the records that are read now, as far as the log says it.
type Leadership = Option<(NodeId, Term)>;

/// How far all was seen to hold, and of which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    ledger: Digest,
    size: TreeSize,
    root: Digest,
    leadership: Leadership,
}

impl Mark {
    /// Of a log that nothing is known of.
    fn none(ledger: Digest) -> Mark {
        Mark {
            ledger,
            size: TreeSize::EMPTY,
            root: Digest::ZERO,
            leadership: None,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(VERSION).digest(&self.ledger).u64(self.size.get());
        w.digest(&self.root);
        w.option(self.leadership.as_ref(), |w, (node, term)| {
            w.u64(node.get()).u64(term.get());
        });
        w.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Mark, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return Err(r.error("mark version 1"));
        }
        let mark = Mark {
            ledger: r.digest()?,
            size: TreeSize::read(&mut r)?,
            root: r.digest()?,
            leadership: r.option(|r| Ok((NodeId::read(r)?, Term::read(r)?)))?,
        };
        r.end()?;
        Ok(mark)
    }
}

/// A record that no verifier takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRecord {
    pub index: RecordIndex,
    /// Such as `BAD_SIGNATURE (R4), record 9: the signature of node 2 on the statement does not
    /// hold`.
    pub why: String,
    /// Who led when it came, where the log says it.
    pub leader: Option<NodeId>,
}

/// How far the log was seen to hold, and what ended it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub size: TreeSize,
    pub bad: Option<BadRecord>,
}

/// Follows what is applied for as long as the node runs.
pub(super) fn start(
    context: Context,
    marks: NoteStore,
    booted: watch::Receiver<Option<Booted>>,
) -> watch::Receiver<Verified> {
    let (seen, watched) = watch::channel(Verified::default());
    let stop = context.stop.clone();
    supervise::keep(
        &stop,
        Life::UntilStopped,
        "the verified index",
        async move {
            let follower = Follower {
                context,
                marks,
                seen,
                pace: Pace::default(),
            };
            let stop = follower.context.stop.clone();
            if let Err(error) = follower.follow(booted).await {
                stop.broken(format!("the records held here cannot be checked: {error}"));
            }
        },
    );
    watched
}

struct Follower {
    context: Context,
    marks: NoteStore,
    seen: watch::Sender<Verified>,
    pace: Pace,
}

impl Follower {
    /// Ends only with an error of storage.
    async fn follow(
        mut self,
        mut booted: watch::Receiver<Option<Booted>>,
    ) -> Result<(), StoreError> {
        let Ok(booted) = booted.wait_for(Option::is_some).await.map(|b| b.clone()) else {
            // The node ends before it booted.
            return std::future::pending().await;
        };
        let origin = booted.map(|booted| booted.origin).unwrap_or_default();
        let mut applied = self.context.group.watch_applied();
        // A mark that cannot be read saves nothing; that is all it is for.
        let stored = self.marks.verified_mark().await?;
        let mut mark = stored.and_then(|bytes| Mark::decode(&bytes).ok());
        let (mut kept, mut kept_at) = (mark, Instant::now());
        let mut known = None;
        loop {
            applied.mark_unchanged();
            let (state, origin) = (self.context.state.clone(), origin.clone());
            let (from, before) = (mark, known.take());
            let read = self.context.blocking.run(move || {
                state.read(|tables| {
                    let known = KnownLedger::read(tables, &origin, before)?;
                    Ok((page(tables, &known.ledger, from)?, known))
                })
            });
            let page;
            (page, known) = read.await.map(|(page, known)| (page, Some(known)))?;
            let moved = mark != Some(page.mark);
            mark = Some(page.mark);
            self.pace.note(page.mark.size, page.applied);
            if let Some(bad) = page.bad {
                self.found(page.mark.size, bad);
                return std::future::pending().await;
            }
            self.seen.send_if_modified(|seen| {
                let changed = seen.size != page.mark.size;
                seen.size = page.mark.size;
                changed
            });
            if kept != mark && kept_at.elapsed() >= MARK_EVERY {
                self.marks.set_verified_mark(page.mark.encode()).await?;
                (kept, kept_at) = (mark, Instant::now());
            }
            if !moved && applied.changed().await.is_err() {
                // Raft has ended; so does the node.
                return std::future::pending().await;
            }
        }
    }

    /// A record that no verifier takes: nothing above it is cosigned here.
    fn found(&self, size: TreeSize, bad: BadRecord) {
        tracing::error!(
            index = bad.index.get(), why = %bad.why, leader = bad.leader.map(NodeId::get),
            "a record of the log does not verify; this node cosigns nothing above it"
        );
        if let Some(leader) = bad.leader.filter(|node| *node != self.context.group.node()) {
            let misconduct = self.context.group.misconduct();
            misconduct.saw(leader, Misdeed::BadRecord, &bad.why);
        }
        self.seen.send_replace(Verified {
            size,
            bad: Some(bad),
        });
    }
}

/// The ledger with its keys, as of some number of changes of them.
struct KnownLedger {
    serial: u64,
    ledger: Ledger,
}

impl KnownLedger {
    /// What was known, unless the keys have changed since.
    fn read(
        tables: &Tables<'_>,
        origin: &str,
        known: Option<KnownLedger>,
    ) -> Result<KnownLedger, StoreError> {
        let head = tables.head()?;
        if let Some(known) = known.filter(|known| known.serial == head.key_serial) {
            return Ok(known);
        }
        let ledger = Ledger::following(head.ledger, origin, tables.key_history()?);
        Ok(KnownLedger {
            serial: head.key_serial,
            ledger: ledger.for_many(),
        })
    }
}

/// What a look at some records came to.
struct Page {
    mark: Mark,
    applied: TreeSize,
    bad: Option<BadRecord>,
}

/// The records from the mark to the end of their tile, up to one that does not hold.
fn page(tables: &Tables<'_>, ledger: &Ledger, from: Option<Mark>) -> Result<Page, StoreError> {
    let head = tables.head()?;
    let unchanged = match from {
        Some(mark) if mark.ledger == head.ledger && mark.size <= head.size => {
            tables.root_at(mark.size)? == mark.root
        }
        _ => false,
    };
    // What a crash took back is applied again, and is then looked at again.
    let mut mark = from
        .filter(|_| unchanged)
        .unwrap_or_else(|| Mark::none(head.ledger));
    let from = mark.size;
    let first = from.next_index();
    let count = (TILE_WIDTH - from.get() % TILE_WIDTH).min(head.size.count_since(from));
    let records = tables.record_range(first, first.after(count), count as usize)?;
    let mut bad = None;
    for (index, bytes) in first.onwards().zip(records) {
        if let Some(why) = fault(tables, ledger, index, &bytes, &mut mark.leadership)? {
            let leader = mark.leadership.map(|(node, _)| node);
            bad = Some(BadRecord { index, why, leader });
            break;
        }
        mark.size = index.size_through();
    }
    mark.root = tables.root_at(mark.size)?;
    Ok(Page {
        mark,
        applied: head.size,
        bad,
    })
}

/// What is wrong with a record by itself, if anything is.
fn fault(
    tables: &Tables<'_>,
    ledger: &Ledger,
    index: RecordIndex,
    bytes: &[u8],
    leadership: &mut Leadership,
) -> Result<Option<String>, StoreError> {
    let damaged = |error| StoreError::corrupt_in(format!("record {index}"), error);
    let record = Record::decode(bytes).map_err(damaged)?;
    let (document, actor) = tables.openings(index)?;
    let checked = verify::record(ledger, &record, document.as_ref(), actor.as_ref());
    // Recorded before its key was revoked: the ledger says so itself.
    let mut faults = checked.iter().filter(|f| f.class != FindingClass::Revoked);
    if let Some(finding) = faults.next() {
        return Ok(Some(finding.to_string()));
    }
    let opened = document.and_then(|opening| Document::decode(&opening.bytes).ok());
    if let (Outcome::Ok, Some(Document::Leader(now))) = (record.outcome, opened) {
        *leadership = Some((now.leader, now.term));
    }
    Ok(None)
}

/// Since when it is behind, and whether that was said.
#[derive(Default)]
struct Pace {
    since: Option<Instant>,
    said: bool,
}

impl Pace {
    fn note(&mut self, verified: TreeSize, applied: TreeSize) {
        if verified >= applied {
            if std::mem::take(&mut self.said) {
                tracing::info!(
                    size = verified.get(),
                    "the log is verified up to its head again"
                );
            }
            self.since = None;
            return;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if !self.said && since.elapsed() > BEHIND_MAX {
            self.said = true;
            tracing::warn!(
                verified = verified.get(),
                applied = applied.get(),
                "records come in faster than they are verified; cosignatures wait for that"
            );
        }
    }
}

#[cfg(test)]
#[path = "verified_tests.rs"]
mod tests;
