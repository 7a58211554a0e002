//! The ledger's keys in force, as this node has them, and signing checkpoints with them.
//!
//! Promises: nothing is signed with a log key that is not in force at the size signed,
//! and with every one that is, so that a first receipt is the same bytes from any
//! replica. Key files that were put beside the others are found when the history says
//! that they are in force: no restart is needed for them. Leaves changing keys to
//! `service/keys`.
//!
//! Tests: `tests/cluster/keys.rs`.

use super::heads::RecentHeads;
use crate::domain::call_error::CallError;
use crate::domain::cause::Cause;
use crate::domain::ids::{NodeId, RecordIndex, TreeSize};
use crate::keyring::Keyring;
use crate::ledger::rows::LedgerHead;
use crate::ledger::state::Tables;
use crate::raft::context::Context;
use crate::store;
use muniment_evidence::digest::Digest;
use muniment_evidence::endorsement::{Place, willed};
use muniment_evidence::key::{PublicKey, SecretKey};
use muniment_evidence::keychange::Role;
use muniment_evidence::keys::{KeyHistory, KeyLife, KeyValidity};
use muniment_evidence::ledger::cosigner_key_name;
use muniment_evidence::ml_dsa::MlDsaSecretKey;
use muniment_evidence::note::Checkpoint;
use muniment_evidence::opening::Document;
use muniment_evidence::receipt::KeyRecord;
use muniment_evidence::tree;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// The keys as they were after some number of changes; they are never altered, only replaced.
pub struct KeySnapshot {
    pub history: KeyHistory,
    /// The OK KEY records and their openings.
    records: Vec<(RecordIndex, Vec<u8>, Vec<u8>)>,
    /// Heads that were signed under them.
    pub heads: RecentHeads,
}

impl KeySnapshot {
    fn read(tables: &Tables<'_>) -> Result<KeySnapshot, store::StoreError> {
        let missing = |index: &RecordIndex| {
            store::StoreError::corrupt(format!("KEY record {index} is missing"))
        };
        let records = tables.key_changes()?.into_iter().map(|index| {
            let record = tables.record_bytes(index)?.ok_or_else(|| missing(&index))?;
            let (document, _) = tables.openings(index)?;
            let opening = document.ok_or_else(|| missing(&index))?;
            Ok((index, record, opening.bytes))
        });
        Ok(KeySnapshot {
            records: records.collect::<Result<_, store::StoreError>>()?,
            history: tables.key_history()?,
            heads: RecentHeads::default(),
        })
    }

    /// All KEY records, without paths: for evidence that has no tree.
    pub fn unproven(&self) -> Vec<KeyRecord> {
        let bare = |(_, record, opening): &(RecordIndex, Vec<u8>, Vec<u8>)| KeyRecord {
            record: record.clone(),
            opening: opening.clone(),
            path: Vec::new(),
        };
        self.records.iter().map(bare).collect()
    }

    /// The KEY records below `size`, proven in the tree of that size.
    pub fn proven(
        &self,
        tables: &Tables<'_>,
        size: TreeSize,
    ) -> Result<Vec<KeyRecord>, store::StoreError> {
        let below = self
            .records
            .iter()
            .filter(|(index, ..)| *index < size.next_index());
        below
            .map(|(index, record, opening)| {
                Ok(KeyRecord {
                    record: record.clone(),
                    opening: opening.clone(),
                    path: tree::inclusion_proof(&tables.tree_rows(), *index, size)?,
                })
            })
            .collect()
    }
}

/// What was known last; read again when the serial has moved on.
pub struct KeysInForce {
    context: Context,
    keyring: Arc<Keyring>,
    newest: Mutex<Option<Arc<KeySnapshot>>>,
    /// When the files were last looked for in vain.
    looked: Mutex<Option<Instant>>,
}

/// Between two looks for a key file that is missing.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

impl KeysInForce {
    pub fn new(context: Context, keyring: Arc<Keyring>) -> KeysInForce {
        KeysInForce {
            context,
            keyring,
            newest: Mutex::default(),
            looked: Mutex::default(),
        }
    }

    /// The private keys that this node holds, in force or not.
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// The keys as of everything applied here.
    pub async fn now(&self) -> Result<Arc<KeySnapshot>, CallError> {
        let known = self.load().await;
        known.map_err(|error| self.context.storage_failed(&error))
    }

    /// Whether the ledger would take it for willed now, or why not.
    pub async fn willed(
        &self,
        head: &LedgerHead,
        document: &Document,
    ) -> Result<Result<(), String>, CallError> {
        let known = self.now().await?;
        let place = Place {
            index: head.size.next_index(),
            committed_at_ms: head.committed_at_ms,
        };
        let willed = willed(&known.history, &head.ledger, place, document);
        Ok(willed.map_err(|(_, why)| why))
    }

    pub(super) async fn load(&self) -> Result<Arc<KeySnapshot>, store::StoreError> {
        let serial = self.context.group.applied().key_serial;
        let newest = self.newest.lock().expect("nobody panics with it").clone();
        if let Some(known) = newest.filter(|known| known.history.serial >= serial) {
            return Ok(known);
        }
        let (state, keyring) = (self.context.state.clone(), self.keyring.clone());
        let read = self.context.blocking.run(move || {
            let known = state.read(KeySnapshot::read)?;
            if let Err(error) = keyring.reload() {
                tracing::warn!(%error, "the key files cannot be read again");
            }
            Ok(Arc::new(known))
        });
        let known = read.await?;
        *self.newest.lock().expect("nobody panics with it") = Some(known.clone());
        Ok(known)
    }

