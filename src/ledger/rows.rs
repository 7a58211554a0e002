//! The rows of the replicated tables, byte for byte.
//!
//! Promises one encoding per row, led by a version where a row may grow. Leaves keys to
//! [`super::tables`] and meaning to the files beside.
//!
//! Tests: `src/ledger/tests/scenario_tests.rs`, `src/ledger/tests/membership_tests.rs`.

use crate::domain::ids::{
    LogIndex, NodeId, RecordIndex, Sequence, Term, TreeSize, Uid, UploadEpoch,
};
use crate::store::StoreError;
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::digest::Digest;
use muniment_evidence::key::PublicKey;
use muniment_evidence::opening::{Money, Opening};
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::statement::Kind;

/// A row that can be stored.
pub trait Row: Sized {
    fn write(&self, w: &mut Writer);
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError>;

    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        self.write(&mut w);
        w.finish()
    }

    /// A row that cannot be read is damage, not an answer.
    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut r = Reader::new(bytes);
        let row = Self::read(&mut r).and_then(|row| r.end().map(|()| row));
        row.map_err(|error| StoreError::corrupt_in(std::any::type_name::<Self>(), error))
    }
}

/// The ledger's head: one row.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LedgerHead {
    /// GENESIS leaf hash; zero before the founding.
    pub ledger: Digest,
    pub origin: String,
    /// Records in the log.
    pub size: TreeSize,
    pub last_leaf: Digest,
    /// Root of the tree at `size`; compared with the recomputed one at start.
    pub root: Digest,
    pub committed_at_ms: u64,
    pub feature_level: u64,
    /// OK KEY records so far.
    pub key_serial: u64,
    /// Collection of orphaned bodies goes by this counter, never by a clock.
    pub upload_epoch: UploadEpoch,
    /// When it last moved, by the ledger's own time.
    pub epoch_moved_at_ms: u64,
    /// Bytes of all bodies that OK records name.
    pub body_bytes: u64,
    /// H(previous ‖ canonical writes), over all applied commands.
    pub state_hash: Digest,
}

impl Row for LedgerHead {
    fn write(&self, w: &mut Writer) {
        w.u8(2).digest(&self.ledger).text(&self.origin);
        w.u64(self.size.get())
            .digest(&self.last_leaf)
            .digest(&self.root);
        w.u64(self.committed_at_ms).u64(self.feature_level);
        w.u64(self.key_serial).u64(self.upload_epoch.get());
        w.u64(self.epoch_moved_at_ms);
        w.u64(self.body_bytes).digest(&self.state_hash);
    }

    fn read(r: &mut Reader<'_>) -> Result<LedgerHead, DecodeError> {
        if r.u8()? != 2 {
            return Err(r.error("head version 2"));
        }
        Ok(LedgerHead {
            ledger: r.digest()?,
            origin: r.text()?,
            size: TreeSize::read(r)?,
            last_leaf: r.digest()?,
            root: r.digest()?,
            committed_at_ms: r.u64()?,
            feature_level: r.u64()?,
            key_serial: r.u64()?,
            upload_epoch: UploadEpoch::read(r)?,
            epoch_moved_at_ms: r.u64()?,
            body_bytes: r.u64()?,
            state_hash: r.digest()?,
        })
    }
}

/// Where a lane stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LaneRow {
    pub next_seq: Sequence,
    /// Hash of the statement before `next_seq`; zero at 0.
    pub last: Digest,
    pub closed: bool,
}

impl Row for LaneRow {
    fn write(&self, w: &mut Writer) {
        w.u64(self.next_seq.get())
            .digest(&self.last)
            .u8(u8::from(self.closed));
    }

    fn read(r: &mut Reader<'_>) -> Result<LaneRow, DecodeError> {
        Ok(LaneRow {
            next_seq: Sequence::read(r)?,
            last: r.digest()?,
            closed: r.u8()? == 1,
        })
    }
}

