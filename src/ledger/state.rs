//! Reading the ledger: invoices folded from events, records, openings, proofs.
//!
//! Promises: an answer at size N folds records below N alone, so that lists and cursors
//! bound to N never change (but for what is erased). Blocking: callers go through
//! [`crate::store::Blocking`]. Leaves freshness to `raft/`'s reader.

use super::apply::{StoredRows, head_key};
use super::membership::ModeRow;
use super::rows::{
    DueRow, EventRow, Head, InvoiceRow, NamedRow, NodeRow, RequestRow, Row, VotersRow,
};
use crate::domain::draft::InvoiceKey;
use crate::domain::ids::Uid;
use crate::objective::write::WriteLevel;
use crate::store::engine::{Engine, Pair};
use crate::store::keys::{Generation, StateKey, Table, trailing_u64};
use crate::store::{Error, snapshot};
use muniment_evidence::digest::Digest;
use muniment_evidence::keys::KeyHistory;
use muniment_evidence::opening::{AlternativeId, Document, Identity, Metadata, Opening, Rendition};
use muniment_evidence::receipt::KEYS_MAX;
use muniment_evidence::record::Record;
use muniment_evidence::tree;
use std::sync::Arc;

/// Events of one invoice that are folded: reversals of one invoice are few.
const EVENTS_MAX: usize = 10_000;

pub fn invoice_key(uid: Uid) -> Vec<u8> {
    StateKey::of(Table::Invoice).raw(&uid.0).build()
}

pub fn event_key(uid: Uid, index: u64) -> Vec<u8> {
    StateKey::of(Table::Event).raw(&uid.0).u64(index).build()
}

pub fn identity_key(identity: &Identity) -> Vec<u8> {
    StateKey::of(Table::Identity)
        .text(&identity.tenant)
        .text(&identity.scheme)
        .text(&identity.issuer)
        .text(&identity.number)
        .text(&identity.period)
        .build()
}

pub fn request_key(tenant: &str, request_id: &str) -> Vec<u8> {
    StateKey::of(Table::Request)
        .text(tenant)
        .text(request_id)
        .build()
}

pub fn alternative_id_key(tenant: &str, id: &AlternativeId) -> Vec<u8> {
    StateKey::of(Table::AlternativeId)
        .text(tenant)
        .text(&id.scheme)
        .text(&id.value)
        .build()
}

pub fn named_key(body: &[u8; 16]) -> Vec<u8> {
    StateKey::of(Table::Named).raw(body).build()
}

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
    pub record_index: u64,
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

    /// The tables as they are now; holds for one read.
    pub fn tables(&self) -> Result<Tables, Error> {
        Ok(Tables {
            generation: snapshot::current(self.engine.as_ref())?,
            engine: self.engine.clone(),
        })
    }

    /// Reads, and reads again if a snapshot took the place of the tables meanwhile: what
    /// was read then is of no state at all.
    pub fn stable<T>(&self, read: impl Fn(&Tables) -> Result<T, Error>) -> Result<T, Error> {
        loop {
            let tables = self.tables()?;
            let found = read(&tables);
            if snapshot::current(self.engine.as_ref())? == tables.generation {
                return found;
            }
        }
    }
}

/// One generation of the tables.
pub struct Tables {
    engine: Arc<dyn Engine>,
    generation: Generation,
}

