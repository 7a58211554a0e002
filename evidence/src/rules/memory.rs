//! What a verifier remembers of the records that it has seen, to judge the next ones by.
//!
//! Promises: about [`INVOICE_BYTES`] for each invoice and 40 for each download that is open;
//! names are kept as keyed hashes of 128 bits, whose keys are drawn anew by each process, so that
//! nobody can make two of them meet. Where an opening was not there, or the log begins
//! in the middle, it knows that it does not know ([`NotJudged`]). Leaves the order of records and
//! their leaves to [`crate::chain`].
//!
//! Tests: `evidence/tests/rules.rs`, `evidence/tests/bounded.rs`.

use super::judge::NotJudged;
use super::{Asked, InvoicePast, TakenOff, reversible};
use crate::digest::Digest;
use crate::ids::{NodeId, RecordIndex, Term, UploadEpoch};
use crate::invoice::{Money, Rendition, content_digest, rendition_digest};
use crate::key::PublicKey;
use crate::keychange::{Action, Role};
use crate::losses::BodyLostDocument;
use crate::mode::Phase;
use crate::opening::{Document, IssueDocument, ModeDocument, PlannedDocument};
use crate::record::{Outcome, Record};
use crate::rules::invoices::{rendition_request_digest, reversed_by, void_request_digest};
use crate::statement::Kind;
use crate::system::UPLOAD_EPOCH;
use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, Hash};

/// An invoice with one rendition: its own entry, its identity, its request, its rendition and
/// body, and the room that tables keep free (`evidence/tests/bounded.rs` measures it).
pub const INVOICE_BYTES: u64 = 600;

/// A name, or what was asked under it.
pub(super) type Name = u128;

/// See the module.
pub struct Memory {
    pub(super) hashers: [RandomState; 2],
    /// Every record from 0 on was followed, and every public opening was there.
    pub(super) whole: bool,
    /// An invoice, or a request, was not shown.
    pub(super) withheld: bool,
    /// An answer was taken from what was not shown to be so.
    pub(super) guessed: Cell<bool>,
    pub(super) tenants: Vec<String>,
    pub(super) currencies: Vec<String>,
    pub(super) invoices: HashMap<[u8; 16], Invoice>,
    /// What was asked for by a request id, or stands in a role.
    pub(super) done: HashMap<Name, Done>,
    pub(super) identities: HashMap<Name, [u8; 16]>,
    /// Alternative ids, bytes and bodies of renditions, and bodies that are lost.
    pub(super) named: HashSet<Name>,
    pub(super) downloads: BTreeMap<RecordIndex, (u32, NodeId, u64)>,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) voters: Option<Vec<Vec<NodeId>>>,
    pub(super) preparing: bool,
    pub(super) target: Option<Vec<NodeId>>,
    pub(super) sync_learners: Vec<NodeId>,
    pub(super) epoch: UploadEpoch,
    pub(super) term: Option<Term>,
    pub(super) waived: HashSet<RecordIndex>,
}

pub(super) struct Invoice {
    pub(super) tenant: u32,
    pub(super) index: RecordIndex,
    pub(super) content: Name,
    pub(super) total: Option<(i64, u32, u8)>,
    pub(super) reversed_minor_units: i64,
    pub(super) renditions: u32,
    pub(super) reversals: u32,
    pub(super) is_reversal: bool,
    pub(super) reversed_whole: bool,
    pub(super) void: bool,
}

pub(super) struct Done {
    pub(super) content: Name,
    pub(super) index: RecordIndex,
}

pub(super) struct Node {
    pub(super) key: PublicKey,
    pub(super) incarnation: Option<[u8; 16]>,
    pub(super) runs: bool,
}

impl Memory {
    /// For records from `first` on.
    pub fn new(first: RecordIndex) -> Memory {
        Memory {
            hashers: [RandomState::new(), RandomState::new()],
            whole: first == RecordIndex::FIRST,
            withheld: false,
            guessed: Cell::new(false),
            tenants: Vec::new(),
            currencies: Vec::new(),
            invoices: HashMap::new(),
            done: HashMap::new(),
            identities: HashMap::new(),
            named: HashSet::new(),
            downloads: BTreeMap::new(),
            nodes: BTreeMap::new(),
            voters: None,
            preparing: false,
            target: None,
            sync_learners: Vec::new(),
            epoch: UploadEpoch::default().next(),
            term: None,
            waived: HashSet::new(),
        }
    }

    /// Whether an answer since the last time was taken from what was not shown to be so.
    pub(super) fn take_guessed(&self) -> bool {
        self.guessed.replace(false)
    }

    /// Why not all is known.
    pub(super) fn gap(&self) -> NotJudged {
        match self.whole {
            true => NotJudged::Withheld,
            false => NotJudged::Slice,
        }
    }

    pub(super) fn name(&self, parts: impl Hash) -> Name {
        let [a, b] = self.hashers.each_ref().map(|keyed| keyed.hash_one(&parts));
        Name::from(a) << 64 | Name::from(b)
    }

    pub(super) fn content(&self, kind: Kind, content: &Digest) -> Name {
        self.name(("content", kind.code(), content))
    }

