//! The Rust client: routing, retries, and a verdict on every receipt.
//!
//! ```no_run
//! use muniment_client::{BodySource, Client, ClientError, ClientOptions, UploadRequest, v1};
//!
//! # async fn example() -> Result<(), ClientError> {
//! let client = Client::new(ClientOptions::new(["127.0.0.1:7401", "127.0.0.1:7402"]))?;
//! let upload = UploadRequest {
//!     request_id: "billing-run-7/A-17".into(),
//!     metadata: v1::Metadata {
//!         identity: Some(v1::Identity {
//!             number: "A-17".into(),
//!             ..v1::Identity::default()
//!         }),
//!         ..v1::Metadata::default()
//!     },
//!     ..UploadRequest::default()
//! };
//! // The same call again, also after a crash, issues nothing twice.
//! let issued = client.issue(&upload, &BodySource::File("A-17.pdf".into())).await?;
//! println!("record {}", issued.proof.record_index);
//! # Ok(())
//! # }
//! ```
//!
//! Promises: a call ends within its deadline, or (streams) within the deadline of its last
//! progress; an answer with a receipt is handed on only after [`muniment_evidence::verify`]
//! accepts the receipt; a mutating call is repeated only under its request id; a read that
//! names no level misses nothing that this client has seen. Failures say what to do next
//! ([`ClientError`]). Leaves request ids, files and printing to the caller, and
//! TLS to a later build.
//!
//! Reading order: this file (how every verb calls), `options` (what a caller may set),
//! `endpoints` and `services` (the nodes, and a channel to each), `retry` (where a call goes
//! when it fails), `zones` (which node is near); `invoices`, `evidence`, `cluster` and
//! `members` (the plain verbs), `source`, `upload` and `download` (the verbs with bytes),
//! `issue_many` (a billing run), `watch` and `export` (the long streams); `verify` (what
//! counts as proven), `session` and `token` (which level reads ask for), `error`.

// Here and not in the workspace: tests say what they expect by unwrapping.
#![warn(clippy::unwrap_used, missing_docs)]

mod cluster;
mod declare;
mod download;
mod endpoints;
mod error;
mod evidence;
mod export;
mod invoices;
mod issue_many;
mod members;
mod options;
mod retry;
mod services;
mod session;
mod source;
mod token;
mod upload;
mod verify;
mod watch;
mod zones;

pub use self::declare::Declaration;
pub use self::download::Downloaded;
pub use self::error::{ClientError, ServerRefusal, Unproven};
pub use self::members::{MemberChange, MemberSteps, Wish};
pub use self::options::ClientOptions;
pub use self::source::{BodySource, Measure};
pub use self::token::{SessionToken, UnknownToken};
pub use self::upload::{IssuedInvoice, UploadRequest};
pub use self::verify::{PromiseProof, ReceiptProof};
pub use self::watch::Watch;
/// What proofs and questions name.
pub use muniment_evidence::ids::{NodeId, OutboxId, RecordIndex, Sequence, TreeSize};
/// The messages in which the client speaks.
pub use muniment_proto::v1;

use self::endpoints::Endpoints;
use self::retry::RetryLoop;
use self::services::AuthChannel;
use self::session::{AnsweredReply, SessionState};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use muniment_evidence::trust::Trust;
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Response, Status};

/// How long endpoints may take to say which zone they are in: once, before the first read.
const ZONES_MAX: Duration = Duration::from_secs(1);

/// See the crate. Share it by reference or in an `Arc`; calls run side by side.
///
/// ```no_run
/// # use muniment_client::{Client, ClientError, ClientOptions};
/// # async fn example(trust_file: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let trust = muniment_evidence::trust::Trust::parse(trust_file)?;
/// let client = Client::new(ClientOptions {
///     trust: Some(trust),
///     ..ClientOptions::new(["127.0.0.1:7401"])
/// })?;
/// # Ok(())
/// # }
/// ```
pub struct Client {
    endpoints: Endpoints,
    session: SessionState,
    trust: Option<Trust>,
    deadline: Duration,
}

impl Client {
    /// Connects on the first call. Needs to run inside of a tokio runtime.
    pub fn new(options: ClientOptions) -> Result<Client, ClientError> {
        options.check()?;
        let token = options.token.as_deref();
        let token = token.map(options::read_token).transpose()?;
        Ok(Client {
            endpoints: Endpoints::new(&options.endpoints, token, options.seed, options.zone)?,
            session: SessionState::default(),
            trust: options.trust,
            deadline: options.deadline,
        })
    }

    /// The pin against which receipts are verified.
    pub fn trust(&self) -> Option<&Trust> {
        self.trust.as_ref()
    }

    /// The endpoints as URLs, in their order.
    pub fn endpoints(&self) -> Vec<String> {
        self.endpoints.urls()
    }

    /// The newest token of all answers so far; its text may be kept for another process.
    pub fn session_token(&self) -> Option<SessionToken> {
        self.session.token()
    }

    /// Takes over what another client has seen.
    pub fn adopt_session(&self, token: SessionToken) {
        self.session.adopt(token);
    }

