//! What a KEY record says: which keys are added, retired or revoked, and who endorses it.
//!
//! Promises: one encoding; the signed bytes name the ledger and the serial number of the
//! change, so that an endorsement can be used once and nowhere else. Leaves the rules
//! (who may endorse what) to [`crate::keys`].

use crate::codec::{DecodeError, Reader, Writer};
use crate::codes::coded;
use crate::digest::{Digest, tag};
use crate::ids::{NodeId, RecordIndex};
use crate::key::{PublicKey, Signature, Signer};

/// The most changes of one KEY record: a member has two keys, and members are few.
pub const CHANGES_MAX: usize = 64;
/// The most endorsements of one KEY record: the keys added, and the root keys.
pub const ENDORSEMENTS_MAX: usize = 128;

coded! {
    /// What a key may sign.
    pub enum Role {
        /// Checkpoints, as the ledger.
        Log = 1 "log",
        /// Statements and holdings, as one node.
        Statement = 2 "statement",
        /// Checkpoints, as one node.
        Cosignature = 3 "cosignature",
        /// Changes of keys; kept offline.
        Root = 4 "root",
    }
}

impl Role {
    /// Whether the key is one node's own.
    pub fn is_nodes(self) -> bool {
        matches!(self, Role::Statement | Role::Cosignature)
    }
}

/// What happens to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// In force from the next record on.
    Add,
    /// In force no longer; what it signed stays good.
    Retire,
    /// Compromised: nothing is believed that it signed at `trusted_until` or above.
    Revoke { trusted_until: RecordIndex },
}

/// One key and what happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    pub action: Action,
    pub role: Role,
    /// The key's node; 0 where the role is no node's own.
    pub node: NodeId,
    /// Where the node stands; empty where the role is no node's own, and but for ADD.
    pub region: String,
    pub zone: String,
    pub key: PublicKey,
}

/// A signature under the changes: of a key that is added, or of one that may decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endorsement {
    pub key: PublicKey,
    pub signature: Signature,
}

/// The document opening of a KEY record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDocument {
    /// Counts the OK KEY records of the ledger from 0.
    pub serial: u64,
    pub changes: Vec<KeyChange>,
    /// How many root keys must endorse the next change; 0 where there are none.
    pub threshold: u8,
    pub endorsements: Vec<Endorsement>,
}

impl KeyDocument {
    /// What an endorsement signs.
    pub fn signed_bytes(&self, ledger: &Digest) -> Vec<u8> {
        let mut w = Writer::new();
        w.raw(tag::KEY).digest(ledger);
        self.write_unsigned(&mut w);
        w.finish()
    }

    pub fn endorse(&mut self, ledger: &Digest, signer: &dyn Signer) {
        let signature = signer.sign(&self.signed_bytes(ledger));
        self.endorsements.push(Endorsement {
            key: signer.public(),
            signature,
        });
    }

    /// Whether every endorsement there is holds.
    pub fn is_signed(&self, ledger: &Digest) -> bool {
        let bytes = self.signed_bytes(ledger);
        self.endorsements
            .iter()
            .all(|endorsement| endorsement.key.verify(&bytes, &endorsement.signature))
    }

    fn write_unsigned(&self, w: &mut Writer) {
        w.u64(self.serial).list(&self.changes, write_change);
        w.u8(self.threshold);
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        self.write_unsigned(w);
        w.list(&self.endorsements, |w, endorsement| {
            w.raw(&endorsement.key.0).raw(&endorsement.signature.0);
        });
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<KeyDocument, DecodeError> {
        let document = KeyDocument {
            serial: r.u64()?,
            changes: r.list(read_change)?,
            threshold: r.u8()?,
            endorsements: r.list(|r| {
                Ok(Endorsement {
                    key: PublicKey(r.array()?),
                    signature: Signature(r.array()?),
                })
            })?,
        };
        if document.changes.len() > CHANGES_MAX || document.endorsements.len() > ENDORSEMENTS_MAX {
            return Err(r.error("at most 64 changes and 128 endorsements"));
        }
        Ok(document)
    }
}

fn write_change(w: &mut Writer, change: &KeyChange) {
    let (action, trusted_until) = match change.action {
        Action::Add => (1, RecordIndex::FIRST),
        Action::Retire => (2, RecordIndex::FIRST),
        Action::Revoke { trusted_until } => (3, trusted_until),
    };
    w.u8(action).u64(trusted_until.get()).u8(change.role as u8);
    w.u64(change.node.get())
        .text(&change.region)
        .text(&change.zone);
    w.raw(&change.key.0);
}

fn read_change(r: &mut Reader<'_>) -> Result<KeyChange, DecodeError> {
    let action = match (r.u8()?, RecordIndex::read(r)?) {
        (1, RecordIndex::FIRST) => Action::Add,
        (2, RecordIndex::FIRST) => Action::Retire,
        (3, trusted_until) => Action::Revoke { trusted_until },
        _ => return Err(r.error("an action on a key")),
    };
    Ok(KeyChange {
        action,
        role: Role::from_code(r.u8()?).ok_or_else(|| r.error("the role of a key"))?,
        node: NodeId::read(r)?,
        region: r.text()?,
        zone: r.text()?,
        key: PublicKey(r.array()?),
    })
}

/// A change of keys and the record that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedChange {
    pub index: RecordIndex,
    /// Leaf hash of the record.
    pub leaf: Digest,
    pub document: KeyDocument,
}
