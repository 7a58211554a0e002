//! The verified index: up to which record this node has seen that its log holds.
//!
//! Raft carries whatever a leader proposes, and a leader can propose what nobody signed: a
//! statement in another node's name, or a holding that its node never gave. Followers append
//! it all the same, since looking at signatures there would make every write wait for them.
//! So each node reads, behind what it applies, every record and its openings, and checks them
//! by the verifier's own code; and it cosigns nothing above one that does not hold. A node
//! never vouches for what an auditor would refuse. A signature that it has verified before,
//! at intake or where a holding arrived, is known to [`crate::signatures`].
//!
//! Promises: while the index is n, every record below n verifies by itself (statement,
//! openings, holdings) under the keys of this ledger. It is read on one thread, as fast as
//! that goes, so that it never falls behind for long; when it is more than [`BEHIND_MAX`]
//! behind it says so, and again when it is not. At a record that does not hold it stops: it
//! says which and under which leader it came, and counts a misdeed of that leader; it goes on
//! when an operator has waived that record on record. A signature by a key that was revoked later is none of this: the
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
use crate::signatures::Signatures;
use crate::store::StoreError;
use crate::store::notes::NoteStore;
use crate::supervise::{self, Life};
use muniment_evidence::class::FindingClass;
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::digest::Digest;
use muniment_evidence::ledger::Ledger;
use muniment_evidence::opening::Document;
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::report::Finding;
use muniment_evidence::tree::TILE_WIDTH;
use muniment_evidence::verify;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Behind what is applied for longer than this, it is said: checks are slower than records
/// come in, and cosignatures wait for them.
const BEHIND_MAX: Duration = Duration::from_secs(10);
/// The mark is moved this often at most; what it saves is reading again.
const MARK_EVERY: Duration = Duration::from_secs(1);
/// Records that come within this time are read in one go. Cosignatures wait for it, and are
/// made once a second.
const GATHER: Duration = Duration::from_millis(20);

const VERSION: u8 = 1;

/// Who proposed the records that are read now, as far as the log says it.
type Leadership = Option<(NodeId, Term)>;

/// How far the records were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reached {
    size: TreeSize,
    leadership: Leadership,
}

/// The same for who starts anew: of which log, besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    ledger: Digest,
    size: TreeSize,
    root: Digest,
    leadership: Leadership,
}

impl Mark {
    fn at(tables: &Tables<'_>, reached: Reached) -> Result<Mark, StoreError> {
        Ok(Mark {
            ledger: tables.head()?.ledger,
            root: tables.root_at(reached.size)?,
            size: reached.size,
            leadership: reached.leadership,
        })
    }

    /// Whether it is of the log that is held here, as far as that goes.
    fn holds(&self, tables: &Tables<'_>) -> Result<bool, StoreError> {
        let head = tables.head()?;
        let within = self.ledger == head.ledger && self.size <= head.size;
        Ok(within && tables.root_at(self.size)? == self.root)
    }

