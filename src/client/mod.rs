//! The Rust client: routing, retries, and a verdict on every receipt.
//!
//! Promises: a call ends within its deadline, or (streams) within the deadline of its last
//! progress; an answer with a receipt is handed on only after [`muniment_evidence::verify`]
//! accepts the receipt; a mutating call is repeated only under its request id; a read that
//! names no level misses nothing that this client has seen. Failures say what to do next
//! ([`Error`]). Leaves request ids, files and printing to the caller, and
//! TLS to a later build.
//!
//! Reading order: this file (the plain verbs), `upload` and `download` (the verbs with
//! bytes), `issue_many` (a billing run), `watch`, `verify` (what counts as proven), `seen`
//! (which level reads ask for), `route` and `zones` (where calls go), `error`.

mod download;
mod error;
mod export;
mod issue_many;
mod members;
mod route;
mod seen;
mod upload;
mod verify;
mod watch;
mod zones;

pub use self::download::Downloaded;
pub use self::error::{Error, Refusal, Unproven};
pub use self::members::{Change, Steps};
pub use self::upload::{Issued, Measure, Source, Upload};
pub use self::verify::{PromiseProof, Proof};
pub use self::watch::Watch;
pub use crate::objective::read::Token;
/// The messages in which the client speaks.
pub use crate::wire::v1;

use self::route::{Journey, Line, Route};
use self::seen::{Answer, Seen};
use self::verify::Claim;
use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt as _};
use muniment_evidence::digest::Digest;
use muniment_evidence::policy::Policy;
use muniment_evidence::report::Report;
use muniment_evidence::trust::Trust;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Response, Status};
use v1::cluster_service_client::ClusterServiceClient;
use v1::evidence_service_client::EvidenceServiceClient;
use v1::invoice_service_client::InvoiceServiceClient;

/// The protocol's limit on one message, both ways.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A bearer token is one header line; servers refuse longer ones.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// How long endpoints may take to say which zone they are in: once, before the first read.
const ZONES_MAX: Duration = Duration::from_secs(1);

/// How to reach a ledger, and which one is meant.
#[derive(Clone, Debug)]
pub struct Options {
    /// `http://host:port` or `host:port`, tried in this order.
    pub endpoints: Vec<String>,
    pub ca: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// A file whose text is sent as the bearer token.
    pub token: Option<PathBuf>,
    /// Without a pin, receipts are checked in themselves, but may be of another ledger.
    pub trust: Option<Trust>,
    /// For one call with all its attempts; for streams the longest time without progress.
    pub deadline: Duration,
    /// Of the jitter between attempts: clients with different seeds spread out.
    pub seed: u64,
    /// The caller's own zone: reads begin at an endpoint there.
    pub zone: Option<String>,
}

/// See the module. Share it by reference or in an `Arc`; calls run side by side.
pub struct Client {
    route: Route,
    seen: Seen,
    trust: Option<Trust>,
    deadline: Duration,
}

