//! The verification, top to bottom: a receipt in one go, a bundle as it streams by.
//!
//! Promises: pure (no I/O, clock or randomness); every check of FORMAT.md ([`crate::checks`]);
//! goes on after a fault where that makes sense, and reports every finding. Leaves
//! reading files, and the choice of pin and policy, to the caller.
//!
//! * [`receipt`]: one record
//! * [`promise`]: one that is to come
//! * [`bundle`]: a range or a selection of records
//! * [`record()`]: one record by itself, for who follows the log
//! * [`Observer`]: who looks on meanwhile
//!
//! What all begin with lies in `expectations` (the pin, the policy) and `learned_keys` (the
//! changes of keys). What the auditor knows of those from before is [`KnownKeys`].

mod anchors;
mod batch;
pub mod bundle;
mod checkpoints;
mod expectations;
mod known_keys;
mod learned_keys;
mod observer;
mod promise;
mod receipt;
mod record;
mod replay;

pub use crate::report::{LEVEL_DEFAULT, LEVEL_MAX};
pub use bundle::{BundleVerifier, VerifyOptions};
pub use known_keys::KnownKeys;
pub use observer::{Observer, SeenRecord};
pub use promise::{Promised, promise};
pub use receipt::{Expected, MaxAge, receipt};
pub use record::record;
