//! Keys: what the ledger's key history says now, and changing it.
//!
//! Promises: nothing is signed with a log key that is not in force at the size signed,
//! and with every one that is, so that a first receipt is the same bytes from any
//! replica; a change that the ledger would refuse, or whose endorsements do not hold, is
//! refused before it is numbered. Key files that were put beside the others are found
//! when the history says that they are in force: no restart is needed for them.

use super::{Answered, Booted, Core, Error, Principal};
use crate::domain::draft::bad;
use crate::keyring::Keyring;
use crate::ledger::state::{State, Tables};
use crate::objective::read::ReadLevel;
use crate::recorder::Intent;
use crate::store::{self, Blocking};
use muniment_evidence::digest::Digest;
use muniment_evidence::key::{PublicKey, SecretKey};
use muniment_evidence::keychange::{KeyDocument, Role};
use muniment_evidence::keys::{KeyHistory, KeyLife, KeyValidity, believe};
use muniment_evidence::ledger::cosigner_key_name;
use muniment_evidence::note::Checkpoint;
use muniment_evidence::opening::Document;
use muniment_evidence::receipt::KeyRecord;
use muniment_evidence::record::Outcome;
use muniment_evidence::tree;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// The keys as they were after some number of changes; never altered, only replaced.
pub struct Known {
    pub history: KeyHistory,
    /// The OK KEY records and their openings.
    records: Vec<(u64, Vec<u8>, Vec<u8>)>,
}

impl Known {
    fn read(tables: &Tables) -> Result<Known, store::Error> {
        let missing = |index: &u64| store::Error::corrupt(format!("KEY record {index} is missing"));
        let records = tables.key_changes()?.into_iter().map(|index| {
            let record = tables.record_bytes(index)?.ok_or_else(|| missing(&index))?;
            let (document, _) = tables.openings(index)?;
            let opening = document.ok_or_else(|| missing(&index))?;
            Ok((index, record, opening.bytes))
        });
        Ok(Known {
            records: records.collect::<Result<_, store::Error>>()?,
            history: tables.key_history()?,
        })
    }

    /// All KEY records, without paths: for evidence that has no tree.
    pub fn unproven(&self) -> Vec<KeyRecord> {
        let bare = |(_, record, opening): &(u64, Vec<u8>, Vec<u8>)| KeyRecord {
            record: record.clone(),
            opening: opening.clone(),
            path: Vec::new(),
        };
        self.records.iter().map(bare).collect()
    }

