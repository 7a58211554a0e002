//! A ledger as the evidence names it: origin, id, and the keys that may speak for it.
//!
//! Promises: made only from a genesis that holds in itself, and taught only by KEY
//! records that those endorse who may. Says which key speaks for which place in the log
//! and whether a checkpoint is the ledger's own. Leaves the question whether this is the
//! ledger that the auditor means to his pin ([`crate::trust`]).
//!
//! Tests: `evidence/tests/keys.rs`, `evidence/tests/receipts.rs`.

use crate::checks::Check;
use crate::digest::Digest;
use crate::endorsement::Place;
use crate::genesis::{Genesis, GenesisError};
use crate::ids::{NodeId, RecordIndex};
use crate::key::{PublicKey, ReadyKey, Signature, VerifySignature};
use crate::keys::{KeyHistory, KeyLife, KeyRefusal, KeyValidity, MemberKeys, believe};
use crate::note::{Checkpoint, Note, VerifierKey, Vouch};
use crate::opening::{AnchorDocument, AnchoredBy, KeyDocument, Member};
use std::collections::BTreeMap;
use std::sync::Arc;

/// See the module.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// Leaf hash of the genesis record.
    pub id: Digest,
    pub origin: String,
    keys: KeyHistory,
    /// See [`Ledger::make_ready`].
    ready: BTreeMap<PublicKey, ReadyKey>,
    /// See [`Ledger::verifying_by`].
    verifier: Option<Arc<dyn VerifySignature>>,
}

/// A member's cosignature on a checkpoint: "I hold all of it, bodies too".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigner {
    pub node: NodeId,
    pub zone: String,
    /// Seconds since 1970, a claim.
    pub time_s: u64,
}

/// A checkpoint that a log key in force has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    pub checkpoint: Checkpoint,
    /// In the order of node numbers.
    pub cosigners: Vec<Cosigner>,
}

/// The name of a member's cosignature key: origin/region/zone/node.
pub fn cosigner_name(origin: &str, member: &Member) -> String {
    cosigner_key_name(origin, &member.region, &member.zone, member.node)
}

/// See [`cosigner_name`].
pub fn cosigner_key_name(origin: &str, region: &str, zone: &str, node: NodeId) -> String {
    format!("{origin}/{region}/{zone}/{node}")
}

impl Ledger {
    pub fn open(genesis: &Genesis) -> Result<Ledger, GenesisError> {
        let document = genesis.document()?;
        Ok(Ledger {
            id: genesis.leaf_hash(),
            keys: KeyHistory::founded(&document),
            origin: document.origin,
            ready: BTreeMap::new(),
            verifier: None,
        })
    }

    /// For those who follow the log themselves and know its keys from there.
    pub fn following(id: Digest, origin: &str, keys: KeyHistory) -> Ledger {
        Ledger {
            id,
            origin: origin.to_owned(),
            keys,
            ready: BTreeMap::new(),
            verifier: None,
        }
    }

    /// For who has seen many of the signatures before: he answers for them.
    #[must_use]
    pub fn verifying_by(mut self, verifier: Arc<dyn VerifySignature>) -> Ledger {
        self.verifier = Some(verifier);
        self
    }

    /// Takes the change of keys at this place; the order is that of the log.
    pub fn learn(&mut self, place: Place, document: &KeyDocument) -> Result<(), KeyRefusal> {
        self.keys = believe(&self.keys, &self.id, place, document)?;
        Ok(())
    }

    /// Works the members' statement keys out, which is worth it before many records. A key
    /// that is no point is left out: no signature holds under it.
    pub(crate) fn make_ready(&mut self) {
        let members = self.keys.members.values();
        let keys = members.flat_map(|member| &member.statement);
        self.ready = keys
            .filter_map(|life| Some((life.key, life.key.ready()?)))
            .collect();
    }

    /// What [`PublicKey::verify`] says, and sooner for a key that is ready.
    pub(crate) fn verifies(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        match (&self.verifier, self.ready.get(key)) {
            (Some(verifier), _) => verifier.verify(key, message, signature),
            (None, Some(ready)) => ready.verify(message, signature),
            (None, None) => key.verify(message, signature),
        }
    }

    pub fn keys(&self) -> &KeyHistory {
        &self.keys
    }

    pub fn member(&self, node: NodeId) -> Option<&MemberKeys> {
        self.keys.members.get(&node)
    }

    pub fn statement_keys(&self, node: NodeId) -> &[KeyLife] {
        self.keys.statement_keys(node)
    }

    /// The cosignature keys of all members, in order of node numbers.
    pub fn cosigners(&self) -> impl Iterator<Item = (NodeId, &MemberKeys, &KeyLife, VerifierKey)> {
        self.keys.members.iter().flat_map(move |(node, member)| {
            let name = cosigner_key_name(&self.origin, &member.region, &member.zone, *node);
            member.cosignature.iter().map(move |life| {
                let key = VerifierKey::cosigner(&name, life.key);
                (*node, member, life, key)
            })
        })
    }

