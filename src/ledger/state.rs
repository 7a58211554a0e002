//! Reading the ledger: invoices folded from events, records, openings, proofs.
//!
//! Promises: an answer at size N folds records below N alone, so that lists and cursors
//! bound to N never change (but for what is erased); a visit reads one moment of the
//! replicated state, also while a snapshot takes its place, for [`Tables`] are lent for one
//! visit and live no longer. Blocking: callers go through
//! [`crate::store::Blocking`]. Leaves freshness to `raft/`'s reader.
//!
//! Tests: `src/ledger/tests/holding_tests.rs`, `tests/cluster/breadth.rs`.

use super::outboxes::OUTBOXES_MAX;
use super::roles::ModeRow;
use super::rows::{
    DueRow, EventRow, InvoiceRow, LaneRow, LedgerHead, NamedRow, NodeRow, RequestRow, Row,
    VotersRow, WindowRow,
};
use super::tables::{self, FoundKey, ListKey, RowKey, RowRange};
use super::tip;
use super::tree_rows::StoredRows;
use crate::domain::draft::InvoiceKey;
use crate::domain::ids::{
    BodyId, LogIndex, NodeId, OutboxId, RecordIndex, Sequence, TreeSize, Uid,
};
use crate::objective::write::WriteLevel;
use crate::store::engine::{Engine, View};
use crate::store::keys::Generation;
use crate::store::{StoreError, snapshot};
use muniment_evidence::digest::Digest;
use muniment_evidence::keys::KeyHistory;
use muniment_evidence::opening::{Document, Metadata, Opening, Rendition};
use muniment_evidence::receipt::KEYS_MAX;
use muniment_evidence::record::Record;
use muniment_evidence::statement::Lane;
use muniment_evidence::tree;
use std::sync::Arc;

/// Events of one invoice that are folded: reversals of one invoice are few.
const EVENTS_MAX: usize = 10_000;

/// Where an invoice stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Issued,
    PartlyReversed,
    Reversed,
    Void,
}

/// An invoice as folded from its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoice {
    pub uid: Uid,
    pub metadata: Metadata,
    pub renditions: Vec<Rendition>,
    pub status: Status,
    pub reversed_minor_units: i64,
    pub reversed_by: Vec<Uid>,
    /// Its ISSUE or REVERSE record.
    pub record_index: RecordIndex,
    /// As asked when it was issued.
    pub level: WriteLevel,
    pub committed_at_ms: u64,
}

/// Cheap to clone; reads what is applied now.
#[derive(Clone)]
pub struct State {
    engine: Arc<dyn Engine>,
}

impl State {
    pub fn new(engine: Arc<dyn Engine>) -> State {
        State { engine }
    }

    /// Visits the tables as they are at one moment.
    pub fn read<T>(
        &self,
        read: impl FnOnce(&Tables<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (mut read, mut found) = (Some(read), None);
        self.engine.at_one_moment(&mut |view| {
            let read = read.take().expect("an engine visits once");
            found = Some(read(&Tables::of(view)?)?);
            Ok(())
        })?;
        Ok(found.expect("an engine that did not visit has failed"))
    }
}

/// The tables of the generation in force, at one moment.
pub struct Tables<'a> {
    view: &'a dyn View,
    generation: Generation,
}