fn invoices(line: Line) -> InvoiceServiceClient<Line> {
    InvoiceServiceClient::new(line)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn evidence(line: Line) -> EvidenceServiceClient<Line> {
    EvidenceServiceClient::new(line)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn cluster(line: Line) -> ClusterServiceClient<Line> {
    ClusterServiceClient::new(line)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

impl Client {
    /// Connects on the first call. Needs to run inside of a tokio runtime.
    pub fn new(options: Options) -> Result<Client, Error> {
        for (flag, path) in [
            ("ca", &options.ca),
            ("cert", &options.cert),
            ("key", &options.key),
        ] {
            if path.is_some() {
                let why = format!("TLS ({flag}) is not supported by this build yet");
                return Err(Error::Usage(why));
            }
        }
        let token = options.token.as_deref().map(read_token).transpose()?;
        Ok(Client {
            route: Route::new(&options.endpoints, token, options.seed, options.zone)?,
            seen: Seen::default(),
            trust: options.trust,
            deadline: options.deadline,
        })
    }

    pub fn trust(&self) -> Option<&Trust> {
        self.trust.as_ref()
    }

    /// The endpoints as URLs, in their order.
    pub fn endpoints(&self) -> Vec<String> {
        self.route.urls()
    }

    /// The newest token of all answers so far; its text may be kept for another process.
    pub fn seen(&self) -> Option<Token> {
        self.seen.token()
    }

    /// Takes over what another client has seen.
    pub fn saw(&self, token: Token) {
        self.seen.saw(token);
    }

    /// Lets go of what was seen: after [`Error::Lost`], by a caller who knows why.
    pub fn forget_seen(&self) {
        self.seen.forget();
    }

    /// One invoice, with the answering replica. Without a level: nothing is missed that
    /// this client has seen.
    pub async fn get(
        &self,
        key: v1::InvoiceKey,
        read: Option<v1::ReadLevel>,
    ) -> Result<(v1::Invoice, v1::Answered), Error> {
        let (key, read) = (Some(key), self.seen.level(read));
        let request = v1::GetRequest { key, read };
        let reply = self
            .read(|line| {
                let request = request.clone();
                async move { invoices(line).get(request).await }
            })
            .await?;
        let invoice = reply.invoice.ok_or_else(|| Error::lacks("the invoice"))?;
        Ok((invoice, reply.answered.unwrap_or_default()))
    }

    /// One page; the next one has the answer's cursor.
    pub async fn list(&self, mut request: v1::ListRequest) -> Result<v1::ListResponse, Error> {
        request.read = self.seen.level(request.read);
        self.read(|line| {
            let request = request.clone();
            async move { invoices(line).list(request).await }
        })
        .await
    }

    /// Every invoice with a rendition of these bytes; none means: not issued here.
    pub async fn check(
        &self,
        tenant: &str,
        sha256: &Digest,
        read: Option<v1::ReadLevel>,
    ) -> Result<v1::CheckResponse, Error> {
        let header = v1::CheckHeader {
            tenant: tenant.to_owned(),
            sha256: Bytes::copy_from_slice(&sha256.0),
            read: self.seen.level(read),
        };
        let reply = self
            .read(|line| {
                let part = Some(v1::check_request::Part::Header(header.clone()));
                let parts = once(v1::CheckRequest { part });
                async move { invoices(line).check(parts).await }
            })
            .await?;
        let honest = reply.invoices.iter().all(|invoice| {
            let mut renditions = invoice.renditions.iter();
            renditions.any(|rendition| rendition.sha256[..] == sha256.0)
        });
        if !honest {
            let why = "the answer names an invoice without a rendition of these bytes";
            return Err(Error::unproven(why));
        }
        Ok(reply)
    }

    /// Declares an unreversed invoice void.
    pub async fn void(&self, request: v1::VoidRequest) -> Result<(v1::VoidResponse, Proof), Error> {
        let mut reply = self
            .write(|line| {
                let request = request.clone();
                async move { invoices(line).void(request).await }
            })
            .await?;
        let invoice = reply.invoice.as_ref();
        let uid = &invoice.ok_or_else(|| Error::lacks("the invoice"))?.uid;
        let claim = Claim::Voided { uid };
        let proof = verify::claim(reply.receipt.take(), self.trust(), claim)?;
        Ok((reply, proof))
    }

    /// Changes of a tenant's invoices from a record index on.
    pub fn watch(&self, tenant: &str, from_index: u64) -> Watch<'_> {
        Watch::new(self, tenant, from_index)
    }

    /// The newest checkpoint as the server gives it: whose it is, the verifier tells.
    pub async fn checkpoint(
        &self,
        read: Option<v1::ReadLevel>,
        cosigned: bool,
    ) -> Result<v1::GetCheckpointResponse, Error> {
        let read = self.seen.level(read);
        let request = v1::GetCheckpointRequest { read, cosigned };
        self.read(|line| {
            let request = request.clone();
            async move { evidence(line).get_checkpoint(request).await }
        })
        .await
    }

    /// The receipt of a record, verified, with what the verifier found.
    pub async fn receipt(
        &self,
        request: v1::GetReceiptRequest,
    ) -> Result<(v1::GetReceiptResponse, Report), Error> {
        let policy = match request.policy.as_str() {
            "" => None,
            text => Some(Policy::parse(text).map_err(|why| Error::Usage(why.to_string()))?),
        };
        let reply = self
            .read(|line| {
                let request = request.clone();
                async move { evidence(line).get_receipt(request).await }
            })
            .await?;
        let receipt = reply.receipt.as_ref();
        let receipt = receipt.ok_or_else(|| Error::lacks("the receipt"))?;
        let report = verify::any(&receipt.bytes, self.trust(), policy.as_ref())?;
        let index = report.record.as_ref().map(|opened| opened.record.index);
        let asked = match &request.what {
            Some(v1::get_receipt_request::What::RecordIndex(asked)) => *asked,
            _ => reply.record_index,
        };
        if index != Some(asked) {
            let why = "the receipt is valid, but of another record";
            return Err(Error::unproven(why));
        }
        Ok((reply, report))
    }

    /// Records in order, as the server gives them: a bundle proves them, a list does not.
    pub async fn records(
        &self,
        request: v1::ListRecordsRequest,
    ) -> Result<v1::ListRecordsResponse, Error> {
        self.read(|line| {
            let request = request.clone();
            async move { evidence(line).list_records(request).await }
        })
        .await
    }

    /// A policy over the members' cosignatures. Worth no more than the server that gave it.
    pub async fn policy(&self, zones: u32) -> Result<String, Error> {
        let reply = self
            .read(|line| async move {
                let request = v1::GetPolicyRequest { zones };
                evidence(line).get_policy(request).await
            })
            .await?;
        Ok(reply.policy)
    }

    /// The hashes that prove one tree to be a prefix of another (0: of the newest).
    pub async fn consistency(
        &self,
        old_size: u64,
        new_size: u64,
    ) -> Result<v1::GetConsistencyProofResponse, Error> {
        let request = v1::GetConsistencyProofRequest { old_size, new_size };
        self.read(|line| async move { evidence(line).get_consistency_proof(request).await })
            .await
    }

    /// The ledger's keys, past and present.
    pub async fn keys(&self) -> Result<v1::GetKeysResponse, Error> {
        self.read(|line| async move { cluster(line).get_keys(v1::GetKeysRequest {}).await })
            .await
    }

    /// Records a change of keys; the index of its record.
    pub async fn change_keys(&self, change: Vec<u8>) -> Result<u64, Error> {
        let change = Bytes::from(change);
        let reply = self
            .write(|line| {
                let change = change.clone();
                let request = v1::ChangeKeysRequest { change };
                async move { cluster(line).change_keys(request).await }
            })
            .await?;
        Ok(reply.record_index)
    }

    /// The trust file's text. Worth no more than the server that gave it.
    pub async fn trust_file(&self) -> Result<String, Error> {
        let reply = self
            .call(|line| async move {
                let request = v1::GetTrustRequest {};
                evidence(line).get_trust(request).await
            })
            .await?;
        Ok(reply.trust)
    }

    /// What one node says of itself; no other node is asked in its place.
    pub async fn status_of(
        &self,
        address: &str,
        timeout: Duration,
    ) -> Result<v1::StatusResponse, Error> {
        let line = self.route.line_to(address, timeout)?;
        let mut service = cluster(line);
        let asked = service.status(v1::StatusRequest {});
        let result = match tokio::time::timeout(timeout, asked).await {
            Ok(result) => result,
            Err(_) => Err(Status::unavailable("no answer in time")),
        };
        match result {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(Error::from_status(&status, address)),
        }
    }

    /// Has one node scrub its bodies now; false when it does so already.
    pub async fn scrub_of(&self, address: &str, timeout: Duration) -> Result<bool, Error> {
        let line = self.route.line_to(address, timeout)?;
        let mut service = cluster(line);
        let asked = service.scrub(v1::ScrubRequest {});
        let result = match tokio::time::timeout(timeout, asked).await {
            Ok(result) => result,
            Err(_) => Err(Status::unavailable("no answer in time")),
        };
        match result {
            Ok(response) => Ok(response.into_inner().started),
            Err(status) => Err(Error::from_status(&status, address)),
        }
    }

    /// One node's own checkpoint; no other node is asked in its place.
    pub async fn checkpoint_of(
        &self,
        address: &str,
        read: v1::ReadLevel,
        timeout: Duration,
    ) -> Result<v1::GetCheckpointResponse, Error> {
        let line = self.route.line_to(address, timeout)?;
        let mut service = evidence(line);
        let asked = service.get_checkpoint(v1::GetCheckpointRequest {
            read: Some(read),
            cosigned: false,
        });
        let result = match tokio::time::timeout(timeout, asked).await {
            Ok(result) => result,
            Err(_) => Err(Status::unavailable("no answer in time")),
        };
        match result {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(Error::from_status(&status, address)),
        }
    }

    /// Founds the ledger at the first endpoint: founding is never tried elsewhere, since
    /// two founders would make two ledgers. Gives the trust file.
    pub async fn init(&self, request: v1::InitRequest) -> Result<String, Error> {
        let address = self.route.urls().swap_remove(0);
        let line = self.route.line_to(&address, self.deadline)?;
        match cluster(line).init(request).await {
            Ok(response) => Ok(response.into_inner().trust),
            Err(status) => Err(Error::from_status(&status, &address)),
        }
    }

    /// Hands leadership to a node; gives the leader after it.
    pub async fn transfer(&self, to: u64) -> Result<u64, Error> {
        let request = v1::TransferRequest { to };
        let reply = self
            .call(|line| async move { cluster(line).transfer(request).await })
            .await?;
        Ok(reply.leader)
    }

    /// Puts on record what a drill came to; the index of its record.
    pub async fn record_drill(&self, request: v1::RecordDrillRequest) -> Result<u64, Error> {
        let reply = self
            .call(|line| {
                let request = request.clone();
                async move { cluster(line).record_drill(request).await }
            })
            .await?;
        Ok(reply.record_index)
    }

    /// A call whose answer does not say who gave it.
    async fn call<T, Fut>(&self, attempt: impl Fn(Line) -> Fut) -> Result<T, Error>
    where
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let journey = self.route.journey(self.deadline);
        let (reply, _) = self.travel(journey, attempt).await?;
        Ok(reply)
    }

    /// A call that changes something.
    async fn write<T, Fut>(&self, attempt: impl Fn(Line) -> Fut) -> Result<T, Error>
    where
        T: Answer,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let journey = self.route.journey(self.deadline);
        let (reply, journey) = self.travel(journey, attempt).await?;
        self.learn(&journey, reply.answered());
        Ok(reply)
    }

    /// A call that changes nothing: from the caller's own zone on.
    async fn read<T, Fut>(&self, attempt: impl Fn(Line) -> Fut) -> Result<T, Error>
    where
        T: Answer,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let (reply, journey) = self.travel(self.reading().await, attempt).await?;
        self.learn(&journey, reply.answered());
        Ok(reply)
    }

    /// Repeats a call from endpoint to endpoint until it is answered or must not be.
    async fn travel<'a, T, Fut>(
        &self,
        mut journey: Journey<'a>,
        attempt: impl Fn(Line) -> Fut,
    ) -> Result<(T, Journey<'a>), Error>
    where
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        loop {
            match journey.within(attempt(journey.line())).await {
                Ok(response) => {
                    journey.arrived();
                    return Ok((response.into_inner(), journey));
                }
                Err(status) => journey.onward(status).await?,
            }
        }
    }

    /// What every answer tells by the way.
    fn learn(&self, journey: &Journey<'_>, answered: Option<&v1::Answered>) {
        self.seen.note(answered);
        if let Some(answered) = answered {
            self.route.zones.answered(journey.url(), &answered.zone);
        }
    }

    /// Where a read goes. Endpoints whose zone is unknown are asked first, while none is
    /// known to be near.
    async fn reading(&self) -> Journey<'_> {
        let started = Instant::now();
        let limit = ZONES_MAX.min(self.deadline / 2);
        let mut asking: FuturesUnordered<_> = self
            .route
            .zones
            .to_ask(&self.route.urls(), started)
            .into_iter()
            .map(|url| async move {
                let status = self.status_of(&url, limit).await;
                (url, status)
            })
            .collect();
        while let Some((url, status)) = asking.next().await {
            if let Ok(status) = status {
                self.route.zones.answered(&url, &status.zone);
                if self.route.zones.is_near(&url, started) {
                    break;
                }
            }
        }
        self.route.journey_nearby(self.deadline, started)
    }
}

