//! Auditors' questions on Muniment's evidence, and reports for people and machines.
//!
//! [`muniment_evidence`] is the kernel: it says what the formats are and whether evidence
//! verifies. This crate stands on it and asks further: each question is an
//! [`muniment_evidence::verify::Observer`] that looks on while the one verifier reads a
//! bundle, and takes its answer from records that are in the tree. An answer counts only
//! when the report beside it has no findings, and says so itself otherwise. Leaves reading
//! files and streams, and where an answer is printed, to the programs; one of them,
//! `muniment-verify`, lies in `src/bin/`.
//!
//! * [`invoice`]: what happened to one invoice, and who downloaded it
//! * [`figures`]: counts and sums, to be compared with the caller's own ([`csv`])
//! * [`sample`]: records chosen by a rule that nobody can bend
//! * [`heads`]: whether several checkpoints are of one history
//! * [`promise`]: what became of a promise
//!
//! Before them: [`keys`] (what the caller knows already). Below them: [`answer`] (what every question ends in), [`report`] and [`summary`] (a
//! report, and one record, in words and as JSON), [`json`] (values that write themselves).
//!
//! ```
//! use muniment_audit::sample::RecordSample;
//! use muniment_evidence::verify::{BundleVerifier, VerifyOptions};
//!
//! # fn bundle() -> Vec<u8> { Vec::new() }
//! let sample = RecordSample::new(3, "two dice: 4 and 6", None).expect("within the limits");
//! let mut verifier = BundleVerifier::observed(VerifyOptions::default(), sample);
//! verifier.push(&bundle());
//! let (report, sample) = verifier.finish_observed();
//! let audited = sample.conclude(report);
//! println!("{audited}");
//! # assert_eq!(audited.exit_code(), 15);
//! ```

// Here and not in the workspace: tests say what they expect by unwrapping.
#![warn(clippy::unwrap_used)]

pub mod answer;
pub mod csv;
pub mod figures;
pub mod heads;
pub mod invoice;
pub mod json;
pub mod keys;
pub mod promise;
pub mod report;
pub mod sample;
pub mod summary;
