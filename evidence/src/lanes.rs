//! The rule for lanes: each node's series of statements goes on where it stopped.
//!
//! Promises: one finding for one fault, and the lane goes on from there. In a bundle from
//! record 0 each lane begins at seq 0 and leaves one record for each number; in a slice a
//! lane may begin anywhere, once. What a node had signed and not recorded when it
//! started shows from its BOOT: pending in an outbox, or lost.
//!
//! Tests: `evidence/tests/tamper.rs`.

use crate::checks::Check;
use crate::digest::Digest;
use crate::ids::{NodeId, OutboxId, RecordIndex, Sequence};
use crate::opening::BootOutbox;
use crate::record::{Outcome, Record};
use crate::statement::{Kind, Lane, Statement};
use std::collections::BTreeMap;

/// Where each lane stands.
pub struct Lanes {
    first: RecordIndex,
    ends: BTreeMap<(NodeId, Lane), LaneEnd>,
    /// What the newest BOOT of each node says of its outboxes; lost ones are left out.
    outboxes: BTreeMap<(NodeId, OutboxId), BootOutbox>,
    /// Index of each node's latest OK BOOT.
    boots: BTreeMap<NodeId, RecordIndex>,
}

/// An outbox with statements that are signed and not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOutbox {
    pub node: NodeId,
    pub outbox: OutboxId,
    /// How many, by what the node said when it last started.
    pub pending: u64,
}

struct LaneEnd {
    next: Sequence,
    last: Digest,
}

impl Lanes {
    pub fn new(first: RecordIndex) -> Lanes {
        Lanes {
            first,
            ends: BTreeMap::new(),
            outboxes: BTreeMap::new(),
            boots: BTreeMap::new(),
        }
    }

    /// Takes the record's statement as its lane's next, or says why it is not; in either
    /// case the lane goes on from there.
    /// `by_retired` says that no key but a retired one has signed.
    pub fn follow(&mut self, record: &Record, by_retired: bool) -> Result<(), (Check, String)> {
        let statement = &record.statement;
        let result = self
            .is_open(record)
            .and_then(|()| self.is_next(statement))
            .and_then(|()| self.is_as_said(statement, by_retired));
        self.ends.insert(
            (statement.node, statement.lane),
            LaneEnd {
                next: statement.seq.next(),
                last: statement.hash(),
            },
        );
        if statement.kind == Kind::Boot && record.outcome == Outcome::Ok {
            self.boots.insert(statement.node, record.index);
            let (from, to) = (
                Lane::Strict(RecordIndex::FIRST),
                Lane::Strict(RecordIndex::new(u64::MAX)),
            );
            let closed: Vec<_> = self
                .ends
                .range((statement.node, from)..=(statement.node, to))
                .map(|(key, _)| *key)
                .collect();
            for key in closed {
                self.ends.remove(&key);
            }
        }
        result
    }

    /// Compares what a BOOT says of its node's outboxes with the log.
    pub fn boot(&mut self, node: NodeId, outboxes: &[BootOutbox]) -> Vec<(Check, String)> {
        let mut faults = Vec::new();
        let (from, to) = ((node, OutboxId::new(0)), (node, OutboxId::new(u64::MAX)));
        let before: Vec<BootOutbox> = self.outboxes.range(from..=to).map(|(_, o)| *o).collect();
        for outbox in before {
            self.outboxes.remove(&(node, outbox.id));
            let is_pending = self.pending(node, &outbox) > 0;
            let now = outboxes.iter().find(|now| now.id == outbox.id);
            if let Some(now) = now.filter(|now| !now.lost)
                && is_pending
                && now.next < outbox.next
            {
                let detail = format!(
                    "the BOOT names {} statements of outbox {} of node {node}, the one before \
                     named {}",
                    now.next, outbox.id, outbox.next
                );
                faults.push((Check::OutboxNotBack, detail));
            }
            if now.is_none() && is_pending {
                let detail = format!(
                    "the BOOT does not name outbox {} of node {node}, which had statements to \
                     record",
                    outbox.id
                );
                faults.push((Check::OutboxNamedAgain, detail));
            }
        }
        for (place, outbox) in outboxes.iter().enumerate() {
            if outboxes[..place].iter().any(|other| other.id == outbox.id) {
                let detail = format!("the BOOT names outbox {} of node {node} twice", outbox.id);
                faults.push((Check::OutboxNamedOnce, detail));
            }
            let end = self.ends.get(&(node, Lane::Outbox(outbox.id)));
            if end.is_some_and(|end| outbox.next < end.next) {
                let detail = format!(
                    "the BOOT names {} statements of outbox {} of node {node}, the log has more",
                    outbox.next, outbox.id
                );
                faults.push((Check::OutboxNext, detail));
            }
            if end.is_some_and(|end| outbox.next == end.next && outbox.last != end.last) {
                let detail = format!(
                    "the BOOT names another last statement of outbox {} of node {node} than \
                     the log has",
                    outbox.id
                );
                faults.push((Check::OutboxLast, detail));
            }
            if outbox.lost {
                let detail = format!(
                    "node {node} lost its outbox {}: what it held back and had not recorded \
                     by then will never be known",
                    outbox.id
                );
                faults.push((Check::OutboxKept, detail));
            } else {
                self.outboxes.insert((node, outbox.id), *outbox);
            }
        }
        faults
    }

