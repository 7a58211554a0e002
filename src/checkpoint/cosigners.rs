//! Whose cosignatures count, and the keys behind them: the one place that chooses.
//!
//! Promises: a line is made only with a key that the ledger has in force for this node at
//! the size signed, and taken only if it verifies under such a key of its sender, since
//! one bad line under a known key would spoil the note for every verifier. While keys
//! overlap, a node signs with each of them. Lines under ML-DSA keys come with the node's word
//! for the key; those that do not hold are left out, and the others stay. Leaves when to sign to [`super::signing`].

use super::announcement::Announcement;
use super::keys::CheckpointSigner;
use super::messages::{AnnouncedLine, NodeLines};
use crate::domain::ids::{NodeId, TreeSize};
use muniment_evidence::digest::Digest;
use muniment_evidence::keys::KeyValidity;
use muniment_evidence::ledger::Ledger;
use muniment_evidence::ml_dsa::{MlDsaPublicKey, MlDsaSecretKey, SIGNATURE_BYTES};
use muniment_evidence::note::{Checkpoint, NOTE_BYTES_MAX, Note, VerifierKey, Vouch};
use std::collections::BTreeMap;
use std::sync::Arc;

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
    pub fn sign(&self, checkpoint: &Checkpoint, time_s: u64) -> NodeLines {
        let keys = self.signer.cosigners(self.node, checkpoint.size);
        let lines = keys
            .iter()
            .map(|(name, key)| checkpoint.cosign(name, key.as_ref(), time_s));
        let Some((name, by)) = keys.first() else {
            return NodeLines::default();
        };
        let ml_dsa = self.signer.ml_dsa().iter().filter_map(|key| {
            match checkpoint.cosign_ml_dsa(name, key, time_s) {
                Ok(line) => Some(AnnouncedLine {
                    announcement: Announcement::make(&self.ledger.id, self.node, key.public(), by),
                    line,
                }),
                Err(why) => {
                    tracing::error!(name, %why, "no ML-DSA cosignature");
                    None
                }
            }
        });
        NodeLines {
            lines: lines.collect(),
            ml_dsa: ml_dsa.collect(),
        }
    }

    /// This node's ML-DSA keys; none where it holds no key in force at `size`.
    pub fn announce(&self, size: TreeSize) -> Vec<Announcement> {
        let keys = self.signer.cosigners(self.node, size);
        let Some((_, by)) = keys.first() else {
            return Vec::new();
        };
        let announced = |key: &Arc<MlDsaSecretKey>| {
            Announcement::make(&self.ledger.id, self.node, key.public(), by)
        };
        self.signer.ml_dsa().iter().map(announced).collect()
    }

    /// The keys among these that `node` has announced.
    pub fn announced(
        &self,
        node: NodeId,
        size: TreeSize,
        announced: Vec<Announcement>,
    ) -> Vec<MlDsaPublicKey> {
        let keys = self.in_force(size).remove(&node).unwrap_or_default();
        let holding = announced
            .into_iter()
            .filter(|one| one.holds(&self.ledger.id, node, &keys));
        holding.map(|one| one.key).collect()
    }

    /// The lines that are cosignatures of `node` on this checkpoint, if all of those are
    /// under keys that the ledger names.
    pub fn hold(
        &self,
        node: NodeId,
        checkpoint: &Checkpoint,
        signed: NodeLines,
    ) -> Option<Vec<String>> {
        let keys = self.in_force(checkpoint.size);
        let keys = keys.get(&node)?;
        let NodeLines { mut lines, ml_dsa } = signed;
        let all = lines.iter().all(|line| is_by(checkpoint, line, keys));
        if lines.is_empty() || !all {
            return None;
        }
        for AnnouncedLine { announcement, line } in ml_dsa {
            let own = announcement.holds(&self.ledger.id, node, keys);
            let name = keys
                .first()
                .map(|key| key.name.as_str())
                .unwrap_or_default();
            let key = VerifierKey::ml_dsa_cosigner(name, announcement.key);
            if own && is_by(checkpoint, &line, &[key]) {
                lines.push(line);
            } else {
                let size = checkpoint.size.get();
                let node = node.get();
                tracing::error!(node, size, "an ML-DSA cosignature does not hold; left out");
            }
        }
        Some(lines)
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

/// Whether the line is one cosignature on this checkpoint under one of these keys.
fn is_by(checkpoint: &Checkpoint, line: &str, keys: &[VerifierKey]) -> bool {
    let note = format!("{}\n{line}", checkpoint.text());
    let Ok(note) = Note::parse(note.as_bytes()) else {
        return false;
    };
    let vouches = |key| matches!(note.vouch(key), Vouch::Cosigned { .. });
    note.signatures.len() == 1 && keys.iter().any(vouches)
}

/// A note: the checkpoint under the log keys, then the lines in node order, and at last those
/// under ML-DSA keys: while many nodes exchange such keys a note may lack room for all, and
/// is taken without those that do not fit.
pub fn note(checkpoint: &str, lines: &Lines) -> String {
    let mut lines: Vec<&String> = lines.values().flatten().collect();
    lines.sort_by_key(|line| line.len() > SIGNATURE_BYTES);
    let mut note = checkpoint.to_owned();
    for line in lines {
        if note.len() + line.len() <= NOTE_BYTES_MAX {
            note.push_str(line);
        }
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::Keyring;
    use muniment_evidence::key::{SecretKey, Signer as _};
    use muniment_evidence::keychange::Role;
    use muniment_evidence::limits::NODES_MAX;
    use muniment_evidence::opening::{GenesisDocument, Member};

    const ORIGIN: &str = "ledger.example/0";

    fn secret(node: u64, role: u8) -> Arc<SecretKey> {
        let mut seed = [role; 32];
        seed[0] = node as u8;
        Arc::new(SecretKey::from_seed(&seed))
    }

    /// Node `node` of two, with ML-DSA keys of these seeds.
    fn cosigners(node: u64, ml_dsa: &[u8]) -> Cosigners {
        let member = |node: u64| Member {
            node: NodeId::new(node),
            region: "r".into(),
            zone: format!("z{node}"),
            statement_key: secret(node, 1).public(),
            cosignature_key: secret(node, 2).public(),
        };
        let genesis = GenesisDocument {
            origin: ORIGIN.into(),
            log_key: secret(0, 3).public(),
            members: vec![member(1), member(2)],
            threshold: 0,
            root_keys: Vec::new(),
            operator_keys: Vec::new(),
        };
        let held = vec![
            (Role::Statement, secret(node, 1)),
            (Role::Cosignature, secret(node, 2)),
            (Role::Log, secret(0, 3)),
        ];
        let further = |seed: &u8| Arc::new(MlDsaSecretKey::from_seed(&[*seed; 32]));
        let keyring = Keyring::holding(held).unwrap();
        let keyring = keyring.with_ml_dsa(ml_dsa.iter().map(further).collect());
        let signer = CheckpointSigner::founded(&genesis, keyring);
        Cosigners::of(Digest([5; 32]), signer, NodeId::new(node))
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            origin: ORIGIN.into(),
            size: TreeSize::new(7),
            root: Digest([9; 32]),
        }
    }

    /// One bad line would spoil the note for every policy that pins the key.
    #[test]
    fn ml_dsa_lines_are_taken_if_they_hold_and_left_out_if_not() {
        let (leader, one) = (cosigners(2, &[]), NodeId::new(1));
        let signed = cosigners(1, &[7, 8]).sign(&checkpoint(), 5);
        assert_eq!((signed.lines.len(), signed.ml_dsa.len()), (1, 2));
        let taken = |signed: NodeLines| leader.hold(one, &checkpoint(), signed);
        assert_eq!(taken(signed.clone()).unwrap().len(), 3);
        // The line of one key with the word for another; one of another checkpoint.
        let mut mixed = signed.clone();
        mixed.ml_dsa[0].line = signed.ml_dsa[1].line.clone();
        assert_eq!(taken(mixed).unwrap().len(), 2);
        let other = Checkpoint {
            size: TreeSize::new(8),
            ..checkpoint()
        };
        let mut later = signed.clone();
        later.ml_dsa = cosigners(1, &[7]).sign(&other, 5).ml_dsa;
        assert_eq!(taken(later).unwrap(), signed.lines);
        // Another node's word and line do not become this node's.
        let mut foreign = signed.clone();
        foreign.ml_dsa = cosigners(2, &[7]).sign(&checkpoint(), 5).ml_dsa;
        assert_eq!(taken(foreign).unwrap(), signed.lines);
        // Without a line under a key that the ledger names, there is no cosignature.
        let alone = NodeLines {
            lines: Vec::new(),
            ..signed
        };
        assert_eq!(taken(alone), None);
    }

    /// What every verifier refuses unread would be worth less than a note without them.
    #[test]
    fn a_note_has_room_for_both_types_of_all_members_and_is_never_too_long() {
        let classic = format!("\u{2014} {} {}\n", "n".repeat(255), "s".repeat(104));
        let quantum = format!("\u{2014} {} {}\n", "n".repeat(255), "q".repeat(3244));
        let of = |lines: &[&String]| -> Lines {
            let lines: Vec<String> = lines.iter().map(|line| (*line).clone()).collect();
            let nodes = (1..=NODES_MAX as u64).map(NodeId::new);
            nodes.map(|node| (node, lines.clone())).collect()
        };
        let signed = checkpoint().sign(secret(0, 3).as_ref());
        let both = note(&signed, &of(&[&quantum, &classic]));
        let counted = |note: &str, what: &str| note.matches(what).count();
        let (short, long) = ("s".repeat(104), "q".repeat(3244));
        assert_eq!(
            (counted(&both, &short), counted(&both, &long)),
            (NODES_MAX, NODES_MAX)
        );
        let exchanging = note(&signed, &of(&[&quantum, &quantum, &classic]));
        assert!(exchanging.len() <= NOTE_BYTES_MAX);
        assert_eq!(counted(&exchanging, &short), NODES_MAX);
        assert!(counted(&exchanging, &long) >= NODES_MAX);
    }

    #[test]
    fn a_node_announces_its_ml_dsa_keys_and_only_its_own() {
        let (size, node) = (TreeSize::new(7), NodeId::new(1));
        let announced = cosigners(1, &[7, 8]).announce(size);
        let other = cosigners(2, &[]);
        assert_eq!(other.announced(node, size, announced.clone()).len(), 2);
        let as_two = other.announced(NodeId::new(2), size, announced);
        assert_eq!(as_two, []);
        assert_eq!(other.announce(size), []);
    }
}
