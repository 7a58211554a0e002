//! Every key of the replicated tables, in one place, each with the row that it leads to.
//!
//! Promises: a row is read and written under a key that this file made for it, so that no
//! row is taken for another's; numbers are big-endian and must stay so, since scans rely on
//! the order; text inside a key is led by its u16 length, so that no text is the prefix of
//! another. Leaves what the rows hold to [`super::rows`] and the keys that are a node's own
//! to [`crate::store::keys`].

use super::roles::ModeRow;
use super::rows::{
    DueRow, EventRow, InvoiceRow, LaneRow, LedgerHead, NamedRow, NodeRow, OpenDownloadRow,
    OutboxRow, RenditionRow, RequestRow, Row, VotersRow, WaiverRow, WindowRow,
};
use crate::domain::ids::{
    BodyId, LogIndex, NodeId, OutboxId, RecordIndex, Sequence, TreeSize, Uid,
};
use crate::store::StoreError;
use crate::store::engine::{View, prefix_end};
use crate::store::keys::{Generation, trailing_u64};
use muniment_evidence::codec::Writer;
use muniment_evidence::digest::Digest;
use muniment_evidence::name;
use muniment_evidence::opening::{AlternativeId, Identity, Opening};
use muniment_evidence::record::Record;
use muniment_evidence::statement::Lane;
use std::marker::PhantomData;

/// The tables. The byte is part of the format: never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Table {
    /// One row: the ledger's head.
    Head = 0x01,
    /// One row: last applied log id and membership; not part of the state hash.
    Applied = 0x02,
    /// record index → record
    Record = 0x03,
    /// record index → document opening
    Document = 0x04,
    /// record index → actor opening
    Actor = 0x05,
    /// level, index → tree row
    TreeRow = 0x06,
    /// tree size → Raft index of the entry that ended there
    EntryEnd = 0x07,
    /// node, lane → lane state
    Lane = 0x08,
    /// node, lane, seq → what became of that statement
    LaneWindow = 0x09,
    /// uid → invoice summary
    Invoice = 0x0a,
    /// uid, record index → event
    Event = 0x0b,
    /// identity → uid
    Identity = 0x0c,
    /// tenant, request id → uid, digest
    Request = 0x0d,
    /// tenant, scheme, value → uid
    AlternativeId = 0x0e,
    /// tenant, body SHA-256, uid → nothing
    BodyDigest = 0x0f,
    /// tenant, record index → uid
    ByTenant = 0x10,
    /// tenant, issuer, record index → uid
    ByIssuer = 0x11,
    /// tenant, buyer, record index → uid
    ByBuyer = 0x12,
    /// tenant, month, record index → uid
    ByMonth = 0x13,
    /// tenant, number, record index → uid
    ByNumber = 0x14,
    /// log index → what a leader has to attest
    Due = 0x15,
    /// uid, record index of an OK download → nothing
    Download = 0x16,
    /// uid, role → the rendition in that role
    Rendition = 0x17,
    /// node → member
    Node = 0x18,
    /// One row: the voter sets, as of the last membership entry.
    Voters = 0x19,
    /// record index of an OK KEY → nothing
    KeyChange = 0x1a,
    /// body id → what a record says it is
    Named = 0x1b,
    /// node, outbox → an outbox that the node has, by its last BOOT
    Outbox = 0x1c,
    /// One row: the change of members in preparation, and the learners' roles.
    Mode = 0x1d,
    /// record index of an OK DOWNLOAD that has not ended → who serves it
    OpenDownload = 0x1e,
    /// what an identity looks like, uid → nothing
    Look = 0x1f,
    /// index of a record that fails a check → the record that waives it
    Waiver = 0x20,
}

/// Where a row of kind `R` stands, whatever the generation.
pub struct RowKey<R> {
    bytes: Vec<u8>,
    row: PhantomData<fn() -> R>,
}

impl<R: Row> RowKey<R> {
    fn of(table: Table) -> RowKey<R> {
        RowKey {
            bytes: vec![table as u8],
            row: PhantomData,
        }
    }

