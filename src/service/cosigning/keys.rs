//! Whose cosignatures count, and the keys behind them: the one place that chooses.
//!
//! Promises: a line is made only with a key that the ledger names for this node, and
//! taken only if it verifies under a key that the ledger names for its sender, since one
//! bad line under a known key would spoil the note for every verifier. Today GENESIS names
//! one cosignature key per member. Leaves when to sign to [`super::vouching`].

use crate::keyring::Keyring;
use muniment_evidence::key::{SecretKey, Signer as _};
use muniment_evidence::ledger::{Ledger, cosigner_name};
use muniment_evidence::note::{Checkpoint, Note, VerifierKey, Vouch};
use muniment_evidence::opening::GenesisDocument;
use muniment_evidence::receipt::Genesis;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The lines of a note, by the node that wrote them.
pub type Lines = BTreeMap<u64, Vec<String>>;

/// See the module.
pub struct Cosigners {
    /// Judges notes as any verifier would.
    pub ledger: Ledger,
    log: Arc<SecretKey>,
    own: Vec<(String, Arc<SecretKey>)>,
    members: BTreeMap<u64, Vec<VerifierKey>>,
}

impl Cosigners {
    /// The keys in force; an error if this node has none of its own.
    pub fn of(genesis: &Genesis, node: u64, keys: &Keyring) -> Result<Cosigners, String> {
        let document = genesis.document().map_err(|error| error.to_string())?;
        let members = in_force(&document);
        let held = [keys.cosignature.clone()];
        let named = members.get(&node).into_iter().flatten();
        let own: Vec<_> = named
            .filter_map(|key| {
                let secret = held.iter().find(|secret| secret.public() == key.key)?;
                Some((key.name.clone(), secret.clone()))
            })
            .collect();
        if own.is_empty() {
            return Err(format!(
                "cosignature.key is not a key that the ledger names for node {node}"
            ));
        }
        Ok(Cosigners {
            ledger: Ledger::open(genesis).map_err(|error| error.to_string())?,
            log: keys.log.clone(),
            own,
            members,
        })
    }

    /// This node's lines on a checkpoint.
    pub fn sign(&self, checkpoint: &Checkpoint, time_s: u64) -> Vec<String> {
        let line =
            |(name, key): &(String, Arc<SecretKey>)| checkpoint.cosign(name, key.as_ref(), time_s);
        self.own.iter().map(line).collect()
    }

    /// Whether each line is a cosignature of `node` on this checkpoint.
    pub fn hold(&self, node: u64, checkpoint: &Checkpoint, lines: &[String]) -> bool {
        let Some(keys) = self.members.get(&node) else {
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

    /// The checkpoint under the log key alone.
    pub fn checkpoint(&self, checkpoint: &Checkpoint) -> String {
        checkpoint.sign(self.log.as_ref())
    }

    /// The members' lines in a note that was judged already.
    pub fn lines(&self, note: &str) -> Lines {
        let mut lines = Lines::new();
        let signatures = note.rsplit_once("\n\n").map_or("", |(_, after)| after);
        for line in signatures.split_inclusive('\n') {
            for (node, keys) in &self.members {
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
}

/// Which cosignature keys each member may sign with.
fn in_force(document: &GenesisDocument) -> BTreeMap<u64, Vec<VerifierKey>> {
    let member = |member: &muniment_evidence::opening::Member| {
        let name = cosigner_name(&document.origin, member);
        let key = VerifierKey::cosigner(&name, member.cosignature_key);
        (member.node, vec![key])
    };
    document.members.iter().map(member).collect()
}

/// A note: the checkpoint under the log key, then the lines in node order.
pub fn note(checkpoint: &str, lines: &Lines) -> String {
    let lines: String = lines.values().flatten().map(String::as_str).collect();
    format!("{checkpoint}{lines}")
}
