//! A ledger as its genesis names it: origin, id, and the keys that may speak for it.
//!
//! Promises: made only from a genesis that holds in itself. Says whose key belongs to
//! which node and whether a checkpoint is the ledger's own. Leaves the question whether
//! this is the ledger that the auditor means to his pin ([`crate::trust`]).

use crate::digest::Digest;
use crate::key::PublicKey;
use crate::note::{Checkpoint, Note, VerifierKey, Vouch};
use crate::opening::Member;
use crate::receipt::{Genesis, GenesisError};
use std::collections::BTreeMap;

/// Version 0 knows the members that the genesis names, and no others.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// Leaf hash of the genesis record.
    pub id: Digest,
    pub origin: String,
    log: VerifierKey,
    members: BTreeMap<u64, Member>,
}

/// A member's cosignature on a checkpoint: "I hold all of it, bodies too".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigner {
    pub node: u64,
    pub zone: String,
    /// Seconds since 1970, a claim.
    pub time_s: u64,
}

/// A checkpoint that the ledger's log key has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    pub checkpoint: Checkpoint,
    /// In the order of the genesis' node numbers.
    pub cosigners: Vec<Cosigner>,
}

/// The name of a member's cosignature key: origin/region/zone/node.
pub fn cosigner_name(origin: &str, member: &Member) -> String {
    format!("{origin}/{}/{}/{}", member.region, member.zone, member.node)
}

impl Ledger {
    pub fn open(genesis: &Genesis) -> Result<Ledger, GenesisError> {
        let document = genesis.document()?;
        Ok(Ledger {
            id: genesis.leaf_hash(),
            log: VerifierKey::log(&document.origin, document.log_key),
            origin: document.origin,
            members: document
                .members
                .into_iter()
                .map(|member| (member.node, member))
                .collect(),
        })
    }

    pub fn member(&self, node: u64) -> Option<&Member> {
        self.members.get(&node)
    }

    pub fn statement_key(&self, node: u64) -> Option<&PublicKey> {
        self.member(node).map(|member| &member.statement_key)
    }

    /// The key that signs checkpoints.
    pub fn log_key(&self) -> &VerifierKey {
        &self.log
    }

    /// Whether the note is a checkpoint of this ledger under its log key. A line of a
    /// known key that does not verify spoils the note, as C2SP signed-note asks; lines
    /// of unknown keys are passed over.
    pub fn checkpoint(&self, note: &[u8]) -> Result<Vouched, String> {
        let note = Note::parse(note).map_err(|e| format!("cannot be read: {e}"))?;
        let checkpoint =
            Checkpoint::parse(&note.text).map_err(|e| format!("cannot be read: {e}"))?;
        if checkpoint.origin != self.origin {
            return Err(format!(
                "is of the origin {}, not of {}",
                checkpoint.origin, self.origin
            ));
        }
        match note.vouch(&self.log) {
            Vouch::Signed => {}
            Vouch::Absent => return Err("is not signed by the ledger's log key".to_owned()),
            Vouch::Invalid | Vouch::Cosigned { .. } => {
                return Err("carries a signature of the log key that does not hold".to_owned());
            }
        }
        let mut cosigners = Vec::new();
        for member in self.members.values() {
            let name = cosigner_name(&self.origin, member);
            match note.vouch(&VerifierKey::cosigner(&name, member.cosignature_key)) {
                Vouch::Cosigned { time_s } => cosigners.push(Cosigner {
                    node: member.node,
                    zone: member.zone.clone(),
                    time_s,
                }),
                Vouch::Absent => {}
                Vouch::Invalid | Vouch::Signed => {
                    return Err(format!(
                        "carries a cosignature of node {} that does not hold",
                        member.node
                    ));
                }
            }
        }
        Ok(Vouched {
            checkpoint,
            cosigners,
        })
    }
}