    fn u8(mut self, value: u8) -> RowKey<R> {
        self.bytes.push(value);
        self
    }

    fn u64(mut self, value: u64) -> RowKey<R> {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn raw(mut self, bytes: &[u8]) -> RowKey<R> {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Text of any length, so that no caller's word makes it fail: one that is too long for
    /// any row stands as its digest, behind the length that no other has.
    fn text(self, text: &str) -> RowKey<R> {
        match u16::try_from(text.len()) {
            Ok(length) if length < u16::MAX => self.raw(&length.to_be_bytes()).raw(text.as_bytes()),
            _ => {
                let digest = Digest::of(&[text.as_bytes()]);
                self.raw(&u16::MAX.to_be_bytes()).raw(&digest.0)
            }
        }
    }

    fn lane(self, node: NodeId, lane: Lane) -> RowKey<R> {
        let (kind, id) = lane.code();
        self.u64(node.get()).u8(kind).u64(id)
    }

    /// All keys that begin with what was built.
    fn all(self) -> RowRange<R> {
        RowRange {
            end: prefix_end(&self.bytes),
            start: self.bytes,
            row: PhantomData,
        }
    }

    /// The keys that begin with what was built and go on with a number of `from..end`.
    fn numbered(self, from: u64, end: u64) -> RowRange<R> {
        let at = |index: u64| [&self.bytes[..], &index.to_be_bytes()].concat();
        RowRange {
            start: at(from),
            end: at(end),
            row: PhantomData,
        }
    }

    /// Without the generation.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// As it stands in the engine.
    pub fn within(&self, generation: Generation) -> Vec<u8> {
        generation.key(&self.bytes)
    }

    pub fn read(&self, view: &dyn View, generation: Generation) -> Result<Option<R>, StoreError> {
        let bytes = view.get(&self.within(generation))?;
        bytes.map(|bytes| R::decode(&bytes)).transpose()
    }
}

/// Rows of one kind that stand beside each other.
pub struct RowRange<R> {
    start: Vec<u8>,
    end: Vec<u8>,
    row: PhantomData<fn() -> R>,
}

impl<R: Row> RowRange<R> {
    /// First and end, without the generation.
    pub fn bounds(&self) -> (&[u8], &[u8]) {
        (&self.start, &self.end)
    }

    /// Up to `limit` pairs as they are stored, in the order of their keys.
    pub fn read_bytes(
        &self,
        view: &dyn View,
        generation: Generation,
        limit: usize,
    ) -> Result<Vec<(FoundKey, Vec<u8>)>, StoreError> {
        let skip = generation.prefix().len();
        let (start, end) = (generation.key(&self.start), generation.key(&self.end));
        let found = view.scan(&start, &end, limit)?.into_iter();
        let behind = |key: Vec<u8>| FoundKey(key.get(skip..).unwrap_or_default().to_vec());
        Ok(found.map(|(key, value)| (behind(key), value)).collect())
    }

    /// Up to `limit` rows, in the order of their keys.
    pub fn read(
        &self,
        view: &dyn View,
        generation: Generation,
        limit: usize,
    ) -> Result<Vec<(FoundKey, R)>, StoreError> {
        let found = self.read_bytes(view, generation, limit)?.into_iter();
        found
            .map(|(key, value)| Ok((key, R::decode(&value)?)))
            .collect()
    }
}

/// A key that a scan came upon, without the generation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundKey(pub(super) Vec<u8>);

impl FoundKey {
    /// The number that the key ends with: a record's index, a node, a place in the log.
    pub fn number(&self) -> Result<u64, StoreError> {
        trailing_u64(&self.0).ok_or_else(|| StoreError::corrupt("a key does not end with a number"))
    }

    /// The record whose index the key ends with.
    pub fn record(&self) -> Result<RecordIndex, StoreError> {
        self.number().map(RecordIndex::new)
    }

    /// The uid that the key ends with.
    pub fn uid(&self) -> Result<Uid, StoreError> {
        let tail = self.0.last_chunk().copied();
        tail.map(Uid)
            .ok_or_else(|| StoreError::corrupt("a key does not end with a uid"))
    }

    /// The lane in a key of [`lane`].
    pub fn lane(&self) -> Result<Lane, StoreError> {
        let behind_node = self.0.get(1 + 8..);
        let parts = behind_node.and_then(|rest| {
            let (kind, id) = rest.split_first()?;
            Some((kind, id.try_into().ok()?))
        });
        parts
            .and_then(|(kind, id)| Lane::from_code(*kind, u64::from_be_bytes(id)))
            .ok_or_else(|| StoreError::corrupt("a key of a lane"))
    }
}

pub fn head() -> RowKey<LedgerHead> {
    RowKey::of(Table::Head)
}

/// Without the generation, the row in which consensus keeps how far it has applied; what
/// it holds is known there alone.
pub fn applied() -> Vec<u8> {
    vec![Table::Applied as u8]
}

pub fn record(index: RecordIndex) -> RowKey<Record> {
    RowKey::of(Table::Record).u64(index.get())
}

/// Records `from..end`.
pub fn records(from: RecordIndex, end: RecordIndex) -> RowRange<Record> {
    RowKey::of(Table::Record).numbered(from.get(), end.get())
}

pub fn document(index: RecordIndex) -> RowKey<Opening> {
    RowKey::of(Table::Document).u64(index.get())
}

pub fn actor(index: RecordIndex) -> RowKey<Opening> {
    RowKey::of(Table::Actor).u64(index.get())
}

pub fn tree_row(level: u8, at: u64) -> RowKey<Digest> {
    RowKey::of(Table::TreeRow).u8(level).u64(at)
}

/// Rows `from..end` of one level of the tree.
pub fn tree_rows(level: u8, from: u64, end: u64) -> RowRange<Digest> {
    RowKey::of(Table::TreeRow).u8(level).numbered(from, end)
}

/// Which Raft entry ended at this size of the tree.
pub fn entry_end(size: TreeSize) -> RowKey<LogIndex> {
    RowKey::of(Table::EntryEnd).u64(size.get())
}

/// Where entries end, beginning with the one that holds record `index`.
pub fn entry_ends_after(index: RecordIndex) -> RowRange<LogIndex> {
    RowKey::of(Table::EntryEnd).numbered(index.size_through().get(), u64::MAX)
}

pub fn lane(node: NodeId, lane: Lane) -> RowKey<LaneRow> {
    RowKey::of(Table::Lane).lane(node, lane)
}

/// All lanes of a node.
pub fn lanes(node: NodeId) -> RowRange<LaneRow> {
    RowKey::of(Table::Lane).u64(node.get()).all()
}

/// What became of one statement of a lane.
pub fn window(node: NodeId, lane: Lane, seq: Sequence) -> RowKey<WindowRow> {
    RowKey::of(Table::LaneWindow)
        .lane(node, lane)
        .u64(seq.get())
}

/// All that is remembered of a lane.
pub fn windows(node: NodeId, lane: Lane) -> RowRange<WindowRow> {
    RowKey::of(Table::LaneWindow).lane(node, lane).all()
}

pub fn invoice(uid: Uid) -> RowKey<InvoiceRow> {
    RowKey::of(Table::Invoice).raw(&uid.0)
}

pub fn event(uid: Uid, index: RecordIndex) -> RowKey<EventRow> {
    RowKey::of(Table::Event).raw(&uid.0).u64(index.get())
}

/// Events of an invoice at records `from..end`.
pub fn events(uid: Uid, from: RecordIndex, end: RecordIndex) -> RowRange<EventRow> {
    RowKey::of(Table::Event)
        .raw(&uid.0)
        .numbered(from.get(), end.get())
}

/// Invoices whose identities look alike, case and width aside.
pub fn looks(identity: &Identity) -> RowRange<()> {
    look_key(identity).all()
}

pub fn look(identity: &Identity, uid: Uid) -> RowKey<()> {
    look_key(identity).raw(&uid.0)
}

fn look_key(identity: &Identity) -> RowKey<()> {
    let parts = [
        &identity.scheme,
        &identity.issuer,
        &identity.number,
        &identity.period,
    ];
    let mut w = Writer::new();
    for part in parts {
        w.text(&name::look(part));
    }
    let look = Digest::of(&[&w.finish()]);
    RowKey::of(Table::Look).text(&identity.tenant).raw(&look.0)
}

pub fn identity(identity: &Identity) -> RowKey<Uid> {
    RowKey::of(Table::Identity)
        .text(&identity.tenant)
        .text(&identity.scheme)
        .text(&identity.issuer)
        .text(&identity.number)
        .text(&identity.period)
}

pub fn request(tenant: &str, request_id: &str) -> RowKey<RequestRow> {
    RowKey::of(Table::Request).text(tenant).text(request_id)
}

pub fn alternative_id(tenant: &str, id: &AlternativeId) -> RowKey<Uid> {
    RowKey::of(Table::AlternativeId)
        .text(tenant)
        .text(&id.scheme)
        .text(&id.value)
}

/// That an invoice of the tenant has a rendition of these bytes.
pub fn body_digest(tenant: &str, sha256: &Digest, uid: Uid) -> RowKey<()> {
    let table = RowKey::of(Table::BodyDigest);
    table.text(tenant).raw(&sha256.0).raw(&uid.0)
}

/// The tenant's invoices with a rendition of these bytes, from this uid on.
pub fn body_digests(tenant: &str, sha256: &Digest, from: Uid) -> RowRange<()> {
    let table = || RowKey::of(Table::BodyDigest);
    RowRange {
        start: table().text(tenant).raw(&sha256.0).raw(&from.0).bytes,
        ..table().text(tenant).raw(&sha256.0).all()
    }
}

/// A list of invoices in the order of their records; the key goes on with the index.
pub struct ListKey(RowKey<Uid>);

impl ListKey {
    pub fn by_tenant(tenant: &str) -> ListKey {
        ListKey(RowKey::of(Table::ByTenant).text(tenant))
    }

    pub fn by_issuer(tenant: &str, issuer: &str) -> ListKey {
        ListKey(RowKey::of(Table::ByIssuer).text(tenant).text(issuer))
    }

    pub fn by_buyer(tenant: &str, buyer: &str) -> ListKey {
        ListKey(RowKey::of(Table::ByBuyer).text(tenant).text(buyer))
    }

    pub fn by_month(tenant: &str, month: &str) -> ListKey {
        ListKey(RowKey::of(Table::ByMonth).text(tenant).text(month))
    }

    pub fn by_number(tenant: &str, number: &str) -> ListKey {
        ListKey(RowKey::of(Table::ByNumber).text(tenant).text(number))
    }

    /// The place of the invoice that record `index` issued.
    pub fn at(self, index: RecordIndex) -> RowKey<Uid> {
        self.0.u64(index.get())
    }

    /// The invoices issued at records `from..end`.
    pub fn range(self, from: RecordIndex, end: RecordIndex) -> RowRange<Uid> {
        self.0.numbered(from.get(), end.get())
    }
}

pub fn due(log_index: LogIndex) -> RowKey<DueRow> {
    RowKey::of(Table::Due).u64(log_index.get())
}

/// All that is due.
pub fn dues() -> RowRange<DueRow> {
    RowKey::of(Table::Due).all()
}

/// That an OK DOWNLOAD of an invoice stands at this record.
pub fn download(uid: Uid, index: RecordIndex) -> RowKey<()> {
    RowKey::of(Table::Download).raw(&uid.0).u64(index.get())
}

/// Downloads of an invoice at records `from..end`.
pub fn downloads(uid: Uid, from: RecordIndex, end: RecordIndex) -> RowRange<()> {
    RowKey::of(Table::Download)
        .raw(&uid.0)
        .numbered(from.get(), end.get())
}

/// That the DOWNLOAD at this record has not ended.
pub fn open_download(index: RecordIndex) -> RowKey<OpenDownloadRow> {
    RowKey::of(Table::OpenDownload).u64(index.get())
}

pub fn rendition(uid: Uid, role: &str) -> RowKey<RenditionRow> {
    RowKey::of(Table::Rendition).raw(&uid.0).text(role)
}

pub fn node(node: NodeId) -> RowKey<NodeRow> {
    RowKey::of(Table::Node).u64(node.get())
}

/// Every node that the ledger knows.
pub fn nodes() -> RowRange<NodeRow> {
    RowKey::of(Table::Node).all()
}

pub fn voters() -> RowKey<VotersRow> {
    RowKey::of(Table::Voters)
}

/// That an OK KEY stands at this record.
pub fn key_change(index: RecordIndex) -> RowKey<()> {
    RowKey::of(Table::KeyChange).u64(index.get())
}

/// Where the OK KEY records stand.
pub fn key_changes() -> RowRange<()> {
    RowKey::of(Table::KeyChange).all()
}

pub fn waiver(index: RecordIndex) -> RowKey<WaiverRow> {
    RowKey::of(Table::Waiver).u64(index.get())
}

pub fn named(body: &BodyId) -> RowKey<NamedRow> {
    RowKey::of(Table::Named).raw(body.as_bytes())
}

pub fn outbox(node: NodeId, id: OutboxId) -> RowKey<OutboxRow> {
    RowKey::of(Table::Outbox).u64(node.get()).u64(id.get())
}

/// All outboxes of a node that its last BOOT named as there.
pub fn outboxes(node: NodeId) -> RowRange<OutboxRow> {
    RowKey::of(Table::Outbox).u64(node.get()).all()
}

pub fn mode() -> RowKey<ModeRow> {
    RowKey::of(Table::Mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_their_own_keys_only() {
        let range =
            ListKey::by_issuer("a", "b").range(RecordIndex::FIRST, RecordIndex::new(u64::MAX));
        let inside = ListKey::by_issuer("a", "b")
            .at(RecordIndex::new(u64::MAX - 1))
            .into_bytes();
        let outside = ListKey::by_issuer("a", "bc")
            .at(RecordIndex::FIRST)
            .into_bytes();
        let (start, end) = range.bounds();
        assert!(start <= &inside[..] && &inside[..] < end);
        assert!(&outside[..] >= end || &outside[..] < start);
        assert_eq!(FoundKey(inside).number().unwrap(), u64::MAX - 1);
        let of_one = lanes(NodeId::new(1));
        let (start, end) = of_one.bounds();
        let other = lane(NodeId::new(2), Lane::Boot);
        assert!(other.as_bytes() >= end && start < end);
    }

    /// A bad member, or a caller that asks, may name anything.
    #[test]
    fn a_text_that_is_too_long_for_any_row_has_a_key_all_the_same() {
        let keys = [65_534, 65_535, 70_000].map(|length| {
            let key = request("t", &"x".repeat(length));
            key.into_bytes()
        });
        assert!(keys[0] != keys[1] && keys[1] != keys[2]);
        assert!(keys[1].len() < 100 && keys[2].len() == keys[1].len());
    }

    #[test]
    fn what_a_key_was_made_of_is_read_back() {
        for it in [
            Lane::Boot,
            Lane::Strict(RecordIndex::new(7)),
            Lane::Outbox(OutboxId::new(9)),
        ] {
            assert_eq!(
                FoundKey(lane(NodeId::new(3), it).into_bytes())
                    .lane()
                    .unwrap(),
                it
            );
        }
        let uid = Uid([5; 16]);
        let key = FoundKey(body_digest("t", &Digest([1; 32]), uid).into_bytes());
        assert_eq!(key.uid().unwrap(), uid);
        assert!(FoundKey(vec![1]).number().is_err());
        assert!(FoundKey(vec![8; 12]).lane().is_err());
    }

    /// A record that is written is found again where a scan of its table looks.
    #[test]
    fn a_numbered_key_lies_in_its_numbered_range() {
        let keys = [
            record(RecordIndex::new(4)),
            record(RecordIndex::new(5)),
            record(RecordIndex::new(6)),
        ]
        .map(RowKey::into_bytes);
        let of_records = records(RecordIndex::new(5), RecordIndex::new(6));
        let (start, end) = of_records.bounds();
        let inside = keys.map(|key| start <= &key[..] && &key[..] < end);
        assert_eq!(inside, [false, true, false]);
    }
}