    /// Lets go of what was seen: after [`ClientError::Lost`], by a caller who knows why.
    pub fn forget_session(&self) {
        self.session.forget();
    }

    /// A call whose answer does not say who gave it.
    async fn call<T, Fut>(&self, attempt: impl Fn(AuthChannel) -> Fut) -> Result<T, ClientError>
    where
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let attempts = self.endpoints.attempts(self.deadline);
        let (reply, _) = self.repeat(attempts, attempt).await?;
        Ok(reply)
    }

    /// A call that changes something.
    async fn write<T, Fut>(&self, attempt: impl Fn(AuthChannel) -> Fut) -> Result<T, ClientError>
    where
        T: AnsweredReply,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let attempts = self.endpoints.attempts(self.deadline);
        let (reply, attempts) = self.repeat(attempts, attempt).await?;
        self.learn(&attempts, reply.answered());
        Ok(reply)
    }

    /// A call that changes nothing: from the caller's own zone on.
    async fn read<T, Fut>(&self, attempt: impl Fn(AuthChannel) -> Fut) -> Result<T, ClientError>
    where
        T: AnsweredReply,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let (reply, attempts) = self.repeat(self.reading().await, attempt).await?;
        self.learn(&attempts, reply.answered());
        Ok(reply)
    }

    /// Repeats a call from endpoint to endpoint until it is answered or must not be.
    async fn repeat<'a, T, Fut>(
        &self,
        mut attempts: RetryLoop<'a>,
        attempt: impl Fn(AuthChannel) -> Fut,
    ) -> Result<(T, RetryLoop<'a>), ClientError>
    where
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        loop {
            match attempts.within(attempt(attempts.channel())).await {
                Ok(response) => {
                    attempts.succeeded();
                    return Ok((response.into_inner(), attempts));
                }
                Err(status) => attempts.next(status).await?,
            }
        }
    }

    /// What every answer tells by the way.
    fn learn(&self, attempts: &RetryLoop<'_>, answered: Option<&v1::Answered>) {
        self.session.note(answered);
        if let Some(answered) = answered {
            let zones = &self.endpoints.zones;
            zones.answered(attempts.url(), &answered.zone);
        }
    }

    /// Where a read goes. Endpoints whose zone is unknown are asked first, while none is
    /// known to be near.
    async fn reading(&self) -> RetryLoop<'_> {
        let started = Instant::now();
        let limit = ZONES_MAX.min(self.deadline / 2);
        let zones = &self.endpoints.zones;
        let unknown = zones.to_ask(&self.endpoints.urls(), started);
        let mut asking: FuturesUnordered<_> = unknown
            .into_iter()
            .map(|url| async move {
                let status = self.status_of(&url, limit).await;
                (url, status)
            })
            .collect();
        while let Some((url, status)) = asking.next().await {
            if let Ok(status) = status {
                zones.answered(&url, &status.zone);
                if zones.is_near(&url, started) {
                    break;
                }
            }
        }
        self.endpoints.attempts_nearby(self.deadline, started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::sync::Arc;

    fn spawnable<T>(_: impl Future<Output = T> + Send + 'static) {}

    /// Callers run many calls at once on a runtime of many threads.
    #[tokio::test]
    async fn calls_can_be_spawned() {
        let client = Arc::new(Client::new(options(&["a:1"])).unwrap());
        let c = Arc::clone(&client);
        spawnable(async move { c.get(v1::InvoiceKey::default(), None).await });
        let c = Arc::clone(&client);
        spawnable(async move {
            let source = BodySource::Memory(Bytes::new());
            c.issue(&UploadRequest::default(), &source).await
        });
        let c = Arc::clone(&client);
        spawnable(async move {
            let mut sink = tokio::io::sink();
            c.download(v1::DownloadRequest::default(), &mut sink).await
        });
        let c = Arc::clone(&client);
        spawnable(async move {
            let items = futures::stream::iter([(
                UploadRequest::default(),
                BodySource::Memory(Bytes::new()),
            )]);
            c.issue_many(items, |_, _| {}).await
        });
        spawnable(async move { client.watch("default", RecordIndex::FIRST).next().await });
    }

    #[tokio::test]
    async fn tls_is_refused_rather_than_left_out() {
        let mut tls = options(&["a:1"]);
        tls.ca = Some("ca.pem".into());
        assert!(matches!(Client::new(tls), Err(ClientError::Usage(_))));
        assert!(matches!(
            Client::new(options(&[])),
            Err(ClientError::Usage(_))
        ));
    }

    /// Nobody listens: the call ends at its deadline and says that it may be repeated.
    #[tokio::test]
    async fn a_call_without_a_server_ends_as_unavailable() {
        let client = Client::new(options(&["127.0.0.1:1"])).unwrap();
        let error = client.trust_file().await.unwrap_err();
        assert!(matches!(error, ClientError::Unavailable(_)), "{error}");
    }

    fn options(endpoints: &[&str]) -> ClientOptions {
        ClientOptions {
            deadline: Duration::from_millis(200),
            ..ClientOptions::new(endpoints.iter().copied())
        }
    }
}
