//! Reads: makes a read level true of this replica, and says what was proven.
//!
//! Promises: the state is read only after the level holds; what an answer claims was
//! proven before its state was read, so it can be only fresher; every wait ends. The
//! decisions are those of [`crate::objective::read`].

use super::context::Context;
use super::reader::ReadBarrier;
use crate::domain::call_error::CallError;
use crate::domain::cause::AnyError;
use crate::domain::draft::bad;
use crate::domain::ids::{LogIndex, NodeId, TreeSize};
use crate::ledger::state::Tables;
use crate::objective::freshness::whole_ms;
use crate::objective::read::{Known, RECOVERY_EPOCH, ReadLevel, Refusal, Step, Token};
use crate::store;
use muniment_evidence::digest::Digest;
use std::time::Duration;

/// How long this replica may take to apply what the leader has committed.
pub const APPLY_MAX: Duration = Duration::from_secs(5);
/// How long a read below its own deadline may wait for a leader and a quorum.
const FRESH_MAX: Duration = Duration::from_secs(5);
/// How long a bounded read may: for one question and the election of a near leader. Who
/// names a bound has a use for another node's answer, or for an early refusal.
const BOUNDED_MAX: Duration = Duration::from_secs(2);
/// What replicas usually lag behind the leader: a heartbeat or two. A token is waited for
/// so long before the leader is asked whether there can be such an index.
const LAG_USUAL: Duration = Duration::from_millis(100);

/// Which node this is, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePlace {
    pub node: NodeId,
    pub zone: String,
    pub region: String,
}

/// Who answered, and as of when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    pub place: NodePlace,
    pub applied_index: LogIndex,
    /// Records that the answer folds.
    pub log_size: TreeSize,
    /// Whatever was acknowledged so long before the call, or earlier, is in the answer;
    /// absent where nothing is proven, and where the answer is not of now.
    pub staleness_ms_max: Option<u64>,
    /// What the caller has seen by this answer; none before the founding.
    pub token: Option<Token>,
}

/// What is proven of the state that an answer is about to be read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proven {
    staleness: Option<Duration>,
    /// The size to fold, where the answer is not of now.
    size: Option<TreeSize>,
}

impl Proven {
    /// Of a state of so many records, whatever came after.
    pub fn at_size(size: TreeSize) -> Proven {
        Proven {
            staleness: None,
            size: Some(size),
        }
    }
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Reads {
    pub context: Context,
    pub reader: ReadBarrier,
    pub place: NodePlace,
}

impl Reads {
    /// Reads the tables off the async workers.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Tables<'_>) -> Result<T, store::StoreError> + Send + 'static,
    ) -> Result<T, CallError> {
        self.context.read(read).await
    }

    /// A passing fault, with the leader to try next.
    pub fn unavailable(&self, why: impl Into<Box<AnyError>>) -> CallError {
        self.context.group.unavailable(why)
    }

    /// Makes the level true of this replica, or says why it cannot.
    pub async fn fresh(&self, level: ReadLevel) -> Result<Proven, CallError> {
        // Staleness counts back from here, where the whole question is at hand.
        let asked = self.context.clock.monotonic();
        let mut step = level.step(&self.known(asked));
        if let Step::Wait(index) = step {
            step = match self.context.group.wait_applied(index, LAG_USUAL).await {
                true => Step::Serve,
                false => Step::Probe,
            };
        }
        if step == Step::Probe {
            let limit = match level {
                ReadLevel::Bounded { .. } => BOUNDED_MAX,
                _ => FRESH_MAX,
            };
            let (read_index, why) = match self.reader.read_index(limit).await {
                Ok(index) => (Some(index), String::new()),
                Err(why) => (None, why.0.to_string()),
            };
            step = level.after_probe(&self.known(asked), read_index);
            // What is waited for is applied afterwards, so there is no third round.
            if let Step::Wait(index) = step {
                step = match self
                    .context
                    .group
                    .wait_applied(index, limit.min(APPLY_MAX))
                    .await
                {
                    true => level.after_probe(&self.known(asked), read_index),
                    false => level.after_probe(&self.known(asked), None),
                };
            }
            if let Step::Refuse(refusal) = step {
                return Err(self.not_fresh(refusal, &why));
            }
        }
        match (step, level) {
            (Step::Refuse(refusal), _) => Err(self.not_fresh(refusal, "")),
            (Step::Wait(_) | Step::Probe, _) => Err(self.not_fresh(level.unreached(), "")),
            (Step::Serve, ReadLevel::AsOf(index)) => Ok(Proven::at_size(index.size_through())),
            (Step::Serve, ReadLevel::Linearizable) => Ok(Proven {
                staleness: Some(Duration::ZERO),
                size: None,
            }),
            (Step::Serve, _) => Ok(Proven {
                staleness: self.reader.staleness(asked),
                size: None,
            }),
        }
    }

    fn known(&self, asked: Duration) -> Known {
        // The bound first: what is applied meanwhile makes it no worse.
        let staleness = self.reader.staleness(asked);
        let applied = self.context.group.applied();
        Known {
            ledger: applied.ledger,
            recovery_epoch: RECOVERY_EPOCH,
            applied: applied.raft_index,
            size: applied.size,
            staleness,
        }
    }

    fn not_fresh(&self, refusal: Refusal, why: &str) -> CallError {
        let because = match why {
            "" => "this replica lags behind".to_owned(),
            why => why.to_owned(),
        };
        match refusal {
            // Also for a bounded read, with the leader's address: this node could only pass
            // the question on, and the client, which knows every endpoint, gets there with
            // one hop fewer and keeps its own deadline.
            Refusal::Unreached => self.context.group.unavailable(because),
            Refusal::StalenessBound => CallError::NotNow {
                reason: "STALENESS_BOUND",
                detail: match self.reader.staleness(self.context.clock.monotonic()) {
                    Some(now) => format!(
                        "this replica may be {} ms stale, which is above the bound: {because}",
                        whole_ms(now)
                    ),
                    None => format!("this replica can prove no bound: {because}"),
                },
            },
            Refusal::TokenLost => CallError::DataLoss {
                reason: "TOKEN_LOST",
                detail: "the token names what this ledger does not have: it is of another \
                         ledger, or what it has seen is lost"
                    .to_owned(),
            },
            Refusal::BeyondLog => {
                let size = self.context.group.applied().size;
                bad("read.as_of", format!("the log has {size} records, from 0")).into()
            }
        }
    }

    /// Of a verb that passed a barrier of its own, such as a record, or one (`false`)
    /// whose answer says nothing about now.
    pub fn answered(&self, fresh: bool) -> Answered {
        self.answered_by(Proven {
            staleness: fresh.then_some(Duration::ZERO),
            size: None,
        })
    }

    /// Who answers, and as of when. Made before the state is read, which is then folded
    /// up to `log_size`.
    pub fn answered_by(&self, proven: Proven) -> Answered {
        let applied = self.context.group.applied();
        let founded = applied.ledger != Digest::ZERO;
        Answered {
            place: self.place.clone(),
            applied_index: applied.raft_index,
            log_size: proven.size.unwrap_or(applied.size),
            staleness_ms_max: proven.staleness.map(whole_ms),
            token: founded.then_some(Token {
                ledger: applied.ledger,
                recovery_epoch: RECOVERY_EPOCH,
                raft_index: applied.raft_index,
            }),
        }
    }
}
