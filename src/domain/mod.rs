//! Ids, commands and answers: what all other layers speak of. Pure.
//!
//! The data of an invoice itself ([`muniment_evidence::opening`]) is part of the evidence
//! format, since an auditor must be able to read it; here are the ids, the limits that a
//! caller's data must keep, why a call is not served, and the command that is replicated.

pub mod call_error;
pub mod cause;
pub mod command;
pub mod currency;
pub mod draft;
pub mod ids;