    fn reached(&self) -> Reached {
        Reached {
            size: self.size,
            leadership: self.leadership,
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
    /// Id of the check that it fails, such as `R4`.
    pub check: &'static str,
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
        let mut reached = mark.map(|mark| mark.reached()).unwrap_or_default();
        // Whose the mark is, is seen before anything is built upon it.
        let (mut marked_at, mut known) = (None::<Instant>, None);
        loop {
            applied.mark_unchanged();
            let due = marked_at.is_none_or(|at| at.elapsed() >= MARK_EVERY);
            let task = Look { reached, mark, due };
            let (state, origin) = (self.context.state.clone(), origin.clone());
            let (signatures, before) = (self.context.signatures.clone(), known.take());
            let read = self.context.blocking.run(move || {
                state.read(|tables| {
                    let known = KnownLedger::read(tables, &origin, &signatures, before)?;
                    Ok((task.read(tables, &known.ledger)?, known))
                })
            });
            let page;
            (page, known) = read.await.map(|(page, known)| (page, Some(known)))?;
            let moved = reached != page.reached;
            reached = page.reached;
            let is_bad = page.bad.is_some();
            if !is_bad {
                self.pace.note(reached.size, page.applied);
            }
            let now = Verified {
                size: reached.size,
                bad: page.bad,
            };
            if *self.seen.borrow() != now {
                self.see(now);
            }
            if due && !is_bad {
                if let Some(moved) = page.mark.filter(|new| mark != Some(*new)) {
                    self.marks.set_verified_mark(moved.encode()).await?;
                    mark = Some(moved);
                }
                marked_at = Some(Instant::now());
            }
            if !moved && applied.changed().await.is_err() {
                // Raft has ended; so does the node.
                return std::future::pending().await;
            }
            if is_bad || reached.size >= page.applied {
                tokio::time::sleep(GATHER).await;
            }
        }
    }

    /// At a record that no verifier takes, nothing above it is cosigned here.
    fn see(&self, now: Verified) {
        let before = self.seen.send_replace(now.clone());
        match now.bad {
            Some(bad) if before.bad.as_ref() != Some(&bad) => self.found(&bad),
            None if before.bad.is_some() => {
                tracing::info!("a record that does not verify is waived; the log goes on after it");
            }
            _ => {}
        }
    }

    fn found(&self, bad: &BadRecord) {
        tracing::error!(
            index = bad.index.get(), why = %bad.why, leader = bad.leader.map(NodeId::get),
            "a record of the log does not verify; this node cosigns nothing above it"
        );
        if let Some(leader) = bad.leader.filter(|node| *node != self.context.group.node()) {
            let misconduct = self.context.group.misconduct();
            misconduct.saw(leader, Misdeed::BadRecord, &bad.why);
        }
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
        signatures: &Signatures,
        known: Option<KnownLedger>,
    ) -> Result<KnownLedger, StoreError> {
        let head = tables.head()?;
        if let Some(known) = known.filter(|known| known.serial == head.key_serial) {
            return Ok(known);
        }
        let ledger = Ledger::following(head.ledger, origin, tables.key_history()?);
        Ok(KnownLedger {
            serial: head.key_serial,
            ledger: ledger.verifying_by(Arc::new(signatures.clone())),
        })
    }
}

/// A look at the next records.
struct Look {
    reached: Reached,
    mark: Option<Mark>,
    /// Whether the mark is looked at, and moved.
    due: bool,
}

/// What it came to.
struct Page {
    reached: Reached,
    applied: TreeSize,
    bad: Option<BadRecord>,
    /// Where one was due.
    mark: Option<Mark>,
}

impl Look {
    /// The records from where it stands to the end of their tile, up to one that does not hold.
    fn read(&self, tables: &Tables<'_>, ledger: &Ledger) -> Result<Page, StoreError> {
        let head = tables.head()?;
        let mut reached = self.reached;
        // What a crash took back is applied again, and is then looked at again.
        if reached.size > head.size || self.due && !self.mark_holds(tables)? {
            reached = Reached::default();
        }
        let from = reached.size;
        let first = from.next_index();
        let count = (TILE_WIDTH - from.get() % TILE_WIDTH).min(head.size.count_since(from));
        let records = tables.record_range(first, first.after(count), count as usize)?;
        let mut bad = None;
        for (index, bytes) in first.onwards().zip(records) {
            if let Some(finding) = fault(tables, ledger, index, &bytes, &mut reached.leadership)?
                && tables.waived(index)?.is_none()
            {
                bad = Some(BadRecord {
                    index,
                    check: finding.check.id(),
                    why: finding.to_string(),
                    leader: reached.leadership.map(|(node, _)| node),
                });
                break;
            }
            reached.size = index.size_through();
        }
        Ok(Page {
            reached,
            applied: head.size,
            bad,
            mark: self.due.then(|| Mark::at(tables, reached)).transpose()?,
        })
    }

    fn mark_holds(&self, tables: &Tables<'_>) -> Result<bool, StoreError> {
        self.mark.map_or(Ok(true), |mark| mark.holds(tables))
    }
}

/// What is wrong with a record by itself, if anything is.
fn fault(
    tables: &Tables<'_>,
    ledger: &Ledger,
    index: RecordIndex,
    bytes: &[u8],
    leadership: &mut Leadership,
) -> Result<Option<Finding>, StoreError> {
    let damaged = |error| StoreError::corrupt_in(format!("record {index}"), error);
    let record = Record::decode(bytes).map_err(damaged)?;
    let (document, actor) = tables.openings(index)?;
    let checked = verify::record(ledger, &record, document.as_ref(), actor.as_ref());
    // What the ledger says of itself is no fault of the record: that a key was revoked since,
    // or that a body is lost.
    let told = [FindingClass::Revoked, FindingClass::BodyLost];
    if let Some(finding) = checked.iter().find(|f| !told.contains(&f.class)) {
        return Ok(Some(finding.clone()));
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