    /// See [`crate::chain::Chain::open_outboxes`].
    pub fn open_outboxes(&self) -> Vec<OpenOutbox> {
        let open = self.outboxes.iter().map(|((node, id), outbox)| OpenOutbox {
            node: *node,
            outbox: *id,
            pending: self.pending(*node, outbox),
        });
        open.filter(|open| open.pending > 0).collect()
    }

    /// Statements that a BOOT named and the log does not have.
    fn pending(&self, node: NodeId, outbox: &BootOutbox) -> u64 {
        match self.ends.get(&(node, Lane::Outbox(outbox.id))) {
            Some(end) => outbox.next.count_since(end.next),
            // In a slice they may be recorded before it.
            None if self.first != RecordIndex::FIRST => 0,
            None => outbox.next.count_since(Sequence::FIRST),
        }
    }

    fn is_open(&self, record: &Record) -> Result<(), (Check, String)> {
        let Statement {
            kind, lane, node, ..
        } = record.statement;
        let starts = matches!(kind, Kind::Genesis | Kind::Boot);
        // Whatever a node says in the wrong lane takes a number there, and is refused for it.
        let refused = matches!(record.outcome, Outcome::Refused(_));
        if Check::LaneOfKind.fails(!refused && starts != (lane == Lane::Boot)) {
            let detail = format!("a {kind} stands in the lane {lane}");
            return Err((Check::LaneOfKind, detail));
        }
        let Lane::Strict(boot) = lane else {
            return Ok(());
        };
        let closed = match self.boots.get(&node) {
            Some(latest) if *latest == boot => return Ok(()),
            // The slice begins after this boot.
            None if boot < self.first => return Ok(()),
            Some(latest) if boot < *latest => {
                format!("lane {lane} of node {node} was closed by the BOOT at {latest}")
            }
            _ => format!("lane {lane} of node {node} names no OK BOOT record of that node"),
        };
        match Check::StrictLaneOpen.is_asked() {
            true => Err((Check::StrictLaneOpen, closed)),
            false => Ok(()),
        }
    }

    /// What a BOOT said of an outbox binds it, where its lane gets that far.
    fn is_as_said(&self, statement: &Statement, by_retired: bool) -> Result<(), (Check, String)> {
        let Lane::Outbox(id) = statement.lane else {
            return Ok(());
        };
        let said = self.outboxes.get(&(statement.node, id));
        // In a slice the BOOT may stand before it.
        let unknown = said.is_none() && self.first != RecordIndex::FIRST;
        let given = said.is_some_and(|said| statement.seq < said.next);
        if Check::OutboxBeforeRetirement.fails(by_retired && !given && !unknown) {
            let detail = format!(
                "statement {} of outbox {id} of node {} is signed under a retired key, and no \
                 BOOT says that it was by then",
                statement.seq, statement.node
            );
            return Err((Check::OutboxBeforeRetirement, detail));
        }
        let other = said
            .is_some_and(|said| said.next == statement.seq.next() && said.last != statement.hash());
        if !other {
            return Ok(());
        }
        let detail = format!(
            "statement {} of outbox {id} of node {} is another than its BOOT said",
            statement.seq, statement.node
        );
        Err((Check::OutboxAsSaid, detail))
    }

    fn is_next(&self, statement: &Statement) -> Result<(), (Check, String)> {
        let Statement {
            node, lane, seq, ..
        } = *statement;
        // A strict lane whose BOOT is in the slice begins in the slice.
        let begins = match lane {
            Lane::Strict(boot) => boot >= self.first,
            _ => self.first == RecordIndex::FIRST,
        };
        let (next, last) = match self.ends.get(&(node, lane)) {
            Some(end) => (end.next, end.last),
            None if begins || seq == Sequence::FIRST => (Sequence::FIRST, Digest::ZERO),
            None => return Ok(()),
        };
        if Check::LaneWithoutGap.fails(seq > next) {
            let detail = format!(
                "lane {lane} of node {node} goes from {next} to {seq}: statements are missing"
            );
            return Err((Check::LaneWithoutGap, detail));
        }
        if Check::LaneWithoutRepeat.fails(seq < next) {
            let detail = format!("lane {lane} of node {node} is at {next} and has {seq} again");
            return Err((Check::LaneWithoutRepeat, detail));
        }
        if statement.prev != last {
            let detail = format!(
                "lane {lane} of node {node}: statement {seq} follows another statement \
                 than the one in the log"
            );
            return Err((Check::LaneLinked, detail));
        }
        Ok(())
    }
}