impl<'a> Tables<'a> {
    /// What is in force in this view, which must not change while it is lent.
    pub fn of(view: &'a dyn View) -> Result<Tables<'a>, StoreError> {
        let generation = snapshot::current(view)?;
        Ok(Tables { view, generation })
    }

    fn row<R: Row>(&self, key: &RowKey<R>) -> Result<Option<R>, StoreError> {
        key.read(self.view, self.generation)
    }

    /// Up to `limit` rows of a range.
    fn scan<R: Row>(
        &self,
        range: &RowRange<R>,
        limit: usize,
    ) -> Result<Vec<(FoundKey, R)>, StoreError> {
        range.read(self.view, self.generation, limit)
    }

    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Of a ledger that is founded, or of none.
    pub fn head(&self) -> Result<LedgerHead, StoreError> {
        Ok(tip::head(self.view, self.generation)?.unwrap_or_default())
    }

    pub fn node(&self, node: NodeId) -> Result<Option<NodeRow>, StoreError> {
        self.row(&tables::node(node))
    }

    pub fn nodes(&self) -> Result<Vec<(NodeId, NodeRow)>, StoreError> {
        numbered(self.scan(&tables::nodes(), EVENTS_MAX)?, NodeId::new)
    }

    /// Indexes of the OK KEY records.
    pub fn key_changes(&self) -> Result<Vec<RecordIndex>, StoreError> {
        let rows = self.scan(&tables::key_changes(), KEYS_MAX)?;
        rows.iter().map(|(key, ())| key.record()).collect()
    }

    /// The ledger's keys as of now; an error before the founding.
    pub fn key_history(&self) -> Result<KeyHistory, StoreError> {
        super::keys::history(&self.key_changes()?, |index| self.document(index))
    }

    pub fn voters(&self) -> Result<VotersRow, StoreError> {
        Ok(self.row(&tables::voters())?.unwrap_or_default())
    }

    /// The learners' roles, and the change of members in preparation.
    pub fn mode(&self) -> Result<ModeRow, StoreError> {
        Ok(self.row(&tables::mode())?.unwrap_or_default())
    }

    pub fn lane(&self, node: NodeId, lane: Lane) -> Result<Option<LaneRow>, StoreError> {
        self.row(&tables::lane(node, lane))
    }

    pub fn lane_window(
        &self,
        node: NodeId,
        lane: Lane,
        seq: Sequence,
    ) -> Result<Option<WindowRow>, StoreError> {
        self.row(&tables::window(node, lane, seq))
    }

    /// The outboxes that the node's last BOOT named as there, with their lanes.
    pub fn outboxes(&self, node: NodeId) -> Result<Vec<(OutboxId, LaneRow)>, StoreError> {
        let mut found = Vec::new();
        for (key, _) in self.scan(&tables::outboxes(node), OUTBOXES_MAX)? {
            let id = OutboxId::new(key.number()?);
            let lane = self.lane(node, Lane::Outbox(id))?;
            found.push((id, lane.unwrap_or_default()));
        }
        Ok(found)
    }

    /// What a leader has to attest, oldest first.
    pub fn due(&self, limit: usize) -> Result<Vec<(LogIndex, DueRow)>, StoreError> {
        numbered(self.scan(&tables::dues(), limit)?, LogIndex::new)
    }

    pub fn request(
        &self,
        tenant: &str,
        request_id: &str,
    ) -> Result<Option<RequestRow>, StoreError> {
        self.row(&tables::request(tenant, request_id))
    }

    pub fn invoice_row(&self, uid: Uid) -> Result<Option<InvoiceRow>, StoreError> {
        self.row(&tables::invoice(uid))
    }

    pub fn find(&self, key: &InvoiceKey) -> Result<Option<Uid>, StoreError> {
        match key {
            InvoiceKey::Uid(uid) => Ok(self.invoice_row(*uid)?.map(|_| *uid)),
            InvoiceKey::RequestId { tenant, request_id } => {
                Ok(self.request(tenant, request_id)?.map(|row| row.uid))
            }
            InvoiceKey::Identity(identity) => self.row(&tables::identity(identity)),
            InvoiceKey::AlternativeId { tenant, id } => {
                self.row(&tables::alternative_id(tenant, id))
            }
        }
    }

    /// The invoice folded from its records below `size`; `None` if it was not yet issued.
    pub fn invoice(&self, uid: Uid, size: TreeSize) -> Result<Option<Invoice>, StoreError> {
        let mut invoice: Option<Invoice> = None;
        let (mut whole, mut void) = (false, false);
        for (key, event) in self.scan(
            &tables::events(uid, RecordIndex::FIRST, size.next_index()),
            EVENTS_MAX,
        )? {
            let index = key.record()?;
            match (&mut invoice, event) {
                (None, EventRow::Issued) => invoice = Some(self.issued(uid, index)?),
                (Some(invoice), EventRow::RenditionAdded) => {
                    if let Document::AddRendition(add) = self.document(index)? {
                        invoice.renditions.push(add.rendition);
                    }
                }
                (Some(invoice), EventRow::Reversed { by, minor_units }) => {
                    invoice.reversed_by.push(by);
                    match minor_units {
                        Some(amount) => invoice.reversed_minor_units += amount,
                        None => whole = true,
                    }
                }
                (Some(_), EventRow::Voided) => void = true,
                _ => return Err(StoreError::corrupt(format!("the events of invoice {uid}"))),
            }
        }
        if let Some(invoice) = &mut invoice {
            let total = invoice.metadata.total.as_ref().map(|m| m.minor_units);
            let reversed = invoice.reversed_minor_units;
            invoice.status = if void {
                Status::Void
            } else if whole || (reversed != 0 && Some(reversed) == total) {
                Status::Reversed
            } else if reversed != 0 {
                Status::PartlyReversed
            } else {
                Status::Issued
            };
        }
        Ok(invoice)
    }

    fn issued(&self, uid: Uid, index: RecordIndex) -> Result<Invoice, StoreError> {
        let record = self.expect_record(index)?;
        match self.document(index)? {
            Document::Issue(issue) | Document::Reverse(issue) => Ok(Invoice {
                uid,
                metadata: issue.metadata,
                renditions: issue.renditions,
                status: Status::Issued,
                reversed_minor_units: 0,
                reversed_by: Vec::new(),
                record_index: index,
                // A record without a level issues nothing.
                level: WriteLevel::from_statement(record.statement.level).unwrap_or_default(),
                committed_at_ms: record.committed_at_ms,
            }),
            _ => Err(StoreError::corrupt(format!(
                "record {index} issues nothing"
            ))),
        }
    }

    /// What a record says a body is, if one names it.
    pub fn named(&self, body: &BodyId) -> Result<Option<NamedRow>, StoreError> {
        self.row(&tables::named(body))
    }

    /// Uids with a rendition of these bytes.
    pub fn with_body(&self, sha256: &Digest, limit: usize) -> Result<Vec<Uid>, StoreError> {
        let found = self.scan(&tables::body_digests(sha256), limit)?;
        found.iter().map(|(key, ())| key.uid()).collect()
    }

    /// Indexes of the OK records about an invoice within `from..end`, in order.
    pub fn about(
        &self,
        uid: Uid,
        from: RecordIndex,
        end: RecordIndex,
        limit: usize,
    ) -> Result<Vec<RecordIndex>, StoreError> {
        let events = self.scan(&tables::events(uid, from, end), limit)?;
        let downloads = self.scan(&tables::downloads(uid, from, end), limit)?;
        let keys = events.into_iter().map(|(key, _)| key);
        let keys = keys.chain(downloads.into_iter().map(|(key, ())| key));
        let indexes: Result<Vec<RecordIndex>, StoreError> = keys.map(|key| key.record()).collect();
        let mut indexes = indexes?;
        indexes.sort_unstable();
        indexes.truncate(limit);
        Ok(indexes)
    }

    /// The first record committed at or after `time_ms`, or the size.
    pub fn first_since(&self, time_ms: u64) -> Result<RecordIndex, StoreError> {
        let (mut low, mut high) = (0, self.head()?.size.get());
        while low < high {
            let middle = low + (high - low) / 2;
            if self
                .expect_record(RecordIndex::new(middle))?
                .committed_at_ms
                < time_ms
            {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(RecordIndex::new(low))
    }

    /// Invoices of a list from record `from` on: (record index, uid).
    pub fn listed(
        &self,
        list: ListKey,
        from: RecordIndex,
        size: TreeSize,
        limit: usize,
    ) -> Result<Vec<(RecordIndex, Uid)>, StoreError> {
        numbered(
            self.scan(&list.range(from, size.next_index()), limit)?,
            RecordIndex::new,
        )
    }

    pub fn record_bytes(&self, index: RecordIndex) -> Result<Option<Vec<u8>>, StoreError> {
        let key = tables::record(index).within(self.generation);
        self.view.get(&key)
    }

    /// Up to `limit` records from `from` on, below `end`, as they are stored.
    pub fn record_range(
        &self,
        from: RecordIndex,
        end: RecordIndex,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let range = tables::records(from, end);
        let found = range.read_bytes(self.view, self.generation, limit)?;
        Ok(found.into_iter().map(|(_, record)| record).collect())
    }

    pub fn expect_record(&self, index: RecordIndex) -> Result<Record, StoreError> {
        let bytes = self
            .record_bytes(index)?
            .ok_or_else(|| StoreError::corrupt(format!("record {index} is missing")))?;
        Record::decode(&bytes)
            .map_err(|error| StoreError::corrupt_in(format!("record {index}"), error))
    }

    /// Document and actor openings of a record.
    pub fn openings(
        &self,
        index: RecordIndex,
    ) -> Result<(Option<Opening>, Option<Opening>), StoreError> {
        Ok((
            self.row(&tables::document(index))?,
            self.row(&tables::actor(index))?,
        ))
    }

    pub fn document(&self, index: RecordIndex) -> Result<Document, StoreError> {
        let (document, _) = self.openings(index)?;
        let opening =
            document.ok_or_else(|| StoreError::corrupt(format!("opening {index} is missing")))?;
        Document::decode(&opening.bytes)
            .map_err(|error| StoreError::corrupt_in(format!("opening {index}"), error))
    }

    /// The size of the tree at the end of the Raft entry that holds record `index`.
    pub fn entry_end(&self, index: RecordIndex) -> Result<Option<TreeSize>, StoreError> {
        let found = self.scan(&tables::entry_ends_after(index), 1)?;
        let size = |(key, _): &(FoundKey, LogIndex)| key.number().map(TreeSize::new);
        found.first().map(size).transpose()
    }

    /// The Raft index of the entry that holds record `index`.
    pub fn raft_index_of(&self, index: RecordIndex) -> Result<Option<LogIndex>, StoreError> {
        let found = self.scan(&tables::entry_ends_after(index), 1)?;
        Ok(found.into_iter().next().map(|(_, raft_index)| raft_index))
    }

    pub fn tree_rows(&self) -> StoredRows<'_> {
        StoredRows::new(self.view, self.generation)
    }

    pub fn root_at(&self, size: TreeSize) -> Result<Digest, StoreError> {
        tree::root_at(&self.tree_rows(), size)
    }
}

/// Rows with the numbers that their keys end with.
fn numbered<N, R>(rows: Vec<(FoundKey, R)>, of: fn(u64) -> N) -> Result<Vec<(N, R)>, StoreError> {
    let numbered = rows.into_iter();
    numbered
        .map(|(key, row)| Ok((of(key.number()?), row)))
        .collect()
}
