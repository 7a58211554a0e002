//! The ledger shown to outside witnesses, and what they said of it.
//!
//! Promises: only the leader submits, and only what it has applied; what is shown is what
//! anybody is handed who asks for a checkpoint. The newest cosigned note of each witness
//! is kept in memory; a new leader has it after its first submission. Now and then one is
//! recorded as an ANCHOR, unless the log has grown by ANCHORs alone, so that a quiet ledger
//! stays quiet. Whatever fails here is tried again with the next note.

use super::client::{CheckpointSource, SharedProgress, Submitter, WitnessSchedule};
use super::post::WitnessEndpoint;
use crate::checkpoint::keys::KeysInForce;
use crate::domain::cause::Cause;
use crate::domain::ids::TreeSize;
use crate::raft::reads::Reads;
use crate::recorder::Intent;
use crate::recorder::writes::Writes;
use crate::supervise;
use crate::telemetry::Metrics;
use muniment_evidence::digest::Digest;
use muniment_evidence::note::VerifierKey;
use muniment_evidence::opening::{AnchorDocument, AnchoredBy, Document};
use muniment_evidence::record::{Outcome, Record};
use muniment_evidence::statement::Kind;
use muniment_evidence::tree;
use muniment_evidence::witness::Cosigned;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// An outside witness: its key, and where it is.
pub struct WitnessTarget {
    pub key: VerifierKey,
    pub ml_dsa: Option<VerifierKey>,
    pub target: WitnessEndpoint,
}

/// One line per witness of this node.
#[derive(Default)]
pub struct WitnessNotes {
    pub progress: BTreeMap<String, SharedProgress>,
    notes: Mutex<BTreeMap<String, Cosigned>>,
    /// When, and of what size, the newest ANCHOR of each witness was recorded here.
    anchored: Mutex<BTreeMap<String, (Duration, TreeSize)>>,
}

impl WitnessNotes {
    pub fn of(names: impl IntoIterator<Item = String>) -> WitnessNotes {
        let progress = names
            .into_iter()
            .map(|name| (name, SharedProgress::default()));
        WitnessNotes {
            progress: progress.collect(),
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
pub struct WitnessSource {
    pub reads: Reads,
    pub writes: Writes,
    pub keys: Arc<KeysInForce>,
    pub notes: Arc<WitnessNotes>,
    pub metrics: Arc<Metrics>,
    /// By the name of the key.
    pub witnesses: BTreeMap<String, VerifierKey>,
    /// At least this long lies between two ANCHORs of one witness.
    pub anchor_interval: Duration,
}

impl WitnessSource {
    /// One task per witness, idle unless this node leads; each ends with the node.
    pub fn start(self, witnesses: Vec<WitnessTarget>, schedule: WitnessSchedule) {
        let source = Arc::new(self);
        let context = &source.reads.context;
        for witness in witnesses {
            let WitnessTarget {
                key,
                ml_dsa,
                target,
            } = witness;
            let progress = source.notes.progress.get(&key.name).cloned();
            let (progress, clock) = (progress.unwrap_or_default(), context.clock.clone());
            let (source, stop) = (source.clone(), context.stop.clone());
            supervise::restart(&context.stop, "the submitter to a witness", move || {
                let (key, ml_dsa, target) = (key.clone(), ml_dsa.clone(), target.clone());
                let (clock, progress) = (clock.clone(), progress.clone());
                let submitter = Submitter::new(key, target, schedule, clock, progress);
                submitter
                    .with_ml_dsa(ml_dsa)
                    .run(source.clone(), stop.clone())
            });
        }
    }
}

/// Records looked at to see whether anything but ANCHORs was added.
const LOOKED_AT_MAX: usize = 256;

impl WitnessSource {
    /// Records that the witness has cosigned, if it is time to.
    async fn anchor(&self, witness: &str, cosigned: &Cosigned) -> Result<(), Cause> {
        let now = self.reads.context.clock.monotonic();
        let size = cosigned.checkpoint.size;
        let last = {
            let anchored = self.notes.anchored.lock();
            let anchored = anchored.unwrap_or_else(PoisonError::into_inner);
            anchored.get(witness).copied()
        };
        if let Some((when, anchored)) = last
            && (now.saturating_sub(when) < self.anchor_interval
                || !self.has_news(anchored, size).await?)
        {
            return Ok(());
        }
        let key = self
            .witnesses
            .get(witness)
            .ok_or("the witness is not known")?;
        let document = Document::Anchor(AnchorDocument {
            note: cosigned.note.clone(),
            by: AnchoredBy::Witness(key.to_string()),
        });
        let booted = self.writes.booted().map_err(Cause::new)?;
        let recorded = self.writes.record(&booted, Intent::system(document)).await;
        let recorded = recorded.map_err(Cause::new)?;
        if recorded.outcome != Outcome::Ok {
            return Err(recorded.outcome.to_string().into());
        }
        let anchored = self.notes.anchored.lock();
        let mut anchored = anchored.unwrap_or_else(PoisonError::into_inner);
        anchored.insert(witness.to_owned(), (now, size));
        Ok(())
    }

    /// Whether the records from `from` to `to` hold anything but ANCHORs.
    async fn has_news(&self, from: TreeSize, to: TreeSize) -> Result<bool, Cause> {
        let looking = self.reads.read(move |tables| {
            let records = tables.record_range(from.next_index(), to.next_index(), LOOKED_AT_MAX)?;
            let anchor = |record: &Vec<u8>| record[Record::KIND_AT] == Kind::Anchor.code();
            Ok(records.len() == LOOKED_AT_MAX || !records.iter().all(anchor))
        });
        looking.await.map_err(Cause::new)
    }
}

impl CheckpointSource for WitnessSource {
    fn on_duty(&self) -> bool {
        self.reads.context.group.is_leader() && self.writes.booted().is_ok()
    }

    async fn checkpoint(&self) -> Result<String, Cause> {
        let signed = async {
            let booted = self.writes.booted()?;
            self.keys.sign_head(&booted.origin).await
        };
        signed.await.map_err(Cause::new)
    }

    async fn consistency(&self, old: TreeSize, new: TreeSize) -> Result<Vec<Digest>, Cause> {
        let proof = self
            .reads
            .read(move |tables| tree::consistency_proof(&tables.tree_rows(), old, new));
        proof.await.map_err(Cause::new)
    }

    async fn witnessed(&self, witness: &str, cosigned: Cosigned) {
        self.notes.keep(witness, cosigned.clone());
        if let Err(why) = self.anchor(witness, &cosigned).await {
            tracing::warn!(witness, %why, "no ANCHOR was recorded; it is tried again");
        }
    }

    fn failed(&self, witness: &str) {
        self.metrics
            .witness_failures
            .with_label_values(&[witness])
            .inc();
    }
}
