//! A node's side of being witnessed: one task per witness, beside everything else.
//!
//! Promises: a cosignature is believed only after it verified under the configured key;
//! nobody waits for a witness but its own task; a gap is caught up with one proof over all
//! of it. Leaves where checkpoints and proofs come from, and what becomes of a
//! cosignature, to a [`CheckpointSource`].
//!
//! Tests: `src/witness/exchange_tests.rs`, `tests/cluster/witnesses.rs`.

use super::breaker::Breaker;
use super::post::WitnessEndpoint;
use crate::clock::SharedClock;
use crate::domain::cause::Cause;
use crate::domain::ids::TreeSize;
use crate::stop::Stop;
use muniment_evidence::digest::Digest;
use muniment_evidence::note::{Checkpoint, Note, VerifierKey};
use muniment_evidence::witness::{self, AddCheckpoint, Cosigned, SIZE_TYPE};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Requests of one round: the first, one with the size that the witness named, and one
/// more in case another node's came in between.
const REQUESTS_MAX: usize = 3;

/// What a submitter needs of its node. Errors are passing: the next round asks again.
pub trait CheckpointSource: Send + Sync + 'static {
    /// Whether this node is the one that submits.
    fn on_duty(&self) -> bool;
    /// The newest checkpoint, signed by the log.
    fn checkpoint(&self) -> impl Future<Output = Result<String, Cause>> + Send;
    /// The proof between two sizes that the log has; `old` is at most `new`.
    fn consistency(
        &self,
        old: TreeSize,
        new: TreeSize,
    ) -> impl Future<Output = Result<Vec<Digest>, Cause>> + Send;
    /// Takes each cosignature once, verified, in the order of sizes.
    fn witnessed(&self, witness: &str, cosigned: Cosigned) -> impl Future<Output = ()> + Send;
    /// Told of each failure, to be counted.
    fn failed(&self, witness: &str);
}

/// How far one witness has come, as of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WitnessProgress {
    /// The size that it cosigned last.
    pub size: Option<TreeSize>,
    /// When it did, milliseconds since 1970.
    pub success_at_ms: Option<u64>,
    /// The last moment at which it had all that this node had; `None` off duty.
    covered_at: Option<Duration>,
}

impl WitnessProgress {
    /// How long records have been waiting for the witness, at most. `None` off duty.
    pub fn lag(&self, now: Duration, size: TreeSize) -> Option<Duration> {
        let covered_at = self.covered_at?;
        // The empty log needs no witness.
        if self.size.unwrap_or(TreeSize::EMPTY) >= size {
            return Some(Duration::ZERO);
        }
        Some(now.saturating_sub(covered_at))
    }
}

/// What its submitter writes and others read.
#[derive(Clone, Default)]
pub struct SharedProgress(Arc<Mutex<WitnessProgress>>);