/// An outbox that its node's last BOOT named as there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// Index of that BOOT.
    pub boot: RecordIndex,
}

impl Row for OutboxRow {
    fn write(&self, w: &mut Writer) {
        w.u64(self.boot.get());
    }

    fn read(r: &mut Reader<'_>) -> Result<OutboxRow, DecodeError> {
        Ok(OutboxRow {
            boot: RecordIndex::read(r)?,
        })
    }
}

/// A DOWNLOAD that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenDownloadRow {
    pub tenant: String,
    /// Who serves it.
    pub node: NodeId,
    /// Bytes of its range.
    pub bytes: u64,
}

impl Row for OpenDownloadRow {
    fn write(&self, w: &mut Writer) {
        w.text(&self.tenant).u64(self.node.get()).u64(self.bytes);
    }

    fn read(r: &mut Reader<'_>) -> Result<OpenDownloadRow, DecodeError> {
        Ok(OpenDownloadRow {
            tenant: r.text()?,
            node: NodeId::read(r)?,
            bytes: r.u64()?,
        })
    }
}

/// What became of one statement of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowRow {
    pub hash: Digest,
    pub index: RecordIndex,
    pub outcome: Outcome,
}

impl Row for WindowRow {
    fn write(&self, w: &mut Writer) {
        w.digest(&self.hash).u64(self.index.get());
        self.outcome.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<WindowRow, DecodeError> {
        Ok(WindowRow {
            hash: r.digest()?,
            index: RecordIndex::read(r)?,
            outcome: Outcome::read(r)?,
        })
    }
}

/// What apply needs to know of an invoice without reading its opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvoiceRow {
    pub tenant: String,
    /// Index of its ISSUE or REVERSE record.
    pub index: RecordIndex,
    pub is_reversal: bool,
    pub content: Digest,
    pub total: Option<Money>,
    /// Sum of the OK reversals of this invoice, in minor units of the total.
    pub reversed_minor_units: i64,
    /// A reversal of everything, where there is no total to count against.
    pub reversed_whole: bool,
    pub void: bool,
    pub renditions: u64,
    pub reversals: u64,
}

impl Row for InvoiceRow {
    fn write(&self, w: &mut Writer) {
        w.u8(2).text(&self.tenant).u64(self.index.get());
        w.u8(u8::from(self.is_reversal)).digest(&self.content);
        w.option(self.total.as_ref(), |w, m| {
            w.i64(m.minor_units).text(&m.currency).u8(m.exponent);
        });
        w.i64(self.reversed_minor_units);
        w.u8(u8::from(self.reversed_whole)).u8(u8::from(self.void));
        w.u64(self.renditions).u64(self.reversals);
    }

    fn read(r: &mut Reader<'_>) -> Result<InvoiceRow, DecodeError> {
        if r.u8()? != 2 {
            return Err(r.error("invoice row version 2"));
        }
        Ok(InvoiceRow {
            tenant: r.text()?,
            index: RecordIndex::read(r)?,
            is_reversal: r.u8()? == 1,
            content: r.digest()?,
            total: r.option(|r| {
                Ok(Money {
                    minor_units: r.i64()?,
                    currency: r.text()?,
                    exponent: r.u8()?,
                })
            })?,
            reversed_minor_units: r.i64()?,
            reversed_whole: r.u8()? == 1,
            void: r.u8()? == 1,
            renditions: r.u64()?,
            reversals: r.u64()?,
        })
    }
}

/// A body that a record names, as the record says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedRow {
    pub length: u64,
    pub sha256: Digest,
    /// Index of that record.
    pub index: RecordIndex,
    /// Index of the record that says that no holder has it any more.
    pub lost: Option<RecordIndex>,
}

impl Row for NamedRow {
    fn write(&self, w: &mut Writer) {
        w.u8(1).u64(self.length).digest(&self.sha256);
        w.u64(self.index.get());
        w.option(self.lost.as_ref(), |w, lost| {
            w.u64(lost.get());
        });
    }