    /// Whether the note is a checkpoint of this ledger: signed by a log key in force at
    /// its size. A line of a known key that does not verify spoils the note, as C2SP
    /// signed-note asks; lines of unknown keys are passed over, and so are those of keys
    /// not in force.
    pub fn checkpoint(&self, note: &[u8]) -> Result<Vouched, (Check, String)> {
        let unreadable = |check| move |why| (check, format!("cannot be read: {why}"));
        let note = Note::parse(note).map_err(unreadable(Check::NoteReads))?;
        let checkpoint =
            Checkpoint::parse(&note.text).map_err(unreadable(Check::CheckpointReads))?;
        if Check::CheckpointOrigin.fails(checkpoint.origin != self.origin) {
            let detail = format!(
                "is of the origin {}, not of {}",
                checkpoint.origin, self.origin
            );
            return Err((Check::CheckpointOrigin, detail));
        }
        self.signed_by_the_log(&note, &checkpoint)?;
        let mut cosigners = Vec::new();
        for (node, member, life, key) in self.cosigners() {
            match note.vouch(&key) {
                Vouch::Cosigned { time_s }
                    if life.at_size(checkpoint.size) == KeyValidity::InForce =>
                {
                    cosigners.push(Cosigner {
                        node,
                        zone: member.zone.clone(),
                        time_s,
                    });
                }
                Vouch::Absent | Vouch::Cosigned { .. } => {}
                Vouch::Invalid | Vouch::Signed => {
                    if Check::MemberLinesHold.is_asked() {
                        let detail =
                            format!("carries a cosignature of node {node} that does not hold");
                        return Err((Check::MemberLinesHold, detail));
                    }
                }
            }
        }
        cosigners.dedup_by_key(|cosigner| cosigner.node);
        Ok(Vouched {
            checkpoint,
            cosigners,
        })
    }

    /// When the members cosigned a checkpoint, in ms: the median of their times, the later one
    /// of two. `None` where not more than half of those who could have: then one clock that is
    /// wrong might say it.
    pub fn cosigned_at_ms(&self, vouched: &Vouched) -> Option<u64> {
        let size = vouched.checkpoint.size;
        let in_force = |life: &KeyLife| life.at_size(size) == KeyValidity::InForce;
        let members = self.keys.members.values();
        let able = members.filter(|member| member.cosignature.iter().any(in_force));
        let mut times: Vec<u64> = vouched.cosigners.iter().map(|c| c.time_s).collect();
        times.sort_unstable();
        let median = times.get(times.len() / 2)?;
        // The second is a whole one.
        let end_ms = median.saturating_mul(1000).saturating_add(999);
        (times.len() > able.count() / 2).then_some(end_ms)
    }

    /// Whether what an ANCHOR at this index shows is so: a checkpoint of this ledger, of a size
    /// that it had, with a cosignature of the witness named, if a witness is. What the witness or
    /// a time stamp is worth is the auditor's to say.
    pub fn anchored(
        &self,
        index: RecordIndex,
        anchor: &AnchorDocument,
    ) -> Result<(), (Check, String)> {
        let vouched = self.checkpoint(anchor.note.as_bytes());
        let vouched =
            vouched.map_err(|(check, why)| (check, format!("the anchored checkpoint {why}")))?;
        if Check::AnchorIsEarlier.fails(vouched.checkpoint.size.contains(index)) {
            let detail = "the anchored checkpoint is of records that came later";
            return Err((Check::AnchorIsEarlier, detail.to_owned()));
        }
        let AnchoredBy::Witness(witness) = &anchor.by else {
            return Ok(());
        };
        let cosigned = VerifierKey::parse(witness).ok().is_some_and(|key| {
            let note = Note::parse(anchor.note.as_bytes());
            note.is_ok_and(|note| matches!(note.vouch(&key), Vouch::Cosigned { .. }))
        });
        if Check::AnchorCosigned.fails(!cosigned) {
            let detail = "the anchored checkpoint carries no cosignature of the witness named";
            return Err((Check::AnchorCosigned, detail.to_owned()));
        }
        Ok(())
    }

    fn signed_by_the_log(
        &self,
        note: &Note,
        checkpoint: &Checkpoint,
    ) -> Result<(), (Check, String)> {
        let (mut signed, mut revoked) = (false, false);
        for life in &self.keys.log {
            match note.vouch(&VerifierKey::log(&self.origin, life.key)) {
                Vouch::Signed => match life.at_size(checkpoint.size) {
                    KeyValidity::InForce => signed = true,
                    KeyValidity::Revoked => revoked = true,
                    KeyValidity::NotInForce => {}
                },
                Vouch::Absent => {}
                Vouch::Invalid | Vouch::Cosigned { .. } => {
                    if Check::LogLinesHold.is_asked() {
                        let detail = "carries a signature of a log key that does not hold";
                        return Err((Check::LogLinesHold, detail.to_owned()));
                    }
                }
            }
        }
        if Check::LogKeyNotRevoked.fails(!signed && revoked) {
            let detail = "is signed by a log key that was revoked from a smaller size on";
            return Err((Check::LogKeyNotRevoked, detail.to_owned()));
        }
        if Check::LogKeyInForce.fails(!signed && !revoked) {
            let detail = "is not signed by a log key of the ledger in force there";
            return Err((Check::LogKeyInForce, detail.to_owned()));
        }
        Ok(())
    }

    /// Whether a cosigner is one of the operator's own: by its key, or by a name below the
    /// origin, which only members have. Their ML-DSA keys are in no record.
    pub fn is_own_cosigner(&self, key: &VerifierKey) -> bool {
        let below = key.name.strip_prefix(&self.origin);
        below.is_some_and(|rest| rest.starts_with('/'))
            || key.key.ed25519().is_some_and(|key| self.is_own(key))
    }

    /// Whether a key is one of the operator's own: of the log, or of a member.
    pub fn is_own(&self, key: &PublicKey) -> bool {
        self.keys.has(key)
    }
}