impl SharedProgress {
    pub fn now(&self) -> WitnessProgress {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, WitnessProgress> {
        // Each write leaves a whole, so a panic elsewhere spoils nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often, and from when on somebody is to be woken.
#[derive(Clone, Copy, Debug)]
pub struct WitnessSchedule {
    pub interval: Duration,
    pub lag_alarm: Duration,
}

/// Submits to one witness.
pub struct Submitter {
    key: VerifierKey,
    ml_dsa: Option<VerifierKey>,
    target: WitnessEndpoint,
    schedule: WitnessSchedule,
    clock: SharedClock,
    progress: SharedProgress,
    breaker: Breaker,
    /// What the witness is thought to have cosigned; it corrects us if not.
    old: TreeSize,
    alarmed: bool,
}

enum Failure {
    /// This node cannot tell; not the witness's fault.
    Source(Cause),
    /// Away, or not making sense.
    Witness(Cause),
    /// Two histories, or a witness that lies.
    Contradiction(Cause),
}

impl Submitter {
    pub fn new(
        key: VerifierKey,
        target: WitnessEndpoint,
        schedule: WitnessSchedule,
        clock: SharedClock,
        progress: SharedProgress,
    ) -> Submitter {
        Submitter {
            key,
            ml_dsa: None,
            target,
            schedule,
            clock,
            progress,
            breaker: Breaker::default(),
            old: TreeSize::EMPTY,
            alarmed: false,
        }
    }

    /// Keeps the lines of this key of the witness too.
    pub fn with_ml_dsa(mut self, key: Option<VerifierKey>) -> Submitter {
        self.ml_dsa = key;
        self
    }

    /// Submits until the node stops.
    pub async fn run<S: CheckpointSource>(mut self, source: Arc<S>, stop: Stop) {
        let rounds = async {
            loop {
                self.round(source.as_ref()).await;
                let pause = self.breaker.pause(self.clock.monotonic());
                let pause = if pause.is_zero() {
                    self.schedule.interval
                } else {
                    pause
                };
                tokio::time::sleep(pause).await;
            }
        };
        tokio::select! {
            () = rounds => {}
            _ = stop.stopped() => {}
        }
    }

    async fn round<S: CheckpointSource>(&mut self, source: &S) {
        if !source.on_duty() {
            // Whoever is on duty now brings the witness further.
            *self.progress.lock() = WitnessProgress::default();
            (self.breaker, self.alarmed) = (Breaker::default(), false);
            return;
        }
        let read_at = self.clock.monotonic();
        self.progress.lock().covered_at.get_or_insert(read_at);
        let submitted = match self.newest(source).await {
            Ok((_, new)) if self.progress.now().size == Some(new.size) => {
                self.progress.lock().covered_at = Some(read_at);
                return;
            }
            Ok((signed, new)) => self
                .submit(source, &signed, &new)
                .await
                .map_err(|why| (why, new.size)),
            Err(why) => Err((Failure::Source(why), TreeSize::EMPTY)),
        };
        match submitted {
            Ok(cosigned) => {
                self.breaker.succeeded();
                if std::mem::take(&mut self.alarmed) {
                    tracing::info!(witness = self.key.name, "caught up");
                }
                *self.progress.lock() = WitnessProgress {
                    size: Some(cosigned.checkpoint.size),
                    success_at_ms: Some(self.clock.now_ms()),
                    covered_at: Some(read_at),
                };
                source.witnessed(&self.key.name, cosigned).await;
            }
            Err((failure, size)) => self.fail(source, failure, size),
        }
    }

    async fn newest<S: CheckpointSource>(&self, source: &S) -> Result<(String, Checkpoint), Cause> {
        let signed = source.checkpoint().await?;
        let note = Note::parse(signed.as_bytes()).map_err(Cause::new)?;
        let new = Checkpoint::parse(&note.text).map_err(Cause::new)?;
        Ok((signed, new))
    }

    async fn submit<S: CheckpointSource>(
        &mut self,
        source: &S,
        signed: &str,
        new: &Checkpoint,
    ) -> Result<Cosigned, Failure> {
        for _ in 0..REQUESTS_MAX {
            let old = self.old;
            if old > new.size {
                // A leader that has just begun may apply what the last one showed; if it
                // stays so, this ledger lost what the witness saw.
                let why = format!("it has cosigned size {old}, this node has {}", new.size);
                self.old = TreeSize::EMPTY;
                return Err(Failure::Witness(why.into()));
            }
            let proof = source.consistency(old, new.size).await;
            let proof = proof.map_err(Failure::Source)?;
            let request = AddCheckpoint::new(old, proof, signed)
                .map_err(|error| Failure::Source(Cause::new(error)))?;
            let answer = self.target.post("/add-checkpoint", request.encode()).await;
            let answer = answer.map_err(Failure::Witness)?;
            match answer.status {
                200 => {
                    let ml_dsa = self.ml_dsa.as_ref();
                    let cosigned = witness::accept(signed, &answer.text, &self.key, ml_dsa)
                        .map_err(|error| Failure::Witness(Cause::new(error)))?;
                    self.old = new.size;
                    return Ok(cosigned);
                }
                409 if answer.content_type == SIZE_TYPE => {
                    match witness::parse_size(&answer.text) {
                        Some(size) if size != old => self.old = size,
                        Some(size) => {
                            let why = format!("it refuses size {size}, which it names itself");
                            return Err(Failure::Contradiction(why.into()));
                        }
                        None => return Err(Failure::Witness("a size that is none".into())),
                    }
                }
                422 => {
                    let why = format!("it finds {} inconsistent with {old}", new.size);
                    return Err(Failure::Contradiction(why.into()));
                }
                status => {
                    let said: String = answer.text.chars().take(200).collect();
                    return Err(Failure::Witness(
                        format!("status {status}: {said:?}").into(),
                    ));
                }
            }
        }
        Err(Failure::Witness(
            "its size changes with every question".into(),
        ))
    }

    /// `size` is this node's, 0 if it could not tell.
    fn fail<S: CheckpointSource>(&mut self, source: &S, failure: Failure, size: TreeSize) {
        let (now, name) = (self.clock.monotonic(), self.key.name.as_str());
        let mut dice = [0];
        self.clock.random(&mut dice);
        self.breaker.failed(now, dice[0]);
        match failure {
            // Before the boot, while a quorum is missing: nothing to witness.
            Failure::Source(why) => tracing::debug!(witness = name, %why, "nothing to submit"),
            Failure::Witness(why) => {
                source.failed(name);
                tracing::warn!(witness = name, %why, "not witnessed, trying again");
            }
            Failure::Contradiction(why) => {
                source.failed(name);
                tracing::error!(witness = name, %why, "a witness holds another history");
            }
        }
        let lag = self.progress.now().lag(now, size).unwrap_or_default();
        if lag > self.schedule.lag_alarm && !self.alarmed {
            self.alarmed = true;
            let lag_s = lag.as_secs();
            tracing::error!(witness = name, lag_s, "records wait for a witness");
        }
    }
}
