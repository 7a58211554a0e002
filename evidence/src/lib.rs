//! Muniment's evidence: the formats, and the verification that needs no trust in us.
//!
//! A ledger keeps one log of everything that happened to its invoices. Whoever holds a file of
//! evidence can check with this crate, without the ledger's help, what the log says:
//!
//! 1. Each node signs a [`statement`] of what it witnessed: "this invoice is to be issued",
//!    "these bytes are about to leave".
//! 2. The ledger gives each statement a position and an outcome. Together they are a
//!    [`record`], and the log is a list of records; each names the hash of the one before.
//! 3. The records are the leaves of one Merkle [`tree`] (RFC 6962). Its root stands for all of
//!    them, and a short path of hashes shows that a record is among them.
//! 4. A [`note`] is the root with the tree's size, signed by the ledger, by its members and,
//!    where there are any, by outside witnesses.
//! 5. Names, amounts and digests of documents are not in the records but in [`opening`]s behind
//!    salted commitments, so that they can be erased and the log stays whole.
//!
//! A [`receipt`] proves one record, a [`bundle`] a range of records or a selection, a
//! [`promise`] a download that is to be recorded. [`verify`] checks each of them under a pin
//! ([`trust`]) and, where the auditor has one, a [`policy`]; it says what it found in a
//! [`report`].
//!
//! ```
//! use muniment_evidence::report::Verdict;
//! use muniment_evidence::trust::Trust;
//! use muniment_evidence::verify::{self, Expected};
//!
//! # let receipt = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/v2/receipt-issue.bin"));
//! # let trust = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/v2/trust"));
//! // `trust` is a file of three lines that you have from someone you trust.
//! let trust = Trust::parse(trust)?;
//! let expected = Expected { trust: Some(&trust), ..Expected::default() };
//! let report = verify::receipt(receipt, expected);
//! assert!(report.holds());
//! // Nobody but the ledger itself speaks for it: no policy, no changes of keys known before.
//! assert_eq!(report.verdict(), Verdict::Unwitnessed);
//!
//! // One flipped bit, anywhere, and it is something else.
//! let mut forged = receipt.to_vec();
//! forged[2000] ^= 1;
//! assert!(matches!(verify::receipt(&forged, expected).verdict(), Verdict::Failed(_)));
//! # Ok::<(), muniment_evidence::trust::TrustError>(())
//! ```
//!
//! The crate reads no files, knows no time and draws no random numbers, and depends on SHA-256,
//! Ed25519, ML-DSA, base64 and two tables of Unicode alone. `FORMAT.md` beside it says every byte.
//!
//! Reading order: [`digest`], [`codec`] (with `codes`), [`ids`], [`key`], [`statement`], [`opening`] (with [`invoice`],
//! [`system`], [`mode`], [`scrub`], [`drill`], [`limits`], [`name`]; and what later features say:
//! [`planned`] with `fields`, [`tenancy`], [`losses`], [`retention`], [`month`]), [`record`], [`tree`] (with [`chunks`]),
//! [`ml_dsa`], [`note`] (with `verifier_key`);
//! then what auditors hold:
//! [`receipt`], [`promise`], [`bundle`] (with [`frame`] and `parts`), [`trust`], [`policy`], [`proof`]; then how
//! it is checked: `genesis`, [`keychange`], [`keys`] and [`ledger`] (the keys), `record_checks` (one record by
//! itself), [`chain`], [`lanes`] and [`rules`] with [`level`] (one after another), [`verify`] (all of it, top to bottom),
//! [`class`] and [`report`] (what was found). Beside them [`witness`]: how an outsider vouches for a
//! head. Words for people, JSON and auditors' questions are the crate `muniment-audit`.

// Here and not in the workspace: tests say what they expect by unwrapping.
#![warn(clippy::unwrap_used)]

pub mod bundle;
pub mod chain;
pub mod checks;
pub mod chunks;
pub mod class;
pub mod codec;
mod codes;
pub mod digest;
pub mod drill;
pub mod endorsement;
mod fields;
pub mod frame;
pub mod genesis;
pub mod ids;
pub mod invoice;
pub mod key;
pub mod keychange;
pub mod keys;
pub mod lanes;
pub mod ledger;
pub mod level;
pub mod limits;
pub mod losses;
pub mod ml_dsa;
pub mod mode;
pub mod month;
pub mod name;
pub mod note;
pub mod opening;
mod parts;
pub mod planned;
pub mod policy;
pub mod promise;
pub mod proof;
pub mod receipt;
pub mod record;
mod record_checks;
pub mod report;
pub mod retention;
pub mod rules;
pub mod scrub;
pub mod statement;
pub mod system;
pub mod tenancy;
pub mod tree;
pub mod trust;
mod verifier_key;
pub mod verify;
pub mod witness;