    pub(super) fn request(&self, tenant: &str, id: &str) -> Name {
        self.name(("request", tenant, id))
    }

    pub(super) fn role(&self, uid: &[u8; 16], role: &str) -> Name {
        self.name(("role", uid, role))
    }

    fn body(&self, tenant: &str, uid: &[u8; 16], rendition: &Rendition) -> Name {
        let Rendition {
            role,
            body_id,
            sha256,
            length,
            ..
        } = rendition;
        self.name((
            "body",
            tenant,
            uid,
            role,
            body_id.as_bytes(),
            sha256,
            length,
        ))
    }

    /// As [`Memory::body`] names it.
    pub(super) fn lost_body(&self, said: &BodyLostDocument) -> Name {
        let BodyLostDocument {
            tenant,
            uid,
            role,
            body_id,
            sha256,
            length,
            ..
        } = said;
        let uid: &[u8; 16] = uid;
        self.name((
            "body",
            tenant.as_str(),
            uid,
            role,
            body_id.as_bytes(),
            sha256,
            length,
        ))
    }

    /// A record could not be read.
    pub fn miss(&mut self) {
        self.whole = false;
    }

    /// Takes what a record left behind; `document` where its opening is there.
    pub fn take(&mut self, record: &Record, document: Option<&Document>) {
        let (index, node) = (record.index, record.statement.node);
        let of = match record.outcome {
            Outcome::Ok => index,
            Outcome::DuplicateOf(of) => of,
            Outcome::Refused(_) => return,
        };
        let kind = record.statement.kind;
        let Some(document) = document else {
            let of_invoices = [Kind::Issue, Kind::Reverse, Kind::AddRendition, Kind::Void];
            self.withheld |= of_invoices.contains(&kind);
            self.whole &= !kind.is_system();
            return;
        };
        if of != index {
            return self.take_repeated(kind, document, of);
        }
        match document {
            Document::Genesis(d) => {
                for member in &d.members {
                    self.add_node(member.node, member.statement_key);
                }
            }
            Document::Boot(d) => {
                let booted = Node {
                    key: d.statement_key,
                    incarnation: Some(d.incarnation),
                    runs: true,
                };
                self.nodes.insert(node, booted);
            }
            Document::Key(d) => {
                for change in d.changes.iter().filter(|c| c.role == Role::Statement) {
                    match (change.action, self.nodes.get_mut(&change.node)) {
                        (Action::Add, None) => self.add_node(change.node, change.key),
                        (Action::Revoke { .. }, Some(node)) if node.key == change.key => {
                            node.runs = false;
                        }
                        _ => {}
                    }
                }
            }
            Document::Issue(d) | Document::Reverse(d) => self.issue(kind, d, index),
            Document::AddRendition(d) => {
                let content = rendition_request_digest(&d.uid, &d.rendition);
                self.did(kind, &d.tenant, &d.request_id, &content, index);
                self.add_rendition(&d.tenant, &d.uid, &d.rendition, index);
                if let Some(invoice) = self.invoices.get_mut(&d.uid) {
                    invoice.renditions = invoice.renditions.saturating_add(1);
                }
            }
            Document::Void(d) => {
                let content = void_request_digest(&d.uid, &d.reason);
                self.did(kind, &d.tenant, &d.request_id, &content, index);
                if let Some(invoice) = self.invoices.get_mut(&d.uid) {
                    invoice.void = true;
                }
            }
            Document::Download(d) => {
                let tenant = place_of(&mut self.tenants, &d.tenant);
                let bytes = d.bytes().unwrap_or_default();
                self.downloads.insert(index, (tenant, node, bytes));
            }
            Document::DownloadEnd(d) => {
                for end in &d.downloads {
                    self.downloads.remove(&end.download);
                }
            }
            Document::Leader(d) => self.term = self.term.max(Some(d.term)),
            Document::Membership(d) => self.voters = Some(d.voters.clone()),
            Document::Mode(d) => self.mode(d),
            Document::Policy(d) => {
                let epoch = d.settings.iter().find(|s| s.name == UPLOAD_EPOCH);
                self.epoch = epoch.map_or(self.epoch, |s| UploadEpoch::new(s.value));
            }
            Document::Planned(PlannedDocument::BodyLost(d)) => {
                let lost = self.name(("lost", d.body_id.as_bytes()));
                self.named.insert(lost);
            }
            Document::Planned(PlannedDocument::Waiver(d)) => {
                self.waived.insert(d.index);
            }
            _ => {}
        }
    }

    /// Another request for what there is: it may be asked for by this id too.
    fn take_repeated(&mut self, kind: Kind, document: &Document, of: RecordIndex) {
        if let Document::Issue(d) | Document::Reverse(d) = document {
            let content = content_digest(&d.metadata, &d.renditions);
            let tenant = &d.metadata.identity.tenant;
            self.did(kind, tenant, &d.request_id, &content, of);
        }
    }

    fn add_node(&mut self, node: NodeId, key: PublicKey) {
        let new = Node {
            key,
            incarnation: None,
            runs: false,
        };
        self.nodes.insert(node, new);
    }