fn once<T: Send + 'static>(item: T) -> impl Stream<Item = T> + Send + 'static {
    futures::stream::iter([item])
}

fn read_token(
    path: &Path,
) -> Result<tonic::metadata::MetadataValue<tonic::metadata::Ascii>, Error> {
    let what = || format!("cannot read the token {}", path.display());
    let text = std::fs::read_to_string(path).map_err(|e| Error::local(what(), e))?;
    let token = text.trim();
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        let why = format!("{}: a token has 1 to {TOKEN_BYTES_MAX} bytes", what());
        return Err(Error::Usage(why));
    }
    let mut value: tonic::metadata::MetadataValue<_> = format!("Bearer {token}")
        .parse()
        .map_err(|_| Error::Usage(format!("{}: it is not one line of ASCII", what())))?;
    // Keeps it out of debug output.
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
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
            let source = Source::Memory(Bytes::new());
            c.issue(&Upload::default(), &source).await
        });
        let c = Arc::clone(&client);
        spawnable(async move {
            let mut sink = tokio::io::sink();
            c.download(v1::DownloadRequest::default(), &mut sink).await
        });
        let c = Arc::clone(&client);
        spawnable(async move {
            let items = futures::stream::iter([(Upload::default(), Source::Memory(Bytes::new()))]);
            c.issue_many(items, |_, _| {}).await
        });
        spawnable(async move { client.watch("default", 0).next().await });
    }

    #[tokio::test]
    async fn tls_is_refused_rather_than_left_out() {
        let mut tls = options(&["a:1"]);
        tls.ca = Some("ca.pem".into());
        assert!(matches!(Client::new(tls), Err(Error::Usage(_))));
        assert!(matches!(Client::new(options(&[])), Err(Error::Usage(_))));
    }

    /// Nobody listens: the call ends at its deadline and says that it may be repeated.
    #[tokio::test]
    async fn a_call_without_a_server_ends_as_unavailable() {
        let client = Client::new(options(&["127.0.0.1:1"])).unwrap();
        let error = client.trust_file().await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{error}");
    }

    fn options(endpoints: &[&str]) -> Options {
        Options {
            endpoints: endpoints.iter().map(|e| (*e).to_owned()).collect(),
            ca: None,
            cert: None,
            key: None,
            token: None,
            trust: None,
            deadline: Duration::from_millis(200),
            seed: 1,
            zone: None,
        }
    }
}
