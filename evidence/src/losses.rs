//! What takes back something that the ledger said before: BODY_LOST, WAIVER, RESTORE, RECOVERY.
//!
//! Promises one encoding each, with the endorsements last, which sign all before them: a member's
//! word never suffices here. A ledger refuses RESTORE and RECOVERY until their features come; a verifier
//! reads them, and knows that it does not understand what follows. Leaves who must endorse to
//! [`crate::endorsement`].
//!
//! Tests: `evidence/tests/planned.rs`.

use crate::codec::Writer;
use crate::digest::Digest;
use crate::endorsement::{Endorsable, Endorsements};
use crate::fields::{Field, fields};
use crate::ids::{BodyId, NodeId, RecordIndex, RecoveryEpoch, TreeSize};
use crate::keychange::{CHANGES_MAX, KeyChange};
use crate::limits::{NODES_MAX, at_most, change, each, id, named, text};
use crate::opening::begin;
use crate::statement::Kind;

fields! {
    /// No holder has a body any more.
    pub struct BodyLostDocument {
        pub tenant: String = named,
        pub uid: [u8; 16],
        pub role: String = id,
        pub body_id: BodyId,
        pub sha256: Digest,
        pub chunk_root: Digest,
        pub length: u64,
        /// The nodes that were asked for it.
        pub asked: Vec<NodeId> = |f, v: &Vec<_>| at_most(f, v.len(), NODES_MAX),
        pub reason: String = text,
        pub endorsements: Endorsements,
    }
}

fields! {
    /// A record that no check lets pass is known, and the ledger goes on after it.
    pub struct WaiverDocument {
        pub index: RecordIndex,
        pub leaf: Digest,
        /// The id of the check that it fails, as in `R4`.
        pub check: String = id,
        pub reason: String = text,
        pub endorsements: Endorsements,
    }
}

fields! {
    /// The ledger goes on from a backup (RESTORE) or from what a survivor has (RECOVERY).
    pub struct EpochDocument {
        /// The number at the end of the origin from here on.
        pub epoch: RecoveryEpoch,
        /// The origin before.
        pub origin: String = named,
        /// How many records stay, and their root.
        pub size: TreeSize,
        pub root: Digest,
        /// The largest size known to have been signed before: what lies between is lost.
        pub known_size: TreeSize,
        /// SHA-256 of the manifest of the backup; absent in a RECOVERY.
        pub backup: Option<Digest>,
        /// Members of before that are none any more.
        pub fenced: Vec<NodeId> = |f, v: &Vec<_>| at_most(f, v.len(), NODES_MAX),
        /// As a KEY record has them.
        pub changes: Vec<KeyChange> = |f, v| each(f, v, CHANGES_MAX, change),
        pub threshold: u8,
        pub reason: String = text,
        pub endorsements: Endorsements,
    }
}

impl EpochDocument {
    fn is_sound(&self) -> bool {
        self.epoch.get() > 0 && self.size > TreeSize::EMPTY && self.size <= self.known_size
    }

    pub(crate) fn is_restore(&self) -> bool {
        self.is_sound() && self.backup.is_some()
    }

    pub(crate) fn is_recovery(&self) -> bool {
        self.is_sound() && self.backup.is_none()
    }
}

impl Endorsable for BodyLostDocument {
    fn unendorsed(&self) -> Vec<u8> {
        before_the_last(Kind::BodyLost, self, &self.endorsements)
    }
}

impl Endorsable for WaiverDocument {
    fn unendorsed(&self) -> Vec<u8> {
        before_the_last(Kind::Waiver, self, &self.endorsements)
    }
}

/// The opening up to its last field.
fn before_the_last(kind: Kind, document: &impl Field, last: &impl Field) -> Vec<u8> {
    let (mut whole, mut end) = (begin(kind), Writer::new());
    document.write(&mut whole);
    last.write(&mut end);
    let mut bytes = whole.finish();
    bytes.truncate(bytes.len() - end.finish().len());
    bytes
}