    fn read(r: &mut Reader<'_>) -> Result<NamedRow, DecodeError> {
        if r.u8()? != 1 {
            return Err(r.error("named body version 1"));
        }
        Ok(NamedRow {
            length: r.u64()?,
            sha256: r.digest()?,
            index: RecordIndex::read(r)?,
            lost: r.option(RecordIndex::read)?,
        })
    }
}

/// That the ledger goes on after a record which fails a check: by whose index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaiverRow {
    pub by: RecordIndex,
}

impl Row for WaiverRow {
    fn write(&self, w: &mut Writer) {
        w.u64(self.by.get());
    }

    fn read(r: &mut Reader<'_>) -> Result<WaiverRow, DecodeError> {
        Ok(WaiverRow {
            by: RecordIndex::read(r)?,
        })
    }
}

/// What happened to an invoice at a record; status at N folds events ≤ N.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventRow {
    Issued,
    RenditionAdded,
    /// Reversed by another invoice; no amount means in full.
    Reversed {
        by: Uid,
        minor_units: Option<i64>,
    },
    Voided,
}

impl Row for EventRow {
    fn write(&self, w: &mut Writer) {
        match self {
            EventRow::Issued => {
                w.u8(0);
            }
            EventRow::RenditionAdded => {
                w.u8(1);
            }
            EventRow::Reversed { by, minor_units } => {
                w.u8(2).raw(&by.0);
                w.option(minor_units.as_ref(), |w, m| {
                    w.i64(*m);
                });
            }
            EventRow::Voided => {
                w.u8(3);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<EventRow, DecodeError> {
        Ok(match r.u8()? {
            0 => EventRow::Issued,
            1 => EventRow::RenditionAdded,
            2 => EventRow::Reversed {
                by: Uid(r.array()?),
                minor_units: r.option(Reader::i64)?,
            },
            3 => EventRow::Voided,
            _ => return Err(r.error("an event")),
        })
    }
}

/// What a request id was used for. Lives as long as the invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRow {
    pub kind: Kind,
    pub content: Digest,
    /// Index of the record that did it.
    pub index: RecordIndex,
    pub uid: Uid,
}

impl Row for RequestRow {
    fn write(&self, w: &mut Writer) {
        w.u8(self.kind.code()).digest(&self.content);
        w.u64(self.index.get()).raw(&self.uid.0);
    }

    fn read(r: &mut Reader<'_>) -> Result<RequestRow, DecodeError> {
        Ok(RequestRow {
            kind: Kind::from_code(r.u8()?).ok_or_else(|| r.error("a known kind"))?,
            content: r.digest()?,
            index: RecordIndex::read(r)?,
            uid: Uid(r.array()?),
        })
    }
}

/// Of a node that has never booted.
pub const NO_INCARNATION: [u8; 16] = [0; 16];

/// A member as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    pub region: String,
    pub zone: String,
    /// Of its newest boot; before that, the one it was admitted with.
    pub statement_key: PublicKey,
    /// Index of its newest BOOT record, once it has booted; none again when the key that it
    /// booted under is retired or revoked.
    pub boot: Option<RecordIndex>,
    /// Of that boot; holdings of another are void (I2).
    pub incarnation: [u8; 16],
}

impl NodeRow {
    /// The disk that it booted from, if it ever did.
    pub fn disk(&self) -> Option<[u8; 16]> {
        (self.incarnation != NO_INCARNATION).then_some(self.incarnation)
    }
}

impl Row for NodeRow {
    fn write(&self, w: &mut Writer) {
        w.text(&self.region).text(&self.zone);
        w.raw(&self.statement_key.0);
        w.option(self.boot.as_ref(), |w, b| {
            w.u64(b.get());
        });
        w.raw(&self.incarnation);
    }

