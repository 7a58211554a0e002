//! A billing run: many invoices over one stream.
//!
//! Promises: as `issue` does for one, for each of them: bytes announced by length and
//! SHA-256, every receipt verified, repeated only under its request id. A stream that
//! breaks, or a node that cannot serve an item now, is left for another endpoint with all
//! that has no outcome yet; the time without any outcome is bounded. Memory is bounded: few
//! items are taken ahead, and files are read as they are sent. The same run again learns the
//! first outcomes. Leaves request ids to the caller.

use crate::retry::{RetryLoop, backoff, wait_before_repeat};
use crate::services::invoice_service;
use crate::source::ChunkReader;
use crate::upload;
use crate::{BodySource, Client, ClientError, IssuedInvoice, Measure, UploadRequest};
use futures::Stream;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt as _};
use muniment_proto::v1;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use v1::issue_many_request::Part;

/// Items taken and without an outcome: what a node has in flight of one stream. More would
/// only wait there.
const WINDOW: usize = 32;
/// Messages ahead of the connection: one is sent while the next is read.
const MESSAGES_AHEAD: usize = 2;
/// How often one item is sent before its passing fault is taken for its outcome: with the
/// waits between them longer than several elections.
const TRIES_MAX: u32 = 10;
/// How long an idle stream is waited for when all is done: its outcomes are here already.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// An item without an outcome.
struct Waiting {
    upload: UploadRequest,
    source: BodySource,
    measure: Measure,
    /// Passing faults so far.
    tries: u32,
    stage: Stage,
}

enum Stage {
    /// To be sent, not before this time.
    Due(Instant),
    /// Sent, or being sent; the flag tells the sender that the rest is not needed.
    Sent(Arc<AtomicBool>),
}

type Measured = (u64, UploadRequest, BodySource, Result<Measure, ClientError>);
type Sent = (u64, io::Result<()>);

/// One run, over however many streams.
struct Run<'a, F> {
    client: &'a Client,
    items: BoxStream<'a, (UploadRequest, BodySource)>,
    /// How many were taken.
    taken: u64,
    all_taken: bool,
    measuring: Option<BoxFuture<'static, Measured>>,
    window: BTreeMap<u64, Waiting>,
    on_outcome: F,
}

impl Client {
    /// Issues each item once, several at a time. `on_outcome` is told the place of each item
    /// in `items` (from 0) and what became of it, in any order. An error of the run itself
    /// means that no endpoint led on in time: what has no outcome then may be run again.
    ///
    /// ```no_run
    /// # use muniment_client::{BodySource, Client, ClientError, UploadRequest};
    /// # async fn example(
    /// #     client: &Client,
    /// #     invoices: Vec<(UploadRequest, BodySource)>,
    /// # ) -> Result<(), ClientError> {
    /// let items = futures::stream::iter(invoices);
    /// client
    ///     .issue_many(items, |place, outcome| match outcome {
    ///         Ok(issued) => println!("item {place}: record {}", issued.proof.record_index),
    ///         Err(error) => eprintln!("item {place}: {error}"),
    ///     })
    ///     .await
    /// # }
    /// ```
    pub async fn issue_many<'a>(
        &'a self,
        items: impl Stream<Item = (UploadRequest, BodySource)> + Send + 'a,
        on_outcome: impl FnMut(usize, Result<IssuedInvoice, ClientError>) + Send,
    ) -> Result<(), ClientError> {
        let mut run = Run {
            client: self,
            items: items.boxed(),
            taken: 0,
            all_taken: false,
            measuring: None,
            window: BTreeMap::new(),
            on_outcome,
        };
        let mut attempts = self.endpoints.attempts(self.deadline);
        loop {
            let idle = run.window.is_empty();
            if !run.has_work().await {
                return Ok(());
            }
            if idle {
                // Nobody was waited for meanwhile but the caller.
                attempts.progressed();
            }
            let Some(status) = run.over_one_stream(&mut attempts).await else {
                continue;
            };
            if run.window.is_empty() {
                // The node ended a stream that had nothing to do, as it may.
                continue;
            }
            attempts.next(status).await?;
        }
    }
}