    /// Signs with the keys as of everything applied here.
    pub async fn signer(&self, origin: &str) -> Result<CheckpointSigner, CallError> {
        let signer = self.load_signer(origin).await;
        signer.map_err(|error| self.context.storage_failed(&error))
    }

    pub(super) async fn load_signer(
        &self,
        origin: &str,
    ) -> Result<CheckpointSigner, store::StoreError> {
        let known = self.load().await?;
        if self.lacks(&known).is_some() && self.may_look() {
            let keyring = self.keyring.clone();
            let looked = self
                .context
                .blocking
                .run(move || Ok(keyring.reload()))
                .await?;
            if let Err(error) = looked {
                tracing::warn!(%error, "the key files cannot be read again");
            }
        }
        Ok(CheckpointSigner {
            origin: origin.to_owned(),
            known,
            keyring: self.keyring.clone(),
        })
    }

    /// The head of this replica, signed by the log keys in force.
    pub async fn sign_head(&self, origin: &str) -> Result<String, CallError> {
        let head = self.context.read(|tables| tables.head()).await?;
        let signer = self.signer(origin).await?;
        let note = signer.sign(head.size, head.root);
        note.ok_or_else(|| self.without_log_key())
    }

    /// What a caller is told when a log key is missing here.
    pub fn without_log_key(&self) -> CallError {
        self.context.group.unavailable(
            "this node does not hold a log key that is in force there; put its file beside \
             log.key",
        )
    }

    /// The statement key under which this node is to boot: the newest in force that it
    /// holds.
    pub fn active_key(&self, known: &KeySnapshot, size: TreeSize) -> Result<Arc<SecretKey>, Cause> {
        let node = self.context.group.node();
        let lives = known.history.statement_keys(node);
        let in_force = lives.iter().rev().filter(|life| {
            life.at_record(size.next_index()) == KeyValidity::InForce && life.is_active()
        });
        for life in in_force {
            if self.keyring.find(Role::Statement, &life.key).is_some() {
                let key = self.keyring.sign_under(&life.key);
                return key.map_err(Cause::new);
            }
        }
        Err(Cause::new(format!(
            "none of the statement keys that the ledger names for node {node} is held here"
        )))
    }

    /// A log key in force that is not held here: without it nothing new can be signed.
    fn lacks(&self, known: &KeySnapshot) -> Option<PublicKey> {
        let mut active = known.history.log.iter().filter(|life| life.is_active());
        let missing = active.find(|life| self.keyring.find(Role::Log, &life.key).is_none());
        missing.map(|life| life.key)
    }

    /// Why this node cannot sign as the ledger, if it cannot.
    pub fn reason_not_ready(&self) -> Option<String> {
        let known = self.newest.lock().expect("nobody panics with it").clone()?;
        let key = self.lacks(&known)?;
        Some(format!(
            "the log key {key:?}, which is in force, is not held here: put its file beside log.key"
        ))
    }

    fn may_look(&self) -> bool {
        let mut looked = self.looked.lock().expect("nobody panics with it");
        let now = Instant::now();
        let may = looked.is_none_or(|before| now.duration_since(before) >= LOOK_PAUSE);
        if may {
            *looked = Some(now);
        }
        may
    }
}

/// Signs checkpoints as the ledger.
#[derive(Clone)]
pub struct CheckpointSigner {
    pub origin: String,
    pub known: Arc<KeySnapshot>,
    keyring: Arc<Keyring>,
}

impl CheckpointSigner {
    /// The note, with one line of each log key in force at its size, in the order in
    /// which they were added; `None` if one of them is not held here.
    pub fn sign(&self, size: TreeSize, root: Digest) -> Option<String> {
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            size,
            root,
        };
        let held: Vec<Arc<SecretKey>> = self
            .known
            .history
            .log_keys_at(size)
            .map(|key| self.keyring.find(Role::Log, key))
            .collect::<Option<_>>()?;
        let (first, others) = held.split_first()?;
        let mut note = checkpoint.sign(first.as_ref());
        for key in others {
            note.push_str(&checkpoint.log_line(key.as_ref()));
        }
        Some(note)
    }

    /// The ML-DSA keys that this node cosigns with.
    pub fn ml_dsa(&self) -> &[Arc<MlDsaSecretKey>] {
        self.keyring.ml_dsa()
    }

    /// This node's own cosignature keys in force at `size`, with their names.
    pub fn cosigners(&self, node: NodeId, size: TreeSize) -> Vec<(String, Arc<SecretKey>)> {
        let Some(member) = self.known.history.members.get(&node) else {
            return Vec::new();
        };
        let name = cosigner_key_name(&self.origin, &member.region, &member.zone, node);
        let in_force = |life: &&KeyLife| life.at_size(size) == KeyValidity::InForce;
        let held = member.cosignature.iter().filter(in_force);
        held.filter_map(|life| self.keyring.find(Role::Cosignature, &life.key))
            .map(|key| (name.clone(), key))
            .collect()
    }
}

#[cfg(test)]
impl CheckpointSigner {
    /// With the keys of a GENESIS alone.
    pub(super) fn founded(
        genesis: &muniment_evidence::opening::GenesisDocument,
        keyring: Keyring,
    ) -> CheckpointSigner {
        let known = KeySnapshot {
            history: KeyHistory::founded(genesis),
            records: Vec::new(),
            heads: RecentHeads::default(),
        };
        CheckpointSigner {
            origin: genesis.origin.clone(),
            known: Arc::new(known),
            keyring: Arc::new(keyring),
        }
    }
}