    /// The KEY records below `size`, proven in the tree of that size.
    pub fn proven(&self, tables: &Tables, size: u64) -> Result<Vec<KeyRecord>, store::Error> {
        let below = self.records.iter().filter(|(index, ..)| *index < size);
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
pub struct KeyBook {
    state: State,
    blocking: Blocking,
    keys: Arc<Keyring>,
    newest: Mutex<Option<Arc<Known>>>,
    /// When the files were last looked for in vain.
    looked: Mutex<Option<Instant>>,
}

/// Between two looks for a key file that is missing.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

impl KeyBook {
    pub fn new(state: State, blocking: Blocking, keys: Arc<Keyring>) -> KeyBook {
        KeyBook {
            state,
            blocking,
            keys,
            newest: Mutex::default(),
            looked: Mutex::default(),
        }
    }

    /// The keys after at least `serial` changes, which are applied here.
    pub async fn known(&self, serial: u64) -> Result<Arc<Known>, store::Error> {
        let newest = self.newest.lock().expect("nobody panics with it").clone();
        if let Some(known) = newest.filter(|known| known.history.serial >= serial) {
            return Ok(known);
        }
        let (state, keys) = (self.state.clone(), self.keys.clone());
        let read = self.blocking.run(move || {
            let known = state.stable(Known::read)?;
            if let Err(error) = keys.reload() {
                tracing::warn!(%error, "the key files cannot be read again");
            }
            Ok(Arc::new(known))
        });
        let known = read.await?;
        *self.newest.lock().expect("nobody panics with it") = Some(known.clone());
        Ok(known)
    }

    pub async fn log_pen(&self, origin: &str, serial: u64) -> Result<LogPen, store::Error> {
        let known = self.known(serial).await?;
        if self.lacks(&known).is_some() && self.may_look() {
            let keys = self.keys.clone();
            let looked = self.blocking.run(move || Ok(keys.reload())).await?;
            if let Err(error) = looked {
                tracing::warn!(%error, "the key files cannot be read again");
            }
        }
        Ok(LogPen {
            origin: origin.to_owned(),
            known,
            keys: self.keys.clone(),
        })
    }

    /// A log key in force that is not held here: without it nothing new can be signed.
    fn lacks(&self, known: &Known) -> Option<PublicKey> {
        let mut active = known.history.log.iter().filter(|life| life.is_active());
        let missing = active.find(|life| self.keys.find(Role::Log, &life.key).is_none());
        missing.map(|life| life.key)
    }

    /// Why this node cannot sign as the ledger, if it cannot.
    pub fn trouble(&self) -> Option<String> {
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
pub struct LogPen {
    pub origin: String,
    pub known: Arc<Known>,
    keys: Arc<Keyring>,
}

impl LogPen {
    /// The note, with one line of each log key in force at its size, in the order in
    /// which they were added; `None` if one of them is not held here.
    pub fn sign(&self, size: u64, root: Digest) -> Option<String> {
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            size,
            root,
        };
        let held: Vec<Arc<SecretKey>> = self
            .known
            .history
            .log_keys_at(size)
            .map(|key| self.keys.find(Role::Log, key))
            .collect::<Option<_>>()?;
        let (first, others) = held.split_first()?;
        let mut note = checkpoint.sign(first.as_ref());
        for key in others {
            note.push_str(&checkpoint.log_line(key.as_ref()));
        }
        Some(note)
    }

    /// This node's own cosignature keys in force at `size`, with their names.
    pub fn cosigners(&self, node: u64, size: u64) -> Vec<(String, Arc<SecretKey>)> {
        let Some(member) = self.known.history.members.get(&node) else {
            return Vec::new();
        };
        let name = cosigner_key_name(&self.origin, &member.region, &member.zone, node);
        let in_force = |life: &&KeyLife| life.at_size(size) == KeyValidity::InForce;
        let held = member.cosignature.iter().filter(in_force);
        held.filter_map(|life| self.keys.find(Role::Cosignature, &life.key))
            .map(|key| (name.clone(), key))
            .collect()
    }
}

impl Core {
    /// The keys as of everything applied here.
    pub(crate) async fn known_keys(&self) -> Result<Arc<Known>, Error> {
        let serial = self.group.applied().key_serial;
        let known = self.key_book.known(serial).await;
        known.map_err(|error| self.storage_failed(&error))
    }

    /// What a caller is told when a log key is missing here.
    pub(crate) fn without_log_key(&self) -> Error {
        self.unavailable(
            "this node does not hold a log key that is in force there; put its file beside \
             log.key",
        )
    }

    pub(crate) async fn log_pen(&self, booted: &Booted) -> Result<LogPen, Error> {
        let serial = self.group.applied().key_serial;
        let pen = self.key_book.log_pen(&booted.origin, serial).await;
        pen.map_err(|error| self.storage_failed(&error))
    }
}

/// The statement key under which this node is to boot: the newest in force that it holds.
pub(super) fn voice(core: &Core, known: &Known, size: u64) -> Result<Arc<SecretKey>, String> {
    let lives = known.history.statement_keys(core.node);
    let in_force = lives
        .iter()
        .rev()
        .filter(|life| life.at_record(size) == KeyValidity::InForce && life.is_active());
    for life in in_force {
        if core.keys.find(Role::Statement, &life.key).is_some() {
            let voice = core.keys.speak_under(&life.key);
            return voice.map_err(|error| error.to_string());
        }
    }
    Err(format!(
        "none of the statement keys that the ledger names for node {} is held here",
        core.node
    ))
}

/// The ledger's keys as they stand.
pub struct View {
    pub ledger: Digest,
    pub origin: String,
    pub known: Arc<Known>,
    pub answered: Answered,
}

pub async fn list(core: &Core, _principal: &Principal) -> Result<View, Error> {
    let booted = core.booted()?;
    core.fresh(ReadLevel::Linearizable).await?;
    let answered = core.answered(true);
    Ok(View {
        ledger: booted.genesis.leaf_hash(),
        origin: booted.origin,
        known: core.known_keys().await?,
        answered,
    })
}

/// Records a change of keys; the index of its record.
pub async fn change(
    core: &Core,
    _principal: &Principal,
    document: KeyDocument,
) -> Result<(u64, Answered), Error> {
    let booted = core.booted()?;
    core.fresh(ReadLevel::Linearizable).await?;
    let known = core.known_keys().await?;
    let size = core.group.applied().size;
    let believed = believe(&known.history, &booted.genesis.leaf_hash(), size, &document);
    believed.map_err(|why| Error::from(bad("change", why.to_string())))?;
    let intent = Intent::system(Document::Key(document));
    let recorded = core.record(&booted, intent).await?;
    match recorded.outcome {
        Outcome::Ok => Ok((recorded.index, core.answered(true))),
        Outcome::Refused(reason) => Err(Error::refused(reason, "the change of keys")),
        Outcome::DuplicateOf(_) => Err(core.unavailable("a change of keys was taken for another")),
    }
}
