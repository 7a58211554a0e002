//! Why a call was not served as asked, by what the caller does next.
//!
//! The caller's mistakes are outcomes and stay; passing faults say that they pass. A
//! broken promise is not answered: it stops the node, and callers see it go away.

use super::cause::Cause;
use super::draft::BadField;
use crate::domain::ids::{NodeId, RecordIndex};
use muniment_evidence::digest::Digest;
use muniment_evidence::record::Reason;
use std::fmt;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// Mend the field.
    Invalid(BadField),
    /// There is no such thing.
    NotFound(String),
    /// Taken by other content: use another identity, or look at what is there.
    Taken {
        reason: Reason,
        detail: String,
        /// Digest of the stored bytes, where that is what differs.
        stored_sha256: Option<Digest>,
    },
    /// Not in this state of the invoice.
    NotNow {
        /// Stable upper-case name.
        reason: &'static str,
        detail: String,
    },
    /// Committed, and not yet as durable as asked: the same call again waits for the rest.
    BelowLevel {
        index: RecordIndex,
        /// As callers write it.
        level: String,
        /// Where it is durable by now.
        nodes: Vec<NodeId>,
        zones: Vec<String>,
    },
    /// Come back a little later.
    Exhausted { what: String, retry_after_ms: u64 },
    /// Try again, here or at another node.
    Unavailable {
        why: Cause,
        leader_address: Option<String>,
    },
    /// What the caller has seen is not in this ledger, here or anywhere: begin anew. Or what
    /// is stored for the answer is damaged, perhaps everywhere.
    DataLoss {
        /// Stable upper-case name.
        reason: &'static str,
        detail: String,
    },
}

/// What a shed caller is told to wait.
const RETRY_AFTER_MS: u64 = 200;

impl CallError {
    pub fn not_found(what: impl Into<String>) -> CallError {
        CallError::NotFound(what.into())
    }

    pub fn exhausted(what: impl Into<String>) -> CallError {
        CallError::Exhausted {
            what: what.into(),
            retry_after_ms: RETRY_AFTER_MS,
        }
    }

    /// The answer to a REFUSED record.
    pub fn refused(reason: Reason, what: &str) -> CallError {
        let taken = |detail: String| CallError::Taken {
            reason,
            detail,
            stored_sha256: None,
        };
        let not_now = |detail: String| CallError::NotNow {
            reason: reason.name(),
            detail,
        };
        match reason {
            Reason::NotFound | Reason::UnknownTenant => CallError::not_found(what),
            Reason::IdentityTaken => taken(format!("{what} has other content")),
            Reason::RequestIdReused => {
                taken("the request id was used before, with other content".to_owned())
            }
            Reason::AlternativeIdTaken => {
                taken("an alternative id belongs to another invoice".to_owned())
            }
            Reason::RenditionTaken => taken(format!(
                "{what} has a rendition in this role with other bytes"
            )),
            Reason::ReversalExceeds => not_now(format!(
                "the reversals of {what} would exceed its total, or are in another currency"
            )),
            Reason::AmountExponent => not_now(format!(
                "the amount has another exponent than the total of {what}"
            )),
            Reason::LimitReached => not_now(format!(
                "{what} has as many renditions or reversals as one may have"
            )),
            Reason::AlreadyVoid => not_now(format!("{what} is void")),
            Reason::AlreadyReversed => not_now(format!("{what} has been reversed")),
            Reason::NotReversible => not_now(format!("{what} is itself a reversal")),
            Reason::FeatureLevel => {
                not_now("the ledger's feature level does not allow it yet".to_owned())
            }
            Reason::HoldingsInsufficient => CallError::Unavailable {
                why: "the members changed while the body was stored; make the call again".into(),
                leader_address: None,
            },
            Reason::KeySerial => {
                not_now("another change of keys came first; draw this one up again".to_owned())
            }
            Reason::KeyInUse => not_now(
                "the node still runs under the key; let it start under another first".to_owned(),
            ),
            Reason::KeyChange | Reason::KeyEndorsement => {
                not_now(format!("the ledger refused {what}: {}", reason.name()))
            }
            Reason::Malformed | Reason::NotDue | Reason::NotEntitled | Reason::Later(_) => {
                CallError::Unavailable {
                    why: format!("the ledger refused {what}: {}", reason.name()).into(),
                    leader_address: None,
                }
            }
        }
    }
}

impl From<BadField> for CallError {
    fn from(bad: BadField) -> CallError {
        CallError::Invalid(bad)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Invalid(bad) => bad.fmt(f),
            CallError::NotFound(what) => write!(f, "{what} is not found"),
            CallError::Taken { detail, .. }
            | CallError::NotNow { detail, .. }
            | CallError::DataLoss { detail, .. } => f.write_str(detail),
            CallError::BelowLevel {
                index,
                level,
                nodes,
                zones,
            } => write!(
                f,
                "committed as record {index}, but not durable at {level} in time: nodes \
                 {nodes:?} in zones {zones:?} have it; make the same call again to wait for \
                 the rest"
            ),
            CallError::Exhausted { what, .. } => f.write_str(what),
            CallError::Unavailable { why, .. } => why.fmt(f),
        }
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CallError::Invalid(bad) => Some(&bad.why),
            CallError::Unavailable { why, .. } => Some(why),
            _ => None,
        }
    }
}