impl<F: FnMut(usize, Result<IssuedInvoice, ClientError>) + Send> Run<'_, F> {
    /// Waits until there is something to send; false when all is done.
    async fn has_work(&mut self) -> bool {
        while self.window.is_empty() {
            if self.measuring.is_some() {
                let measured = finished(&mut self.measuring).await;
                self.admit(measured);
            } else if self.all_taken {
                return false;
            } else {
                let item = self.items.next().await;
                self.take(item);
            }
        }
        true
    }

    fn take(&mut self, item: Option<(UploadRequest, BodySource)>) {
        let Some((upload, source)) = item else {
            self.all_taken = true;
            return;
        };
        let index = self.taken;
        self.taken += 1;
        self.measuring = Some(Box::pin(async move {
            let measure = source.measure().await;
            (index, upload, source, measure)
        }));
    }

    fn admit(&mut self, (index, upload, source, measure): Measured) {
        self.measuring = None;
        match measure {
            Err(error) => self.conclude(index, Err(error)),
            Ok(measure) => {
                let waiting = Waiting {
                    upload,
                    source,
                    measure,
                    tries: 0,
                    stage: Stage::Due(Instant::now()),
                };
                self.window.insert(index, waiting);
            }
        }
    }

    fn conclude(&mut self, index: u64, result: Result<IssuedInvoice, ClientError>) {
        self.window.remove(&index);
        (self.on_outcome)(index as usize, result);
    }

    /// Sends and receives until all is done (`None`), or until another endpoint is to be
    /// tried, for the reason given.
    async fn over_one_stream(&mut self, attempts: &mut RetryLoop<'_>) -> Option<Status> {
        let (sender, receiver) = mpsc::channel(MESSAGES_AHEAD);
        let mut sender = Some(sender);
        let mut service = invoice_service(attempts.channel_for_stream());
        let opened = service.issue_many(ReceiverStream::new(receiver));
        let mut answers = match attempts.within(opened).await {
            Ok(response) => response.into_inner(),
            Err(status) => return Some(status),
        };
        // What an earlier stream left without an outcome goes again; its request id makes
        // that safe.
        for waiting in self.window.values_mut() {
            if matches!(waiting.stage, Stage::Sent(_)) {
                waiting.stage = Stage::Due(Instant::now());
            }
        }
        let mut sending: Option<BoxFuture<'static, Sent>> = None;
        let accepted = Arc::new(AtomicU64::new(0));
        let mut accepted_before = 0;
        let mut waits_until = Instant::now() + attempts.attempt_limit();
        // Why this stream is to be left once its items in flight have their outcomes.
        let mut leave_because: Option<Status> = None;
        loop {
            if sending.is_none()
                && let Some(open) = &sender
            {
                if leave_because.is_some() || self.is_done() {
                    // The node ends the stream after the last outcome.
                    sender = None;
                    if self.is_done() {
                        waits_until = Instant::now() + FAREWELL_MAX;
                    }
                } else if let Some(index) = self.first_due() {
                    sending = Some(self.send(index, open.clone(), accepted.clone()));
                }
            }
            let asking = sender.is_some() && leave_because.is_none();
            let room = asking && self.measuring.is_none() && self.window.len() < WINDOW;
            let waiting = sender.is_none() || self.in_flight();
            let next_due = self.next_due();
            tokio::select! {
                answer = answers.message() => match answer {
                    Ok(Some(answer)) => {
                        waits_until = self.on_answer(answer, attempts, &mut leave_because);
                    }
                    Ok(None) => return self.ended(leave_because, "the node ended the stream early"),
                    Err(status) if self.is_done() => {
                        tracing::debug!(%status, "a stream broke after its last outcome");
                        return None;
                    }
                    Err(status) => return Some(status),
                },
                (index, sent) = finished(&mut sending), if sending.is_some() => {
                    sending = None;
                    if let (Err(error), Some(waiting)) = (sent, self.window.get(&index)) {
                        // The file failed, not the server: another endpoint cannot help.
                        let error = waiting.source.unreadable(error);
                        self.conclude(index, Err(error));
                    }
                }
                measured = finished(&mut self.measuring), if self.measuring.is_some() => {
                    if self.window.is_empty() {
                        attempts.progressed();
                        waits_until = Instant::now() + attempts.attempt_limit();
                    }
                    self.admit(measured);
                }
                item = self.items.next(), if room && !self.all_taken => self.take(item),
                () = at(next_due), if asking && sending.is_none() && next_due.is_some() => {}
                () = tokio::time::sleep_until(waits_until), if waiting => {
                    let accepted_now = accepted.load(Ordering::Relaxed);
                    if accepted_now == accepted_before {
                        return self.ended(leave_because, "no outcome in time");
                    }
                    // A long body on a slow line: bytes are taken, which is no outcome yet.
                    accepted_before = accepted_now;
                    waits_until = Instant::now() + self.client.deadline;
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        self.all_taken && self.measuring.is_none() && self.window.is_empty()
    }

    fn in_flight(&self) -> bool {
        let mut all = self.window.values();
        all.any(|waiting| matches!(waiting.stage, Stage::Sent(_)))
    }

    /// The stream is over: was it to be?
    fn ended(&self, leave_because: Option<Status>, why: &str) -> Option<Status> {
        if self.is_done() {
            return None;
        }
        Some(leave_because.unwrap_or_else(|| Status::unavailable(why)))
    }

    fn first_due(&self) -> Option<u64> {
        let now = Instant::now();
        let mut all = self.window.iter();
        let due = |waiting: &Waiting| matches!(waiting.stage, Stage::Due(at) if at <= now);
        all.find(|(_, waiting)| due(waiting))
            .map(|(index, _)| *index)
    }

    fn next_due(&self) -> Option<Instant> {
        let times = self.window.values().filter_map(|w| match w.stage {
            Stage::Due(at) => Some(at),
            Stage::Sent(_) => None,
        });
        times.min()
    }

    /// Header, bytes, end of one item, as fast as the connection takes them.
    fn send(
        &mut self,
        index: u64,
        sender: mpsc::Sender<v1::IssueManyRequest>,
        accepted: Arc<AtomicU64>,
    ) -> BoxFuture<'static, Sent> {
        let waiting = self
            .window
            .get_mut(&index)
            .expect("only items in the window are due");
        let settled = Arc::new(AtomicBool::new(false));
        waiting.stage = Stage::Sent(settled.clone());
        let header = v1::IssueManyHeader {
            item: index,
            upload: Some(upload::header(&waiting.upload, &waiting.measure)),
        };
        let mut reader = ChunkReader::new(&waiting.source, waiting.measure);
        Box::pin(async move {
            let mut part = Part::Header(header);
            let mut result = Ok(());
            loop {
                let last = matches!(part, Part::End(_));
                let message = v1::IssueManyRequest { part: Some(part) };
                if sender.send(message).await.is_err() || last {
                    // A stream that is gone says so where its answers are read.
                    return (index, result);
                }
                accepted.fetch_add(1, Ordering::Relaxed);
                part = match reader.next().await {
                    Ok(chunk) if !chunk.is_empty() && !settled.load(Ordering::Relaxed) => {
                        Part::Chunk(chunk)
                    }
                    Ok(_) => Part::End(v1::IssueManyEnd {}),
                    // The node refuses by its length what ends too early.
                    Err(error) => {
                        result = Err(error);
                        Part::End(v1::IssueManyEnd {})
                    }
                };
            }
        })
    }

    /// Takes an answer in; gives the time until which the next one is waited for.
    fn on_answer(
        &mut self,
        answer: v1::IssueManyResponse,
        attempts: &mut RetryLoop<'_>,
        leave_because: &mut Option<Status>,
    ) -> Instant {
        use v1::issue_many_response::Outcome;
        let index = answer.item;
        let Some(waiting) = self.window.get_mut(&index) else {
            // Its file failed meanwhile, which is its outcome.
            return Instant::now() + attempts.attempt_limit();
        };
        if let Stage::Sent(settled) = &waiting.stage {
            settled.store(true, Ordering::Relaxed);
        }
        let result = match answer.outcome {
            Some(Outcome::Issued(reply)) => self.client.issued(reply, &waiting.measure),
            Some(Outcome::Error(error)) => {
                let status = status(error);
                waiting.tries += 1;
                if waiting.tries < TRIES_MAX
                    && let Some(wait) = wait_before_repeat(&status)
                {
                    let wait = backoff(waiting.tries).max(wait);
                    waiting.stage = Stage::Due(Instant::now() + wait);
                    tracing::debug!(index, %status, ?wait, "an item goes again");
                    leave_because.get_or_insert(status);
                    return Instant::now() + attempts.attempt_limit();
                }
                Err(ClientError::from_status(&status, attempts.url()))
            }
            None => Err(ClientError::lacks("the outcome")),
        };
        attempts.succeeded();
        attempts.progressed();
        self.conclude(index, result);
        Instant::now() + attempts.attempt_limit()
    }
}

/// Waits for a future that outlives this wait, if there is one.
async fn finished<T>(slot: &mut Option<BoxFuture<'static, T>>) -> T {
    match slot {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// What an Issue call would have ended in: one way from a server's word to an [`ClientError`].
fn status(error: v1::ItemError) -> Status {
    let mut details = ErrorDetails::new();
    if !error.reason.is_empty() {
        details.set_error_info(error.reason, "muniment", error.details);
    }
    if !error.field.is_empty() {
        details.add_bad_request_violation(error.field, error.message.clone());
    }
    if let Some(ms) = error.retry_after_ms {
        details.set_retry_info(Some(Duration::from_millis(ms)));
    }
    let code = i32::try_from(error.code).map_or(Code::Unknown, Code::from_i32);
    Status::with_error_details(code, error.message, details)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An item's failure must lead on as a call's does.
    #[test]
    fn an_item_that_fails_is_understood_as_a_call_that_fails() {
        let taken = status(v1::ItemError {
            code: Code::AlreadyExists as u32,
            reason: "IDENTITY_TAKEN".into(),
            message: "it has other content".into(),
            details: [("stored_sha256".to_owned(), "aa".to_owned())].into(),
            ..v1::ItemError::default()
        });
        assert_eq!(wait_before_repeat(&taken), None);
        match ClientError::from_status(&taken, "http://a") {
            ClientError::Conflict(refusal) => {
                assert_eq!(refusal.reason, "IDENTITY_TAKEN");
                assert_eq!(refusal.details["stored_sha256"], "aa");
                assert_eq!(refusal.endpoint, "http://a");
            }
            other => panic!("{other:?}"),
        }
        let invalid = status(v1::ItemError {
            code: Code::InvalidArgument as u32,
            reason: "INVALID".into(),
            field: "sha256".into(),
            ..v1::ItemError::default()
        });
        match ClientError::from_status(&invalid, "") {
            ClientError::Invalid(refusal) => assert_eq!(refusal.fields, ["sha256"]),
            other => panic!("{other:?}"),
        }
        let full = status(v1::ItemError {
            code: Code::ResourceExhausted as u32,
            reason: "EXHAUSTED".into(),
            retry_after_ms: Some(200),
            ..v1::ItemError::default()
        });
        assert_eq!(wait_before_repeat(&full), Some(Duration::from_millis(200)));
    }

    /// A file that cannot be read is told as such, and the run goes on without a server:
    /// nothing of it is to be sent.
    #[tokio::test]
    async fn what_cannot_be_read_is_its_own_outcome() {
        let client = Client::new(crate::ClientOptions {
            deadline: Duration::from_millis(200),
            ..crate::ClientOptions::new(["127.0.0.1:1"])
        });
        let client = client.unwrap();
        let missing = || {
            (
                UploadRequest::default(),
                BodySource::File("/nonexistent".into()),
            )
        };
        let mut told = Vec::new();
        let items = futures::stream::iter([missing(), missing()]);
        let run = client.issue_many(items, |at, result| told.push((at, result)));
        run.await.unwrap();
        assert_eq!(told.len(), 2);
        assert!(
            told.iter()
                .all(|(_, result)| matches!(result, Err(ClientError::Local { .. })))
        );
        // Something to send and nobody there: the run ends, and says so once.
        let mut told = 0;
        let items =
            futures::stream::iter([(UploadRequest::default(), BodySource::Memory("x".into()))]);
        let run = client.issue_many(items, |_, _| told += 1).await;
        assert!(matches!(run, Err(ClientError::Unavailable(_))), "{run:?}");
        assert_eq!(told, 0);
    }
}
