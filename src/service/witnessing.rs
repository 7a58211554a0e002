//! The ledger shown to outside witnesses, and what they said of it.
//!
//! Promises: only the leader submits, and only what it has applied; what is shown is what
//! [`prove`] would hand to anybody. The newest cosigned note of each witness is kept in
//! memory; a new leader has it after its first submission.

use super::{Booted, Core, Principal, prove};
use crate::objective::read::ReadLevel;
use crate::telemetry::Metrics;
use crate::witness::client::{Shared, Source};
use muniment_evidence::digest::Digest;
use muniment_evidence::tree;
use muniment_evidence::witness::Cosigned;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// One line per witness of this node.
#[derive(Default)]
pub struct Board {
    pub standings: BTreeMap<String, Shared>,
    notes: Mutex<BTreeMap<String, Cosigned>>,
}

impl Board {
    pub fn of(names: impl IntoIterator<Item = String>) -> Board {
        let standings = names.into_iter().map(|name| (name, Shared::default()));
        Board {
            standings: standings.collect(),
            notes: Mutex::default(),
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
}

impl Desk {
    fn booted(&self) -> Result<Booted, String> {
        self.core.booted().map_err(|error| error.to_string())
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
        self.core.witnesses.keep(witness, cosigned);
    }

    fn failed(&self, witness: &str) {
        self.metrics
            .witness_failures
            .with_label_values(&[witness])
            .inc();
    }
}
