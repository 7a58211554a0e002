//! The ledger shown to outside witnesses, and what they said of it.
//!
//! Promises: only the leader submits, and only what it has applied; what is shown is what
//! [`prove`] would hand to anybody. The newest cosigned note of each witness is kept in
//! memory; a new leader has it after its first submission. Now and then one is recorded
//! as an ANCHOR, unless the log has grown by ANCHORs alone, so that a quiet ledger stays
//! quiet. Whatever fails here is tried again with the next note.

use super::{Booted, Core, Principal, prove};
use crate::objective::read::ReadLevel;
use crate::recorder::Intent;
use crate::telemetry::Metrics;
use crate::witness::client::{Shared, Source};
use muniment_evidence::digest::Digest;
use muniment_evidence::note::VerifierKey;
use muniment_evidence::opening::{AnchorDocument, Document};
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::statement::Kind;
use muniment_evidence::tree;
use muniment_evidence::witness::Cosigned;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One line per witness of this node.
#[derive(Default)]
pub struct Board {
    pub standings: BTreeMap<String, Shared>,
    notes: Mutex<BTreeMap<String, Cosigned>>,
    /// When, and of what size, the newest ANCHOR of each witness was recorded here.
    anchored: Mutex<BTreeMap<String, (Duration, u64)>>,
}

impl Board {
    pub fn of(names: impl IntoIterator<Item = String>) -> Board {
        let standings = names.into_iter().map(|name| (name, Shared::default()));
        Board {
            standings: standings.collect(),
            notes: Mutex::default(),
            anchored: Mutex::default(),
        }
    }

    /// The newest note that a witness cosigned for this node.
    pub fn newest(&self, witness: &str) -> Option<Cosigned> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.get(witness).cloned()
    }

    fn keep(&self, witness: &str, cosigned: Cosigned) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.insert(witness.to_owned(), cosigned);
    }
}

/// What the submitters of a node ask.
pub struct Desk {
    pub core: Arc<Core>,
    pub metrics: Arc<Metrics>,
    /// By the name of the key.
    pub keys: BTreeMap<String, VerifierKey>,
    /// At least this long lies between two ANCHORs of one witness.
    pub anchor_interval: Duration,
}

impl Desk {
    fn booted(&self) -> Result<Booted, String> {
        self.core.booted().map_err(|error| error.to_string())
    }
}

/// Records looked at to see whether anything but ANCHORs was added.
const LOOKED_AT_MAX: usize = 256;

impl Desk {
    /// Records that the witness has cosigned, if it is time to.
    async fn anchor(&self, witness: &str, cosigned: &Cosigned) -> Result<(), String> {
        let now = self.core.clock.monotonic();
        let size = cosigned.checkpoint.size;
        let last = {
            let anchored = self.core.witnesses.anchored.lock();
            let anchored = anchored.unwrap_or_else(PoisonError::into_inner);
            anchored.get(witness).copied()
        };
        if let Some((when, anchored)) = last
            && (now.saturating_sub(when) < self.anchor_interval
                || !self.has_news(anchored, size).await?)
        {
            return Ok(());
        }
        let key = self.keys.get(witness).ok_or("the witness is not known")?;
        let document = Document::Anchor(AnchorDocument {
            witness: key.to_string(),
            note: cosigned.note.clone(),
        });
        let booted = self.booted()?;
        let recorded = self.core.record(&booted, Intent::system(document)).await;
        let recorded = recorded.map_err(|error| error.to_string())?;
        if recorded.outcome != Outcome::Ok {
            return Err(recorded.outcome.to_string());
        }
        let anchored = self.core.witnesses.anchored.lock();
        let mut anchored = anchored.unwrap_or_else(PoisonError::into_inner);
        anchored.insert(witness.to_owned(), (now, size));
        Ok(())
    }

    /// Whether the records from `from` to `to` hold anything but ANCHORs.
    async fn has_news(&self, from: u64, to: u64) -> Result<bool, String> {
        let looking = self.core.read(move |tables| {
            let records = tables.record_range(from, to, LOOKED_AT_MAX)?;
            let anchor = |record: &Vec<u8>| record[Record::KIND_AT] == Kind::Anchor as u8;
            Ok(records.len() == LOOKED_AT_MAX || !records.iter().all(anchor))
        });
        looking.await.map_err(|error| error.to_string())
    }
}

impl Source for Desk {
    fn on_duty(&self) -> bool {
        self.core.group.is_leader() && self.booted().is_ok()
    }

    async fn checkpoint(&self) -> Result<String, String> {
        let nobody = Principal::anonymous(String::new(), String::new());
        let signed = prove::checkpoint(&self.core, &nobody, ReadLevel::Local).await;
        signed
            .map(|(note, _)| note)
            .map_err(|error| error.to_string())
    }

    async fn consistency(&self, old: u64, new: u64) -> Result<Vec<Digest>, String> {
        let proof = self
            .core
            .read(move |tables| tree::consistency_proof(&tables.tree_rows(), old, new));
        proof.await.map_err(|error| error.to_string())
    }

    async fn witnessed(&self, witness: &str, cosigned: Cosigned) {
        self.core.witnesses.keep(witness, cosigned.clone());
        if let Err(why) = self.anchor(witness, &cosigned).await {
            tracing::warn!(witness, why, "no ANCHOR was recorded; it is tried again");
        }
    }

    fn failed(&self, witness: &str) {
        self.metrics
            .witness_failures
            .with_label_values(&[witness])
            .inc();
    }
}