    fn mode(&mut self, mode: &ModeDocument) {
        self.preparing = mode.phase == Phase::Prepare;
        if mode.phase == Phase::Done {
            self.target = Some(mode.voters.clone());
            self.sync_learners.clone_from(&mode.sync_learners);
        }
    }

    fn did(
        &mut self,
        kind: Kind,
        tenant: &str,
        request_id: &str,
        content: &Digest,
        index: RecordIndex,
    ) {
        let (name, content) = (
            self.request(tenant, request_id),
            self.content(kind, content),
        );
        self.done.entry(name).or_insert(Done { content, index });
    }

    fn issue(&mut self, kind: Kind, issue: &IssueDocument, index: RecordIndex) {
        let metadata = &issue.metadata;
        let tenant = &metadata.identity.tenant;
        let content = content_digest(metadata, &issue.renditions);
        self.did(kind, tenant, &issue.request_id, &content, index);
        let identity = self.name(("identity", &metadata.identity));
        self.identities.insert(identity, issue.uid);
        for id in &metadata.alternative_ids {
            let named = self.name(("alternative id", tenant, &id.scheme, &id.value));
            self.named.insert(named);
        }
        for rendition in &issue.renditions {
            self.add_rendition(tenant, &issue.uid, rendition, index);
        }
        let total = metadata.total.as_ref().map(|total| {
            let currency = place_of(&mut self.currencies, &total.currency);
            (total.minor_units, currency, total.exponent)
        });
        let invoice = Invoice {
            tenant: place_of(&mut self.tenants, tenant),
            index,
            content: self.content(kind, &content),
            total,
            reversed_minor_units: 0,
            renditions: u32::try_from(issue.renditions.len()).unwrap_or(u32::MAX),
            reversals: 0,
            is_reversal: kind == Kind::Reverse,
            reversed_whole: false,
            void: false,
        };
        self.invoices.insert(issue.uid, invoice);
        if let Some((reference, target)) = reversed_by(metadata).filter(|_| kind == Kind::Reverse)
            && let Some(original) = self.past_of(tenant, &target)
            && let Some(invoice) = self.invoices.get_mut(&target)
        {
            // Where it may not, it was said, and what is taken off stays what it was.
            match reversible(&original, reference.amount.as_ref()) {
                Ok(TakenOff::Whole) => invoice.reversed_whole = true,
                Ok(TakenOff::MinorUnits(taken)) => {
                    invoice.reversed_minor_units =
                        invoice.reversed_minor_units.saturating_add(taken);
                }
                Err(_) => {}
            }
            invoice.reversals = invoice.reversals.saturating_add(1);
        }
    }

    fn add_rendition(
        &mut self,
        tenant: &str,
        uid: &[u8; 16],
        rendition: &Rendition,
        index: RecordIndex,
    ) {
        let content = self.name(("rendition", rendition_digest(rendition)));
        let role = self.role(uid, &rendition.role);
        self.done.insert(role, Done { content, index });
        let names = [
            self.name(("bytes", tenant, uid, &rendition.sha256)),
            self.body(tenant, uid, rendition),
        ];
        self.named.extend(names);
    }

    pub(super) fn past_of(&self, tenant: &str, uid: &[u8; 16]) -> Option<InvoicePast> {
        let invoice = self.invoices.get(uid)?;
        let is_own = self
            .tenants
            .get(invoice.tenant as usize)
            .map(String::as_str)
            == Some(tenant);
        let total = |(minor_units, currency, exponent): (i64, u32, u8)| Money {
            minor_units,
            currency: self
                .currencies
                .get(currency as usize)
                .cloned()
                .unwrap_or_default(),
            exponent,
        };
        is_own.then(|| InvoicePast {
            is_reversal: invoice.is_reversal,
            void: invoice.void,
            total: invoice.total.map(total),
            reversed_minor_units: invoice.reversed_minor_units,
            reversed_whole: invoice.reversed_whole,
            renditions: invoice.renditions.into(),
            reversals: invoice.reversals.into(),
        })
    }

    /// That there is nothing, as far as was shown.
    pub(super) fn nothing<T>(&self, nothing: T) -> T {
        if !self.whole || self.withheld {
            self.guessed.set(true);
        }
        nothing
    }

    /// Something has to be there, and was not shown.
    pub(super) fn missing<T>(&self, absent: T) -> Result<T, NotJudged> {
        match self.whole && !self.withheld {
            true => Ok(absent),
            false => Err(self.gap()),
        }
    }

    pub(super) fn asked(&self, done: Option<&Done>, content: Name) -> Asked {
        match done {
            None => self.nothing(Asked::New),
            Some(done) if done.content == content => Asked::Same(done.index),
            Some(_) => Asked::Other,
        }
    }
}

/// Where a text stands among few; it is added where it is new.
fn place_of(texts: &mut Vec<String>, text: &str) -> u32 {
    let known = texts.iter().position(|known| known == text);
    let place = known.unwrap_or_else(|| {
        texts.push(text.to_owned());
        texts.len() - 1
    });
    u32::try_from(place).unwrap_or(u32::MAX)
}
