//! What a ledger lets take effect: one rule for the ledger itself and for who verifies it.
//!
//! A statement is signed by its node, and the ledger decides what becomes of it: OK, REFUSED, or
//! DUPLICATE_OF what did the same before. What it decides upon is the past, as the records
//! before it left it. The past is a trait here: apply answers from its tables, the verifier from
//! what it remembers of the records that it has seen ([`Memory`]), and both ask [`decide`]. So
//! whatever apply says OK to, a verifier accepts; and a ledger that issues one identity twice,
//! or takes off an invoice more than it was, shows.
//!
//! Who replays a log does not always know all of it: it may begin in the middle, an opening may
//! be erased or withheld, members may be changing. The verifier's past then answers with an
//! error, *not judged*, which is counted; what contradicts something that was shown is broken all
//! the same ([`Ruling`]).
//!
//! Promises: pure; the same past and the same record come to the same. Leaves what is asked of
//! one record by itself to `record_checks`, whether an operator wills it to
//! [`crate::endorsement`], lanes to [`crate::lanes`], and the writing to whoever asks.
//!
//! Tests: `evidence/tests/rules.rs`.

mod invoices;
mod judge;
mod memory;
mod replayed;

use crate::digest::Digest;
use crate::endorsement::Place;
use crate::ids::{NodeId, RecordIndex, UploadEpoch};
use crate::invoice::{AlternativeId, Identity, Money, Rendition};
use crate::keychange::{KeyChange, KeyDocument};
use crate::keys::{KeyHistory, KeyRefusal, believe};
use crate::level::LevelMember;
use crate::losses::{BodyLostDocument, WaiverDocument};
use crate::opening::{Document, DownloadDocument, DownloadEndDocument, PlannedDocument};
use crate::receipt::KEYS_MAX;
use crate::record::{Outcome, Reason};
use crate::statement::{Kind, Statement};
use crate::system::{BootDocument, LeaderDocument, MembershipDocument};
use std::collections::BTreeSet;

pub use invoices::{
    REVERSES, TakenOff, first_unfit, rendition_request_digest, reversed_by, reversible,
    void_request_digest,
};
pub use judge::{NotJudged, Ruling};
pub use memory::{INVOICE_BYTES, Memory};
pub use replayed::Replayed;

/// What was done before by the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing.
    New,
    /// The same, by the record at this index.
    Same(RecordIndex),
    /// Something else.
    Other,
}

/// An invoice, as far as later records are judged by it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct InvoicePast {
    pub is_reversal: bool,
    pub void: bool,
    pub total: Option<Money>,
    /// Sum of what was taken off it, in minor units of the total.
    pub reversed_minor_units: i64,
    /// A reversal of everything, where there is no total to count against.
    pub reversed_whole: bool,
    pub renditions: u64,
    pub reversals: u64,
}

/// A node, as far as its holdings and boots are judged by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePast {
    pub zone: String,
    /// The disk that it first booted from.
    pub incarnation: Option<[u8; 16]>,
    /// Whether the key under which it booted was not revoked since.
    pub runs: bool,
}

/// A DOWNLOAD that has no END yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenDownload {
    pub tenant: String,
    pub node: NodeId,
    /// Bytes of its range.
    pub bytes: u64,
}

/// What the records before left behind. All answers are as of the record that is judged.
pub trait Past {
    /// Why there is no answer.
    type Error;

