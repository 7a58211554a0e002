//! To the leader, here or elsewhere, in order.
//!
//! Promises: batches reach the leader in the order they were sent, over one stream per
//! leader; a batch is answered or its route fails, and when a route fails nothing is said
//! about what was sent over it. Leaves finding out to [`super::lane`].
//! Tests: `src/recorder/lane_tests.rs`.

use super::intake::{Intake, SubmissionRejected, SubmissionSource};
use crate::domain::cause::Cause;
use crate::domain::command::{Answer, Submission};
use crate::domain::ids::NodeId;
use crate::raft::group::RaftGroup;
use crate::transport::{Class, Failure, Frames, Method, Transport};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::StreamExt as _;
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, oneshot};

/// Batches on one stream that wait for their answers; the lane has fewer in flight.
pub(super) const BATCHES_ON_STREAM_MAX: usize = 64;
/// Batches of one node that the leader verifies or awaits at the same time.
pub(super) const BATCHES_SERVED_MAX: usize = 16;

/// The route failed: what was sent may or may not take effect.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RouteLost {
    #[error("no leader is known")]
    NoLeader,
    #[error("no answer in time")]
    NoAnswer,
    #[error("answers are missing")]
    AnswersMissing,
    #[error("the stream to the leader ended")]
    Ended,
    #[error("the stream to the leader failed: {0}")]
    Stream(#[source] Failure),
    #[error("an answer of the leader cannot be read: {0}")]
    Unreadable(#[source] DecodeError),
    /// As the leader says it: it does not lead any more, or cannot tell.
    #[error("the leader refuses: {0}")]
    Refused(String),
    /// As the leader says it: what was sent is bad, and stays so.
    #[error("the leader finds a statement bad: {0}")]
    Bad(String),
    /// This node leads.
    #[error("{0}")]
    Rejected(#[source] SubmissionRejected),
}

impl RouteLost {
    /// Whether the leader refused what was sent for its content: another route to it will not
    /// help, only another leader or other keys.
    pub fn is_about_content(&self) -> bool {
        use SubmissionRejected::Bad;
        matches!(self, RouteLost::Bad(_) | RouteLost::Rejected(Bad(_)))
    }
}

/// What became of one batch.
pub type BatchAnswer = BoxFuture<'static, Result<Vec<Answer>, RouteLost>>;

type Waiters = BTreeMap<u64, oneshot::Sender<Result<Vec<Answer>, RouteLost>>>;
type Waiting = Arc<Mutex<Waiters>>;

/// Where batches go; made anew for each leader.
pub enum LeaderRoute {
    Here(Box<Intake>),
    There(LeaderStream),
}

/// One stream to a leader elsewhere.
pub struct LeaderStream {
    frames: mpsc::Sender<Bytes>,
    waiting: Waiting,
    next: u64,
}

impl LeaderRoute {
    /// Opens a route to the present leader; `None` when none is known.
    pub fn open(
        group: &RaftGroup,
        intake: &Intake,
        transport: &Arc<dyn Transport>,
    ) -> Option<LeaderRoute> {
        let (leader, peer) = group.leader()?;
        if leader == group.node() {
            return Some(LeaderRoute::Here(Box::new(intake.clone())));
        }
        let (frames, receiver) = mpsc::channel(BATCHES_ON_STREAM_MAX);
        let waiting: Waiting = Arc::default();
        let frames_out = tokio_stream::wrappers::ReceiverStream::new(receiver).boxed();
        let opening = transport.stream(
            peer.destination(leader),
            Class::Log,
            Method::Submit,
            frames_out,
        );
        tokio::spawn(receive(opening, waiting.clone()));
        Some(LeaderRoute::There(LeaderStream {
            frames,
            waiting,
            next: 0,
        }))
    }

    /// Sends one batch after all that were sent before it.
    pub async fn send(&mut self, batch: Vec<Submission>) -> Result<BatchAnswer, RouteLost> {
        match self {
            LeaderRoute::Here(intake) => {
                let lost = RouteLost::Rejected;
                let verified = intake
                    .verify(SubmissionSource::Local, batch)
                    .await
                    .map_err(lost)?;
                let ticket = intake.queue(verified).await.map_err(lost)?;
                let done = async move {
                    let done = ticket.done().await;
                    done.map(|done| done.answers)
                        .map_err(|refusal| RouteLost::Rejected(refusal.into()))
                };
                Ok(done.boxed())
            }
            LeaderRoute::There(stream) => stream.send(batch).await,
        }
    }
}

impl LeaderStream {
    async fn send(&mut self, batch: Vec<Submission>) -> Result<BatchAnswer, RouteLost> {
        let id = self.next;
        self.next += 1;
        let (sender, receiver) = oneshot::channel();
        lock(&self.waiting).insert(id, sender);
        let frame = encode_batch(id, &batch);
        self.frames
            .send(frame)
            .await
            .map_err(|_| RouteLost::Ended)?;
        let answered = async move { receiver.await.unwrap_or(Err(RouteLost::Ended)) };
        Ok(answered.boxed())
    }
}

/// Hands answers to their waiters; at the end, drops those that are left.
async fn receive(opening: BoxFuture<'static, Result<Frames, Failure>>, waiting: Waiting) {
    let lost = match opening.await {
        Err(failure) => RouteLost::Stream(failure),
        Ok(mut answers) => loop {
            match answers.next().await {
                Some(Ok(frame)) => match decode_answer(&frame) {
                    Ok((id, answer)) => {
                        if let Some(waiter) = lock(&waiting).remove(&id) {
                            // A waiter that has gone resolves its batch otherwise.
                            let _ = waiter.send(answer);
                        }
                    }
                    Err(error) => break RouteLost::Unreadable(error),
                },
                Some(Err(failure)) => break RouteLost::Stream(failure),
                None => break RouteLost::Ended,
            }
        },
    };
    let left = std::mem::take(&mut *lock(&waiting));
    for waiter in left.into_values() {
        let _ = waiter.send(Err(lost.clone()));
    }
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, Waiters> {
    waiting.lock().expect("nobody panics with it")
}

/// The leader's end of a stream: batches of one node, answered as they are applied.
pub fn serve(intake: Intake, from: NodeId, frames: Frames) -> Frames {
    let queued = frames
        // Verified side by side, queued in order.
        .map({
            let intake = intake.clone();
            move |frame| {
                let intake = intake.clone();
                async move {
                    let (id, batch) = decode_batch(&frame?)
                        .map_err(|error| Failure::Refused(Cause::new(error)))?;
                    Ok((id, intake.verify(SubmissionSource::Peer(from), batch).await))
                }
            }
        })
        .buffered(BATCHES_SERVED_MAX)
        .then(move |verified: Result<_, Failure>| {
            let intake = intake.clone();
            async move {
                let (id, verified) = verified?;
                let ticket = match verified {
                    Ok(batch) => intake.queue(batch).await,
                    Err(rejected) => Err(rejected),
                };
                Ok::<_, Failure>((id, ticket))
            }
        });
    queued
        .map(|queued| async move {
            let (id, ticket) = queued?;
            let answered = match ticket {
                Ok(ticket) => match ticket.done().await {
                    Ok(done) => Ok(done.answers),
                    Err(refusal) => Err(BatchRefusal::Passing(refusal.to_string())),
                },
                Err(SubmissionRejected::Bad(why)) => Err(BatchRefusal::Bad(why)),
                Err(rejected @ (SubmissionRejected::Refused(_) | SubmissionRejected::Store(_))) => {
                    Err(BatchRefusal::Passing(rejected.to_string()))
                }
            };
            Ok(encode_answer(id, &answered))
        })
        .buffer_unordered(BATCHES_SERVED_MAX)
        // The first failure ends the stream: order is lost from there on.
        .scan(false, |ended, answer: Result<Bytes, Failure>| {
            if *ended {
                return std::future::ready(None);
            }
            *ended = answer.is_err();
            std::future::ready(Some(answer))
        })
        .boxed()
}

/// Why a batch was not queued, as it goes over the line.
enum BatchRefusal {
    /// Elsewhere or later it may be.
    Passing(String),
    /// A statement in it is bad.
    Bad(String),
}

pub(super) fn encode_batch(id: u64, batch: &[Submission]) -> Bytes {
    let mut w = Writer::new();
    w.u8(1).u64(id).list(batch, |w, s| s.write(w));
    Bytes::from(w.finish())
}

fn decode_batch(frame: &[u8]) -> Result<(u64, Vec<Submission>), DecodeError> {
    let mut r = Reader::new(frame);
    if r.u8()? != 1 {
        return Err(r.error("batch version 1"));
    }
    let batch = (r.u64()?, r.list(Submission::read)?);
    r.end()?;
    Ok(batch)
}

fn encode_answer(id: u64, answered: &Result<Vec<Answer>, BatchRefusal>) -> Bytes {
    let mut w = Writer::new();
    w.u8(1).u64(id);
    match answered {
        Ok(answers) => {
            w.u8(0).list(answers, |w, a| a.write(w));
        }
        Err(BatchRefusal::Passing(why)) => {
            w.u8(1).text(why);
        }
        Err(BatchRefusal::Bad(why)) => {
            w.u8(2).text(why);
        }
    }
    Bytes::from(w.finish())
}

#[allow(clippy::type_complexity, reason = "an id and what became of its batch")]
pub(super) fn decode_answer(
    frame: &[u8],
) -> Result<(u64, Result<Vec<Answer>, RouteLost>), DecodeError> {
    let mut r = Reader::new(frame);
    if r.u8()? != 1 {
        return Err(r.error("answer version 1"));
    }
    let id = r.u64()?;
    let answered = match r.u8()? {
        0 => Ok(r.list(Answer::read)?),
        1 => Err(RouteLost::Refused(r.text()?)),
        2 => Err(RouteLost::Bad(r.text()?)),
        _ => return Err(r.error("0, 1 or 2")),
    };
    r.end()?;
    Ok((id, answered))
}
