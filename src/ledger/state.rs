//! Reading the ledger: invoices folded from events, records, openings, proofs.
//!
//! Promises: an answer at size N folds records below N alone, so that lists and cursors
//! bound to N never change (but for what is erased); a visit reads one moment of the
//! replicated state, also while a snapshot takes its place, for [`Tables`] are lent for one
//! visit and live no longer. Blocking: callers go through
//! [`crate::store::Blocking`]. Leaves freshness to `raft/`'s reader.
//!
//! Tests: `src/ledger/tests/holding_tests.rs`, `tests/cluster/breadth.rs`.

use super::outboxes::{self, OUTBOXES_MAX};
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

/// Nodes that a ledger ever knows: each of them was replicated to once.
const NODES_EVER_MAX: usize = 10_000;
/// Events of one invoice that are read at a time.
pub(super) const EVENTS_AT_A_TIME: usize = 1024;

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

/// Bytes of an invoice's fields in an answer that are not text: tags, lengths, numbers.
const FIELDS_BYTES: usize = 512;
/// ... and of one rendition, one item of a list, and one reversal with its uid as text.
const RENDITION_BYTES: usize = 128;
const ITEM_BYTES: usize = 96;
const REVERSAL_BYTES: usize = 40;

impl Invoice {
    /// Bytes that it takes in an answer, or some more: pages end by them.
    pub fn bytes(&self) -> usize {
        let metadata = &self.metadata;
        let texts = metadata.encoded_length();
        let lists = metadata.alternative_ids.len()
            + metadata.tax.len()
            + metadata.references.len()
            + metadata.labels.len();
        let renditions = self.renditions.iter();
        let renditions = renditions.map(|r| RENDITION_BYTES + r.role.len() + r.media_type.len());
        FIELDS_BYTES
            + texts
            + ITEM_BYTES * lists
            + renditions.sum::<usize>()
            + REVERSAL_BYTES * self.reversed_by.len()
    }
}

/// What the events of an invoice came to so far.
#[derive(Default)]
struct Folded {
    invoice: Option<Invoice>,
    /// Reversed in full, without an amount.
    whole: bool,
    void: bool,
}

fn status(void: bool, whole: bool, reversed: i64, total: Option<i64>) -> Status {
    if void {
        Status::Void
    } else if whole || (reversed != 0 && Some(reversed) == total) {
        Status::Reversed
    } else if reversed != 0 {
        Status::PartlyReversed
    } else {
        Status::Issued
    }
}

impl InvoiceRow {
    /// Where the invoice stands now.
    pub fn status(&self) -> Status {
        let total = self.total.as_ref().map(|m| m.minor_units);
        status(
            self.void,
            self.reversed_whole,
            self.reversed_minor_units,
            total,
        )
    }
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
        numbered(self.scan(&tables::nodes(), NODES_EVER_MAX)?, NodeId::new)
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

    /// How many statements of an outbox the node's last BOOT says are signed, where it is there.
    pub fn signed_in_outbox(
        &self,
        node: NodeId,
        id: OutboxId,
    ) -> Result<Option<Sequence>, StoreError> {
        let Some(row) = self.row(&tables::outbox(node, id))? else {
            return Ok(None);
        };
        let opening = self.row(&tables::document(row.boot))?;
        let said = opening.and_then(|opening| outboxes::said_in(&opening, id));
        Ok(said.map(|outbox| outbox.next))
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

    /// Numbers of other invoices whose identities look like this one's, case and width aside.
    pub fn look_alikes(
        &self,
        identity: &muniment_evidence::opening::Identity,
        own: Uid,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let mut numbers = Vec::new();
        for (key, ()) in self.scan(&tables::looks(identity), limit + 1)? {
            let uid = key.uid()?;
            let row = self.invoice_row(uid)?.filter(|_| uid != own);
            let Some(row) = row else { continue };
            if let Document::Issue(issue) | Document::Reverse(issue) = self.document(row.index)? {
                numbers.push(issue.metadata.identity.number);
            }
        }
        numbers.truncate(limit);
        Ok(numbers)
    }

    /// The invoice folded from its records below `size`; `None` if it was not yet issued.
    /// However many events it has: an answer that leaves some out would be a wrong one.
    pub fn invoice(&self, uid: Uid, size: TreeSize) -> Result<Option<Invoice>, StoreError> {
        let mut folded = Folded::default();
        let (mut next, end) = (RecordIndex::FIRST, size.next_index());
        loop {
            let events = self.scan(&tables::events(uid, next, end), EVENTS_AT_A_TIME)?;
            let full = events.len() == EVENTS_AT_A_TIME;
            for (key, event) in events {
                let index = key.record()?;
                next = index.next();
                self.fold(uid, index, event, &mut folded)?;
            }
            if !full {
                break;
            }
        }
        let Some(mut invoice) = folded.invoice else {
            return Ok(None);
        };
        let total = invoice.metadata.total.as_ref().map(|m| m.minor_units);
        invoice.status = status(
            folded.void,
            folded.whole,
            invoice.reversed_minor_units,
            total,
        );
        if size >= self.head()?.size {
            // Whatever was folded, what apply decides by is the status now.
            let row = self.invoice_row(uid)?;
            let row =
                row.ok_or_else(|| StoreError::corrupt(format!("invoice {uid} has no row")))?;
            invoice.status = row.status();
        }
        Ok(Some(invoice))
    }

    fn fold(
        &self,
        uid: Uid,
        index: RecordIndex,
        event: EventRow,
        folded: &mut Folded,
    ) -> Result<(), StoreError> {
        match (&mut folded.invoice, event) {
            (None, EventRow::Issued) => folded.invoice = Some(self.issued(uid, index)?),
            (Some(invoice), EventRow::RenditionAdded) => {
                if let Document::AddRendition(add) = self.document(index)? {
                    invoice.renditions.push(add.rendition);
                }
            }
            (Some(invoice), EventRow::Reversed { by, minor_units }) => {
                invoice.reversed_by.push(by);
                match minor_units {
                    Some(amount) => invoice.reversed_minor_units += amount,
                    None => folded.whole = true,
                }
            }
            (Some(_), EventRow::Voided) => folded.void = true,
            _ => return Err(StoreError::corrupt(format!("the events of invoice {uid}"))),
        }
        Ok(())
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
    /// The record that waives what is wrong with this one.
    pub fn waived(&self, index: RecordIndex) -> Result<Option<RecordIndex>, StoreError> {
        Ok(self.row(&tables::waiver(index))?.map(|row| row.by))
    }

    pub fn named(&self, body: &BodyId) -> Result<Option<NamedRow>, StoreError> {
        self.row(&tables::named(body))
    }

    /// The tenant's invoices with a rendition of these bytes, in the order of their uids, from
    /// one on.
    pub fn with_body(
        &self,
        tenant: &str,
        sha256: &Digest,
        from: Uid,
        limit: usize,
    ) -> Result<Vec<Uid>, StoreError> {
        let found = self.scan(&tables::body_digests(tenant, sha256, from), limit)?;
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