impl Tables {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.engine.get(&self.generation.key(key))
    }

    fn row<R: Row>(&self, key: &[u8]) -> Result<Option<R>, Error> {
        self.get(key)?.map(|bytes| R::decode(&bytes)).transpose()
    }

    /// Up to `limit` pairs of a range; keys without the generation.
    fn scan(&self, (start, end): (Vec<u8>, Vec<u8>), limit: usize) -> Result<Vec<Pair>, Error> {
        let skip = self.generation.prefix().len();
        let (start, end) = (self.generation.key(&start), self.generation.key(&end));
        let found = self.engine.scan(&start, &end, limit)?;
        Ok(found
            .into_iter()
            .map(|(key, value)| (key[skip..].to_vec(), value))
            .collect())
    }

    pub fn generation(&self) -> Generation {
        self.generation
    }

    pub fn head(&self) -> Result<Head, Error> {
        Ok(self.row(&head_key())?.unwrap_or_default())
    }

    pub fn node(&self, node: u64) -> Result<Option<NodeRow>, Error> {
        self.row(&super::founding::node_key(node))
    }

    pub fn nodes(&self) -> Result<Vec<(u64, NodeRow)>, Error> {
        let rows = self.scan(StateKey::of(Table::Node).range(), EVENTS_MAX)?;
        rows.into_iter()
            .map(|(key, value)| {
                let node = trailing_u64(&key).ok_or_else(|| Error::corrupt("a node key"))?;
                Ok((node, NodeRow::decode(&value)?))
            })
            .collect()
    }

    /// Indexes of the OK KEY records.
    pub fn key_changes(&self) -> Result<Vec<u64>, Error> {
        let rows = self.scan(super::keys::change_range(), KEYS_MAX)?;
        rows.iter()
            .map(|(key, _)| super::keys::change_index(key))
            .collect()
    }

    /// The ledger's keys as of now; an error before the founding.
    pub fn key_history(&self) -> Result<KeyHistory, Error> {
        super::keys::history(&self.key_changes()?, |index| self.document(index))
    }

    pub fn voters(&self) -> Result<VotersRow, Error> {
        Ok(self.row(&super::apply::voters_key())?.unwrap_or_default())
    }

    /// The learners' roles, and the change of members in preparation.
    pub fn mode(&self) -> Result<ModeRow, Error> {
        Ok(self
            .row(&super::membership::mode_key())?
            .unwrap_or_default())
    }

    pub fn lane(
        &self,
        node: u64,
        lane: muniment_evidence::statement::Lane,
    ) -> Result<Option<super::rows::LaneRow>, Error> {
        self.row(&super::lanes::lane_key(node, lane))
    }

    pub fn lane_window(
        &self,
        node: u64,
        lane: muniment_evidence::statement::Lane,
        seq: u64,
    ) -> Result<Option<super::rows::WindowRow>, Error> {
        self.row(&super::lanes::window_key(node, lane, seq))
    }

    /// The outboxes that the node's last BOOT named as there, with their lanes.
    pub fn outboxes(&self, node: u64) -> Result<Vec<(u64, super::rows::LaneRow)>, Error> {
        let range = super::outboxes::outboxes_of(node);
        let rows = self.scan(range, super::outboxes::OUTBOXES_MAX)?;
        let mut found = Vec::new();
        for (key, _) in rows {
            let id = trailing_u64(&key).ok_or_else(|| Error::corrupt("a key of an outbox"))?;
            let lane = self.lane(node, muniment_evidence::statement::Lane::Outbox(id))?;
            found.push((id, lane.unwrap_or_default()));
        }
        Ok(found)
    }

    /// What a leader has to attest, oldest first.
    pub fn due(&self, limit: usize) -> Result<Vec<(u64, DueRow)>, Error> {
        let rows = self.scan(StateKey::of(Table::Due).range(), limit)?;
        rows.into_iter()
            .map(|(key, value)| {
                let index = trailing_u64(&key).ok_or_else(|| Error::corrupt("a due key"))?;
                Ok((index, DueRow::decode(&value)?))
            })
            .collect()
    }

    pub fn request(&self, tenant: &str, request_id: &str) -> Result<Option<RequestRow>, Error> {
        self.row(&request_key(tenant, request_id))
    }

    pub fn invoice_row(&self, uid: Uid) -> Result<Option<InvoiceRow>, Error> {
        self.row(&invoice_key(uid))
    }

    pub fn find(&self, key: &InvoiceKey) -> Result<Option<Uid>, Error> {
        let row = match key {
            InvoiceKey::Uid(uid) => {
                return Ok(self.invoice_row(*uid)?.map(|_| *uid));
            }
            InvoiceKey::RequestId { tenant, request_id } => {
                return Ok(self.request(tenant, request_id)?.map(|row| row.uid));
            }
            InvoiceKey::Identity(identity) => self.get(&identity_key(identity))?,
            InvoiceKey::AlternativeId { tenant, id } => {
                self.get(&alternative_id_key(tenant, id))?
            }
        };
        row.map(uid_of).transpose()
    }

    /// The invoice folded from its records below `size`; `None` if it was not yet issued.
    pub fn invoice(&self, uid: Uid, size: u64) -> Result<Option<Invoice>, Error> {
        let range = StateKey::of(Table::Event).raw(&uid.0).range();
        let mut invoice: Option<Invoice> = None;
        let (mut whole, mut void) = (false, false);
        for (key, value) in self.scan(range, EVENTS_MAX)? {
            let index = trailing_u64(&key).ok_or_else(|| Error::corrupt("an event key"))?;
            if index >= size {
                break;
            }
            let event = EventRow::decode(&value)?;
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
                _ => return Err(Error::corrupt(format!("the events of invoice {uid}"))),
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

    fn issued(&self, uid: Uid, index: u64) -> Result<Invoice, Error> {
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
            _ => Err(Error::corrupt(format!("record {index} issues nothing"))),
        }
    }

    /// What a record says a body is, if one names it. Records of feature level 1 are not
    /// found by this.
    pub fn named(&self, body: &[u8; 16]) -> Result<Option<NamedRow>, Error> {
        self.row(&named_key(body))
    }

    /// Uids with a rendition of these bytes.
    pub fn with_body(&self, sha256: &Digest, limit: usize) -> Result<Vec<Uid>, Error> {
        let range = StateKey::of(Table::BodyDigest).raw(&sha256.0).range();
        self.scan(range, limit)?
            .into_iter()
            .map(|(key, _)| uid_of(key[33..].to_vec()))
            .collect()
    }

    /// Indexes of the OK records about an invoice within `from..end`, in order.
    pub fn about(&self, uid: Uid, from: u64, end: u64, limit: usize) -> Result<Vec<u64>, Error> {
        let mut indexes = Vec::new();
        for table in [Table::Event, Table::Download] {
            let at = |index| StateKey::of(table).raw(&uid.0).u64(index).build();
            for (key, _) in self.scan((at(from), at(end)), limit)? {
                indexes.push(trailing_u64(&key).ok_or_else(|| Error::corrupt("an event key"))?);
            }
        }
        indexes.sort_unstable();
        indexes.truncate(limit);
        Ok(indexes)
    }

    /// The first record committed at or after `time_ms`, or the size.
    pub fn first_since(&self, time_ms: u64) -> Result<u64, Error> {
        let (mut low, mut high) = (0, self.head()?.size);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.expect_record(middle)?.committed_at_ms < time_ms {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Uids of an index table from record `from` on: (record index, uid).
    pub fn listed(
        &self,
        prefix: StateKey,
        from: u64,
        size: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Uid)>, Error> {
        let prefix = prefix.build();
        let at = |index: u64| [&prefix[..], &index.to_be_bytes()].concat();
        self.scan((at(from), at(size)), limit)?
            .into_iter()
            .map(|(key, uid)| {
                let index = trailing_u64(&key).ok_or_else(|| Error::corrupt("a list key"))?;
                Ok((index, uid_of(uid)?))
            })
            .collect()
    }

    pub fn record_bytes(&self, index: u64) -> Result<Option<Vec<u8>>, Error> {
        self.get(&StateKey::of(Table::Record).u64(index).build())
    }

    /// Up to `limit` records from `from` on, below `end`.
    pub fn record_range(&self, from: u64, end: u64, limit: usize) -> Result<Vec<Vec<u8>>, Error> {
        let at = |index| StateKey::of(Table::Record).u64(index).build();
        let found = self.scan((at(from), at(end)), limit)?;
        Ok(found.into_iter().map(|(_, record)| record).collect())
    }

    pub fn expect_record(&self, index: u64) -> Result<Record, Error> {
        let bytes = self
            .record_bytes(index)?
            .ok_or_else(|| Error::corrupt(format!("record {index} is missing")))?;
        Record::decode(&bytes).map_err(|error| Error::corrupt(format!("record {index}: {error}")))
    }

    /// Document and actor openings of a record.
    pub fn openings(&self, index: u64) -> Result<(Option<Opening>, Option<Opening>), Error> {
        let at = |table| StateKey::of(table).u64(index).build();
        Ok((
            self.row(&at(Table::Document))?,
            self.row(&at(Table::Actor))?,
        ))
    }

    pub fn document(&self, index: u64) -> Result<Document, Error> {
        let (document, _) = self.openings(index)?;
        let opening =
            document.ok_or_else(|| Error::corrupt(format!("opening {index} is missing")))?;
        Document::decode(&opening.bytes)
            .map_err(|error| Error::corrupt(format!("opening {index}: {error}")))
    }

    /// The size of the tree at the end of the Raft entry that holds record `index`.
    pub fn entry_end(&self, index: u64) -> Result<Option<u64>, Error> {
        let at = |size| StateKey::of(Table::EntryEnd).u64(size).build();
        let found = self.scan((at(index + 1), at(u64::MAX)), 1)?;
        Ok(found.first().and_then(|(key, _)| trailing_u64(key)))
    }

    /// The Raft index of the entry that holds record `index`.
    pub fn raft_index_of(&self, index: u64) -> Result<Option<u64>, Error> {
        let at = |size| StateKey::of(Table::EntryEnd).u64(size).build();
        let found = self.scan((at(index + 1), at(u64::MAX)), 1)?;
        let value = found.into_iter().next().map(|(_, value)| value);
        value.map_or(Ok(None), |value| match value.try_into() {
            Ok(bytes) => Ok(Some(u64::from_be_bytes(bytes))),
            Err(_) => Err(Error::corrupt("the Raft index of an entry")),
        })
    }

    pub fn tree_rows(&self) -> StoredRows<'_> {
        StoredRows::new(self.engine.as_ref(), self.generation)
    }

    pub fn root_at(&self, size: u64) -> Result<Digest, Error> {
        tree::root_at(&self.tree_rows(), size)
    }
}

fn uid_of(bytes: Vec<u8>) -> Result<Uid, Error> {
    match bytes.try_into() {
        Ok(uid) => Ok(Uid(uid)),
        Err(_) => Err(Error::corrupt("a uid is not sixteen bytes")),
    }
}