    /// The leaf hash of GENESIS.
    fn ledger(&self) -> Digest;
    /// What was asked for by this request id.
    fn request(&self, asked: &Request<'_>) -> Result<Asked, Self::Error>;
    /// What was issued under this identity, as an invoice or as a reversal.
    fn identity(&self, identity: &Identity, asked: &Request<'_>) -> Result<Asked, Self::Error>;
    fn has_alternative_id(&self, tenant: &str, id: &AlternativeId) -> Result<bool, Self::Error>;
    fn has_uid(&self, uid: &[u8; 16]) -> Result<bool, Self::Error>;
    /// `None` where the tenant has no such invoice.
    fn invoice(&self, tenant: &str, uid: &[u8; 16]) -> Result<Option<InvoicePast>, Self::Error>;
    /// What the invoice has in this rendition's role.
    fn rendition(&self, uid: &[u8; 16], rendition: &Rendition) -> Result<Asked, Self::Error>;
    /// Whether an invoice of the tenant has bytes of this digest.
    fn has_bytes(&self, tenant: &str, uid: &[u8; 16], sha256: &Digest)
    -> Result<bool, Self::Error>;
    /// Whether a rendition names this body so.
    fn has_body(&self, said: &BodyLostDocument) -> Result<bool, Self::Error>;
    /// Whether the body was declared lost.
    fn is_lost(&self, said: &BodyLostDocument) -> Result<bool, Self::Error>;
    /// A DOWNLOAD without an END.
    fn download(&self, index: RecordIndex) -> Result<Option<OpenDownload>, Self::Error>;
    fn node(&self, node: NodeId) -> Result<Option<NodePast>, Self::Error>;
    /// The sets of members each of which must meet a level.
    fn electorates(&self) -> Result<Vec<Vec<LevelMember>>, Self::Error>;
    fn upload_epoch(&self) -> Result<UploadEpoch, Self::Error>;
    fn is_due_leader(&self, leader: &LeaderDocument) -> Result<bool, Self::Error>;
    fn is_due_membership(&self, membership: &MembershipDocument) -> Result<bool, Self::Error>;
    fn keys(&self) -> Result<KeyHistory, Self::Error>;
    /// The leaf hash of an earlier record.
    fn leaf(&self, index: RecordIndex) -> Result<Option<Digest>, Self::Error>;
    fn is_waived(&self, index: RecordIndex) -> Result<bool, Self::Error>;
}

/// A request of a tenant: the same when kind and content are.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub tenant: &'a str,
    pub id: &'a str,
    pub kind: Kind,
    pub content: &'a Digest,
}

/// Whether bodies of an upload epoch may be named while `present` is in force.
pub fn may_be_named(epoch: UploadEpoch, present: UploadEpoch) -> bool {
    epoch <= present && present <= epoch.next()
}

/// What becomes of a statement that is in its lane, within limits and willed by who must will
/// it. Kinds about which the past has no say are OK.
pub fn decide<P: Past>(
    past: &P,
    statement: &Statement,
    document: &Document,
    place: Place,
) -> Result<Outcome, P::Error> {
    let refused = match document {
        Document::Issue(d) | Document::Reverse(d) => return invoices::issue(past, statement, d),
        Document::AddRendition(d) => return invoices::add_rendition(past, statement, d),
        Document::Void(d) => return invoices::void(past, d),
        Document::Download(d) => download(past, d)?,
        Document::DownloadEnd(d) => download_end(past, statement.node, d)?,
        Document::Boot(d) => boot(past, statement.node, d)?,
        Document::Leader(d) => leader(past, statement.node, d)?,
        Document::Key(d) => refuses_key(past, d, place)?,
        Document::Membership(d) => (!past.is_due_membership(d)?).then_some(Reason::NotDue),
        Document::Planned(PlannedDocument::BodyLost(d)) => body_lost(past, d)?,
        Document::Planned(PlannedDocument::Waiver(d)) => waiver(past, d)?,
        _ => None,
    };
    Ok(refused.map_or(Outcome::Ok, Outcome::Refused))
}

/// Why a change of keys is not believed, if it is not.
fn refuses_key<P: Past>(
    past: &P,
    document: &KeyDocument,
    place: Place,
) -> Result<Option<Reason>, P::Error> {
    let history = past.keys()?;
    if history.serial >= KEYS_MAX as u64 {
        return Ok(Some(Reason::KeyChange));
    }
    let endorsements = &document.endorsements;
    if past.leaf(endorsements.after)? != Some(endorsements.leaf) {
        return Ok(Some(Reason::KeyEndorsement));
    }
    let believed = believe(&history, &past.ledger(), place, document);
    let refusal = believed.err().map(|refusal| match refusal {
        KeyRefusal::Serial { .. } => Reason::KeySerial,
        KeyRefusal::Change { .. } => Reason::KeyChange,
        KeyRefusal::Endorsement { .. } => Reason::KeyEndorsement,
    });
    if refusal.is_some() {
        return Ok(refusal);
    }
    // A retired key's holdings are of epochs that have come.
    let present = past.upload_epoch()?;
    let mut ends = document.changes.iter().filter_map(KeyChange::last_epoch);
    Ok(ends.any(|last| last > present).then_some(Reason::KeyChange))
}

fn download<P: Past>(past: &P, d: &DownloadDocument) -> Result<Option<Reason>, P::Error> {
    if past.invoice(&d.tenant, &d.uid)?.is_none()
        || !past.has_bytes(&d.tenant, &d.uid, &d.sha256)?
    {
        return Ok(Some(Reason::NotFound));
    }
    Ok(d.bytes().is_none().then_some(Reason::Malformed))
}

/// All of them or none: an END that names one wrongly is no word to rely on.
fn download_end<P: Past>(
    past: &P,
    node: NodeId,
    ends: &DownloadEndDocument,
) -> Result<Option<Reason>, P::Error> {
    let mut named = BTreeSet::new();
    for end in &ends.downloads {
        if !named.insert(end.download) {
            return Ok(Some(Reason::Malformed));
        }
        let refused = match past.download(end.download)? {
            None => Reason::NotDue,
            Some(open) if open.node != node || open.tenant != ends.tenant => Reason::NotEntitled,
            Some(open) if end.bytes > open.bytes => Reason::Malformed,
            Some(_) => continue,
        };
        return Ok(Some(refused));
    }
    Ok(None)
}

/// A wiped or restored disk comes back under a new node id, never under the old.
fn boot<P: Past>(past: &P, node: NodeId, boot: &BootDocument) -> Result<Option<Reason>, P::Error> {
    let nowhere = boot.incarnation == [0; 16];
    Ok(match past.node(node)? {
        None => Some(Reason::NotFound),
        Some(_) if nowhere => Some(Reason::Malformed),
        Some(known)
            if known
                .incarnation
                .is_some_and(|disk| disk != boot.incarnation) =>
        {
            Some(Reason::Malformed)
        }
        Some(_) => None,
    })
}

/// A leadership is attested by the node that it names: nobody speaks for another's.
fn leader<P: Past>(
    past: &P,
    node: NodeId,
    leader: &LeaderDocument,
) -> Result<Option<Reason>, P::Error> {
    if leader.leader != node {
        return Ok(Some(Reason::NotEntitled));
    }
    Ok((!past.is_due_leader(leader)?).then_some(Reason::NotDue))
}

fn body_lost<P: Past>(past: &P, said: &BodyLostDocument) -> Result<Option<Reason>, P::Error> {
    if !past.has_body(said)? {
        return Ok(Some(Reason::NotFound));
    }
    Ok(past.is_lost(said)?.then_some(Reason::NotDue))
}

fn waiver<P: Past>(past: &P, said: &WaiverDocument) -> Result<Option<Reason>, P::Error> {
    if past.leaf(said.index)? != Some(said.leaf) {
        return Ok(Some(Reason::NotFound));
    }
    Ok(past.is_waived(said.index)?.then_some(Reason::NotDue))
}
