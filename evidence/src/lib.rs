//! Muniment's evidence: the formats, and the verifier that needs no trust in us.
//!
//! A node attests what it witnessed in a [`statement`]; apply gives it a position and an
//! outcome and so makes it a [`record`]; records are leaves of one RFC 6962 [`tree`] and
//! each names the leaf hash of the one before. A [`note`] signs the tree's head. The
//! details stand in [`opening`]s behind salted commitments. A [`receipt`] proves one
//! record, a [`bundle`] a whole period; [`verify`] verifies both and says so in a
//! [`report`].
//!
//! This crate has no I/O, no clock and no randomness, and depends on SHA-256, Ed25519
//! and base64 alone. `FORMAT.md` beside it says every byte.
//!
//! Reading order: `digest`, `codec`, `key`, `statement`, `opening`, `record`, `tree`,
//! `note`; then what auditors hold: `receipt`, `promise`, `bundle`, `trust`; then how it is checked:
//! `ledger` (the keys), `record_checks` (one record), `chain` (one after another), `verify` (all
//! of it, top to bottom), `account` and `report` (what was found, in words and in JSON);
//! `audit` (auditors' questions, answered meanwhile). Beside them, [`witness`]: how an
//! outsider vouches for a head.

// Here and not in the workspace: tests say what they expect by unwrapping.
#![warn(clippy::unwrap_used)]

pub mod bundle;
pub mod chain;
pub mod class;
pub mod codec;
mod codes;
pub mod digest;
pub mod drill;
pub mod frame;
pub mod genesis;
pub mod invoice;
pub mod key;
pub mod keychange;
pub mod keys;
pub mod lanes;
pub mod ledger;
pub mod mode;
pub mod note;
pub mod opening;
mod parts;
pub mod policy;
pub mod promise;
pub mod proof;
pub mod receipt;
pub mod record;
mod record_checks;
pub mod report;
pub mod scrub;
pub mod statement;
pub mod system;
pub mod tree;
pub mod trust;
pub mod verify;
pub mod witness;
