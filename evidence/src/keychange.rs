//! What a KEY record says: which keys are added, retired or revoked, and who endorses it.
//!
//! Promises: one encoding; the serial number of the change is among what is endorsed, so that an
//! endorsement can be used once. Leaves what is signed to [`crate::endorsement`], and the rules
//! (who may endorse what) to [`crate::keys`].

use crate::codec::{DecodeError, Reader, Writer};
use crate::codes::coded;
use crate::digest::Digest;
use crate::endorsement::{Endorsable, Endorsements, Place};
use crate::ids::{NodeId, RecordIndex, UploadEpoch};
use crate::key::{PublicKey, Signer};
use crate::opening::begin;
use crate::statement::Kind;

/// The most changes of one KEY record: a member has two keys, and members are few.
pub const CHANGES_MAX: usize = 64;

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
        /// Orders: what an operator wills.
        Operator = 5 "operator",
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
    /// In force no longer; what it signed stays good. Of a statement key: its holdings
    /// up to this upload epoch, and what of its outboxes a BOOT said was signed.
    Retire { last_epoch: UploadEpoch },
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

impl Action {
    /// Of a key that signs no holdings, or of which none count any more.
    pub const RETIRE: Action = Action::Retire {
        last_epoch: UploadEpoch::new(0),
    };
}

impl KeyChange {
    /// The last upload epoch of which holdings of a key that is retired count.
    pub fn last_epoch(&self) -> Option<UploadEpoch> {
        match self.action {
            Action::Retire { last_epoch } if self.role == Role::Statement => Some(last_epoch),
            _ => None,
        }
    }
}

/// The document opening of a KEY record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDocument {
    /// Counts the OK KEY records of the ledger from 0.
    pub serial: u64,
    pub changes: Vec<KeyChange>,
    /// How many root keys must endorse the next change; 0 where there are none.
    pub threshold: u8,
    pub endorsements: Endorsements,
}

impl Endorsable for KeyDocument {
    fn unendorsed(&self) -> Vec<u8> {
        let mut w = begin(Kind::Key);
        self.write_unendorsed(&mut w);
        w.finish()
    }
}

impl KeyDocument {
    pub fn endorse(&mut self, ledger: &Digest, signer: &dyn Signer) {
        let mut endorsements = self.endorsements.clone();
        endorsements.sign(ledger, self, signer);
        self.endorsements = endorsements;
    }

    /// Whether every endorsement there is holds, each of another key.
    pub fn is_signed(&self, ledger: &Digest) -> bool {
        self.endorsements.are_signed(ledger, self)
    }

    fn write_unendorsed(&self, w: &mut Writer) {
        w.u64(self.serial).list(&self.changes, write_change);
        w.u8(self.threshold);
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        self.write_unendorsed(w);
        self.endorsements.write(w);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<KeyDocument, DecodeError> {
        let document = KeyDocument {
            serial: r.u64()?,
            changes: r.list(read_change)?,
            threshold: r.u8()?,
            endorsements: Endorsements::read(r)?,
        };
        if document.changes.len() > CHANGES_MAX {
            return Err(r.error("at most 64 changes"));
        }
        Ok(document)
    }
}

pub(crate) fn write_change(w: &mut Writer, change: &KeyChange) {
    let (action, until) = match change.action {
        Action::Add => (1, 0),
        Action::Retire { last_epoch } => (2, last_epoch.get()),
        Action::Revoke { trusted_until } => (3, trusted_until.get()),
    };
    w.u8(action).u64(until).u8(change.role as u8);
    w.u64(change.node.get())
        .text(&change.region)
        .text(&change.zone);
    w.raw(&change.key.0);
}

pub(crate) fn read_change(r: &mut Reader<'_>) -> Result<KeyChange, DecodeError> {
    let action = match (r.u8()?, r.u64()?) {
        (1, 0) => Action::Add,
        (2, last_epoch) => Action::Retire {
            last_epoch: UploadEpoch::new(last_epoch),
        },
        (3, trusted_until) => Action::Revoke {
            trusted_until: RecordIndex::new(trusted_until),
        },
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
    pub committed_at_ms: u64,
    pub document: KeyDocument,
}

impl RecordedChange {
    pub fn place(&self) -> Place {
        Place {
            index: self.index,
            committed_at_ms: self.committed_at_ms,
        }
    }
}
