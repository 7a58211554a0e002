//! Changes of keys, taken from evidence that the caller has already.
//!
//! Promises: only from a receipt or bundle of the ledger that is meant, which shows that no
//! change was left out; a bundle is read as it streams by. Leaves what they are good for to
//! the verifier (FORMAT.md, 6.4).

use muniment_evidence::receipt::{MAGIC, RECEIPT_BYTES_MAX};
use muniment_evidence::trust::Trust;
use muniment_evidence::verify::{self, BundleVerifier, Expected, KnownKeys, VerifyOptions};

/// Reads a receipt or a bundle, from pieces of any size.
pub struct KeysReader {
    trust: Option<Trust>,
    verifier: BundleVerifier,
    /// A receipt is read whole; of a bundle no more than its first bytes are held.
    held: Vec<u8>,
}

impl KeysReader {
    pub fn new(trust: Option<&Trust>) -> KeysReader {
        let options = VerifyOptions {
            trust: trust.cloned(),
            // Checkpoints, and the last record under them: what else is in it does not matter.
            level: 2,
            ..VerifyOptions::default()
        };
        KeysReader {
            trust: trust.cloned(),
            verifier: BundleVerifier::new(options),
            held: Vec::new(),
        }
    }

    pub fn push(&mut self, piece: &[u8]) {
        if self.held.len() <= RECEIPT_BYTES_MAX {
            self.held.extend_from_slice(piece);
        }
        if self.held.len() >= MAGIC.len() && !self.held.starts_with(MAGIC) {
            self.verifier.push(&std::mem::take(&mut self.held));
        }
    }

    /// The changes; or, in words, why these are not to be used.
    pub fn finish(mut self) -> Result<KnownKeys, String> {
        let report = match self.held.starts_with(MAGIC) {
            true => {
                let expected = Expected {
                    trust: self.trust.as_ref(),
                    ..Expected::default()
                };
                verify::receipt(&self.held, expected)
            }
            false => {
                self.verifier.push(&self.held);
                self.verifier.finish()
            }
        };
        KnownKeys::of(&report).ok_or_else(|| match report.gravest() {
            Some(finding) => finding.to_string(),
            None => "it does not show all changes of keys".to_owned(),
        })
    }
}
