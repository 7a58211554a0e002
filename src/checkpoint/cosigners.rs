//! Whose cosignatures count, and the keys behind them: the one place that chooses.
//!
//! Promises: a line is made only with a key that the ledger has in force for this node at
//! the size signed, and taken only if it verifies under such a key of its sender, since
//! one bad line under a known key would spoil the note for every verifier. While keys
//! overlap, a node signs with each of them. Leaves when to sign to [`super::signing`].

use super::keys::CheckpointSigner;
use crate::domain::ids::{NodeId, TreeSize};
use muniment_evidence::digest::Digest;
use muniment_evidence::keys::KeyValidity;
use muniment_evidence::ledger::Ledger;
use muniment_evidence::note::{Checkpoint, Note, VerifierKey, Vouch};
use std::collections::BTreeMap;

/// The lines of a note, by the node that wrote them.
pub type Lines = BTreeMap<NodeId, Vec<String>>;

/// The keys as they are known now; see the module.
pub struct Cosigners {
    /// Checks notes as any verifier would.
    pub ledger: Ledger,
    signer: CheckpointSigner,
    node: NodeId,
}

impl Cosigners {
    pub fn of(ledger: Digest, signer: CheckpointSigner, node: NodeId) -> Cosigners {
        Cosigners {
            ledger: Ledger::following(ledger, &signer.origin, signer.known.history.clone()),
            signer,
            node,
        }
    }

    /// This node's lines on a checkpoint; none where it holds no key in force there.
    pub fn sign(&self, checkpoint: &Checkpoint, time_s: u64) -> Vec<String> {
        let keys = self.signer.cosigners(self.node, checkpoint.size);
        keys.iter()
            .map(|(name, key)| checkpoint.cosign(name, key.as_ref(), time_s))
            .collect()
    }

    /// Whether each line is a cosignature of `node` on this checkpoint.
    pub fn hold(&self, node: NodeId, checkpoint: &Checkpoint, lines: &[String]) -> bool {
        let keys = self.in_force(checkpoint.size);
        let Some(keys) = keys.get(&node) else {
            return false;
        };
        !lines.is_empty()
            && lines.iter().all(|line| {
                let note = format!("{}\n{line}", checkpoint.text());
                let Ok(note) = Note::parse(note.as_bytes()) else {
                    return false;
                };
                let vouches = |key| matches!(note.vouch(key), Vouch::Cosigned { .. });
                note.signatures.len() == 1 && keys.iter().any(vouches)
            })
    }

    /// The checkpoint under the log keys in force; `None` if one of them is not held.
    pub fn checkpoint(&self, checkpoint: &Checkpoint) -> Option<String> {
        self.signer.sign(checkpoint.size, checkpoint.root)
    }

    /// The members' lines in a note of `size` that was checked already.
    pub fn lines(&self, size: TreeSize, note: &str) -> Lines {
        let members = self.in_force(size);
        let mut lines = Lines::new();
        let signatures = note.rsplit_once("\n\n").map_or("", |(_, after)| after);
        for line in signatures.split_inclusive('\n') {
            for (node, keys) in &members {
                let names = |key: &VerifierKey| {
                    let rest = line.strip_prefix("\u{2014} ");
                    rest.and_then(|rest| rest.strip_prefix(&key.name))
                        .is_some_and(|rest| rest.starts_with(' '))
                };
                if keys.iter().any(names) {
                    lines.entry(*node).or_default().push(line.to_owned());
                }
            }
        }
        lines
    }

    fn in_force(&self, size: TreeSize) -> BTreeMap<NodeId, Vec<VerifierKey>> {
        let mut members: BTreeMap<NodeId, Vec<VerifierKey>> = BTreeMap::new();
        for (node, _, life, key) in self.ledger.cosigners() {
            if life.at_size(size) == KeyValidity::InForce {
                members.entry(node).or_default().push(key);
            }
        }
        members
    }
}

/// A note: the checkpoint under the log keys, then the lines in node order.
pub fn note(checkpoint: &str, lines: &Lines) -> String {
    let lines: String = lines.values().flatten().map(String::as_str).collect();
    format!("{checkpoint}{lines}")
}