    fn read(r: &mut Reader<'_>) -> Result<NodeRow, DecodeError> {
        Ok(NodeRow {
            region: r.text()?,
            zone: r.text()?,
            statement_key: PublicKey(r.array()?),
            boot: r.option(RecordIndex::read)?,
            incarnation: r.array()?,
        })
    }
}

/// What the leader has to attest about a log position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DueRow {
    Leader {
        term: Term,
    },
    Membership {
        voters: Vec<Vec<NodeId>>,
        learners: Vec<NodeId>,
    },
}

impl Row for DueRow {
    fn write(&self, w: &mut Writer) {
        match self {
            DueRow::Leader { term } => {
                w.u8(0).u64(term.get());
            }
            DueRow::Membership { voters, learners } => {
                w.u8(1).list(voters, |w, set| {
                    w.list(set, |w, n| {
                        w.u64(n.get());
                    });
                });
                w.list(learners, |w, n| {
                    w.u64(n.get());
                });
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<DueRow, DecodeError> {
        Ok(match r.u8()? {
            0 => DueRow::Leader {
                term: Term::read(r)?,
            },
            1 => DueRow::Membership {
                voters: r.list(|r| r.list(NodeId::read))?,
                learners: r.list(NodeId::read)?,
            },
            _ => return Err(r.error("a due item")),
        })
    }
}

/// The voter sets in force: one, or two while the members change.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct VotersRow(pub Vec<Vec<NodeId>>);

impl Row for VotersRow {
    fn write(&self, w: &mut Writer) {
        w.list(&self.0, |w, set| {
            w.list(set, |w, n| {
                w.u64(n.get());
            });
        });
    }

    fn read(r: &mut Reader<'_>) -> Result<VotersRow, DecodeError> {
        Ok(VotersRow(r.list(|r| r.list(NodeId::read))?))
    }
}

/// The rendition of an invoice in one of its roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenditionRow {
    pub digest: Digest,
    /// Index of the record that added it.
    pub index: RecordIndex,
}

impl Row for RenditionRow {
    fn write(&self, w: &mut Writer) {
        w.digest(&self.digest).u64(self.index.get());
    }

    fn read(r: &mut Reader<'_>) -> Result<RenditionRow, DecodeError> {
        Ok(RenditionRow {
            digest: r.digest()?,
            index: RecordIndex::read(r)?,
        })
    }
}

/// A row whose key says all.
impl Row for () {
    fn write(&self, _: &mut Writer) {}

    fn read(_: &mut Reader<'_>) -> Result<(), DecodeError> {
        Ok(())
    }
}

impl Row for LogIndex {
    fn write(&self, w: &mut Writer) {
        w.u64(self.get());
    }

    fn read(r: &mut Reader<'_>) -> Result<LogIndex, DecodeError> {
        LogIndex::read(r)
    }
}

impl Row for Uid {
    fn write(&self, w: &mut Writer) {
        w.raw(&self.0);
    }

    fn read(r: &mut Reader<'_>) -> Result<Uid, DecodeError> {
        r.array().map(Uid)
    }
}

impl Row for Digest {
    fn write(&self, w: &mut Writer) {
        w.digest(self);
    }

    fn read(r: &mut Reader<'_>) -> Result<Digest, DecodeError> {
        r.digest()
    }
}

/// The very bytes that are hashed.
impl Row for Record {
    fn write(&self, w: &mut Writer) {
        w.raw(&self.encode());
    }

    fn read(r: &mut Reader<'_>) -> Result<Record, DecodeError> {
        Record::decode(r.raw(Record::LENGTH)?)
    }
}

impl Row for Opening {
    fn write(&self, w: &mut Writer) {
        w.raw(&self.salt).bytes(&self.bytes);
    }

    fn read(r: &mut Reader<'_>) -> Result<Opening, DecodeError> {
        Ok(Opening {
            salt: r.array()?,
            bytes: r.bytes()?.to_vec(),
        })
    }
}
