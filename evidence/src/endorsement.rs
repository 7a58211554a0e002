//! Endorsements: signatures under what a record says, of those who may decide it.
//!
//! Promises: what is signed names the ledger, a record after which it holds, a day until which
//! it does, and every byte of the opening but the endorsements themselves; so one that was given
//! for another change, ledger or history, or long ago, is worth nothing. Says what an operator
//! has to will by *order*, the endorsement of an operator key. Leaves changes of keys to
//! [`crate::keys`], and what makes an order good for one time only to what is ordered: a change
//! of the members has the next number, and a level only rises.
//!
//! Tests: `evidence/tests/orders.rs`.

use crate::checks::Check;
use crate::codec::{DecodeError, Reader, Writer};
use crate::digest::{Digest, tag};
use crate::ids::RecordIndex;
use crate::key::{PublicKey, Signature, Signer};
use crate::keys::KeyHistory;
use crate::mode::Phase;
use crate::opening::{Document, PlannedDocument};
use crate::system::UPLOAD_EPOCH;
use std::collections::BTreeSet;

/// The most endorsements of one record: keys added, and those who decide.
pub const ENDORSEMENTS_MAX: usize = 128;

/// A signature of a key that is added, or of one that may decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endorsement {
    pub key: PublicKey,
    pub signature: Signature,
}

/// Signatures under one opening, and where and how long they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endorsements {
    /// The record after which they hold,
    pub after: RecordIndex,
    /// and its leaf hash: in another history they hold nowhere.
    pub leaf: Digest,
    /// Of the ledger's time: no record that is committed later has them.
    pub expires_ms: u64,
    pub list: Vec<Endorsement>,
}

/// Where a record stands, as far as endorsements ask.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub index: RecordIndex,
    pub committed_at_ms: u64,
}

/// What can be endorsed: its opening without the endorsements, version and kind included.
pub trait Endorsable {
    fn unendorsed(&self) -> Vec<u8>;
}

impl Endorsements {
    /// None yet, to hold after this record until then.
    pub fn new(after: RecordIndex, leaf: Digest, expires_ms: u64) -> Endorsements {
        Endorsements {
            after,
            leaf,
            expires_ms,
            list: Vec::new(),
        }
    }

    /// What each of them signs.
    pub fn signed_bytes(&self, ledger: &Digest, what: &dyn Endorsable) -> Vec<u8> {
        let mut w = Writer::new();
        w.raw(tag::ENDORSEMENT).digest(ledger);
        self.write_place(&mut w);
        w.raw(&what.unendorsed());
        w.finish()
    }

    pub fn sign(&mut self, ledger: &Digest, what: &dyn Endorsable, signer: &dyn Signer) {
        let signature = signer.sign(&self.signed_bytes(ledger, what));
        let key = signer.public();
        self.list.push(Endorsement { key, signature });
    }

    /// Whether every one that is there holds, and no key has given two.
    pub fn are_signed(&self, ledger: &Digest, what: &dyn Endorsable) -> bool {
        let bytes = self.signed_bytes(ledger, what);
        let mut each = self.list.iter();
        self.keys().len() == self.list.len() && each.all(|e| e.key.verify(&bytes, &e.signature))
    }

    pub fn keys(&self) -> BTreeSet<PublicKey> {
        self.list.iter().map(|e| e.key).collect()
    }

    /// Whether they hold where a record stands that carries them.
    pub fn hold_at(&self, place: Place) -> Result<(), (Check, String)> {
        if Check::EndorsedBefore.fails(self.after >= place.index) {
            let detail = format!(
                "the endorsements hold after record {}, and not yet here",
                self.after
            );
            return Err((Check::EndorsedBefore, detail));
        }
        if Check::EndorsedInTime.fails(place.committed_at_ms > self.expires_ms) {
            let detail = format!(
                "the endorsements hold until {} ms of the ledger's time, the record was committed \
                 at {} ms",
                self.expires_ms, place.committed_at_ms
            );
            return Err((Check::EndorsedInTime, detail));
        }
        Ok(())
    }

    fn write_place(&self, w: &mut Writer) {
        w.u64(self.after.get()).digest(&self.leaf);
        w.u64(self.expires_ms);
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        self.write_place(w);
        w.list(&self.list, |w, endorsement| {
            w.raw(&endorsement.key.0).raw(&endorsement.signature.0);
        });
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Endorsements, DecodeError> {
        let endorsements = Endorsements {
            after: RecordIndex::read(r)?,
            leaf: r.digest()?,
            expires_ms: r.u64()?,
            list: r.list(|r| {
                Ok(Endorsement {
                    key: PublicKey(r.array()?),
                    signature: Signature(r.array()?),
                })
            })?,
        };
        if endorsements.list.len() > ENDORSEMENTS_MAX {
            return Err(r.error("at most 128 endorsements"));
        }
        Ok(endorsements)
    }
}

impl Document {
    /// The endorsements that it carries.
    pub fn endorsements(&self) -> Option<&Endorsements> {
        match self {
            Document::Key(d) => Some(&d.endorsements),
            Document::Mode(d) => d.order.as_ref(),
            Document::Policy(d) => d.order.as_ref(),
            Document::Planned(PlannedDocument::BodyLost(d)) => Some(&d.endorsements),
            Document::Planned(PlannedDocument::Waiver(d)) => Some(&d.endorsements),
            _ => None,
        }
    }

    /// The same under this order. Of what has no place for one nothing changes.
    #[must_use]
    pub fn under(mut self, order: Endorsements) -> Document {
        match &mut self {
            Document::Mode(d) => d.order = Some(order),
            Document::Policy(d) => d.order = Some(order),
            Document::Planned(PlannedDocument::BodyLost(d)) => d.endorsements = order,
            Document::Planned(PlannedDocument::Waiver(d)) => d.endorsements = order,
            _ => {}
        }
        self
    }

    /// Whether an operator wills this, and no member by itself.
    pub fn needs_order(&self) -> bool {
        self.ordered().is_some()
    }

    /// What an order of it signs, where an operator wills it.
    pub fn ordered(&self) -> Option<&dyn Endorsable> {
        match self {
            Document::Mode(d) if d.phase == Phase::Prepare => Some(d),
            Document::Planned(PlannedDocument::BodyLost(d)) => Some(d),
            Document::Planned(PlannedDocument::Waiver(d)) => Some(d),
            Document::Policy(d) if d.settings.iter().any(|s| s.name != UPLOAD_EPOCH) => Some(d),
            _ => None,
        }
    }
}

/// Whether whoever operates the ledger wills what a record says, where that is asked: where
/// an operator key is active, by the keys as the KEY records before it left them. That the
/// record named by `after` has the leaf hash, is for who holds the log to say.
pub fn willed(
    history: &KeyHistory,
    ledger: &Digest,
    place: Place,
    document: &Document,
) -> Result<(), (Check, String)> {
    let operators: BTreeSet<PublicKey> = history.operators_at(place.index).collect();
    let Some(what) = document.ordered().filter(|_| !operators.is_empty()) else {
        return Ok(());
    };
    let Some(order) = document.endorsements() else {
        return match Check::OrderThere.is_asked() {
            true => Err((
                Check::OrderThere,
                "an operator wills this, and no order of one is there".to_owned(),
            )),
            false => Ok(()),
        };
    };
    let known = !operators.is_disjoint(&order.keys());
    if Check::OrderSigned.fails(!known || !order.are_signed(ledger, what)) {
        let detail = "the order is not signed by an operator key that is active";
        return Err((Check::OrderSigned, detail.to_owned()));
    }
    order.hold_at(place)
}
