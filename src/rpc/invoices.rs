//! Handlers of InvoiceService.
//!
//! Tests: `tests/cluster/breadth.rs`, `tests/cluster/streams.rs`.

use super::status::{from_upload, status};
use super::{incoming, outgoing};
use crate::domain::call_error::CallError;
use crate::domain::draft::bad;
use crate::domain::ids::RecordIndex;
use crate::objective::freshness::whole_ms;
use crate::raft::reads::Reads;
use crate::service::admission::UploadTurn;
use crate::service::check::{CheckedBytes, PageAsked};
use crate::service::download::{DownloadEvidence, DownloadPiece, DownloadRequest};
use crate::service::issue::UploadPieces;
use crate::service::levels::WaitBudget;
use crate::service::{
    Parts, Principal, add_rendition, check, download, issue, list, lookup, reverse, void, watch,
};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use muniment_proto::v1;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

/// See the module.
pub struct InvoiceHandler(pub Arc<Parts>);

type Answer<T> = Result<Response<T>, Status>;

/// Who calls: anonymous, at the address of the connection.
pub(super) fn principal<T>(request: &Request<T>) -> Principal {
    let address = request
        .remote_addr()
        .map(|address| address.ip().to_string())
        .unwrap_or_default();
    let agent = request
        .metadata()
        .get("user-agent")
        .and_then(|agent| agent.to_str().ok())
        .map(|agent| agent.chars().take(200).collect())
        .unwrap_or_default();
    Principal::anonymous(address, agent)
}

/// When the caller gives up, by gRPC's own header.
fn deadline<T>(request: &Request<T>) -> Option<Instant> {
    let text = request.metadata().get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok()?;
    let wait = match unit {
        "H" => Duration::from_secs(count.checked_mul(3600)?),
        "M" => Duration::from_secs(count.checked_mul(60)?),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    };
    Instant::now().checked_add(wait)
}

/// A message of an upload: its header, then chunks.
trait UploadMessage: Send + 'static {
    type Header;
    fn header(self) -> Option<Self::Header>;
    fn chunk(self) -> Option<Bytes>;
}

macro_rules! upload_message {
    ($message:ty, $part:path, $header:ty) => {
        impl UploadMessage for $message {
            type Header = $header;

            fn header(self) -> Option<$header> {
                use $part as Part;
                match self.part {
                    Some(Part::Header(header)) => Some(header),
                    _ => None,
                }
            }

            fn chunk(self) -> Option<Bytes> {
                use $part as Part;
                match self.part {
                    Some(Part::Chunk(chunk)) => Some(chunk),
                    _ => None,
                }
            }
        }
    };
}

upload_message!(v1::IssueRequest, v1::issue_request::Part, v1::UploadHeader);
upload_message!(v1::CheckRequest, v1::check_request::Part, v1::CheckHeader);
upload_message!(
    v1::ReverseRequest,
    v1::reverse_request::Part,
    v1::ReverseHeader
);
upload_message!(
    v1::AddRenditionRequest,
    v1::add_rendition_request::Part,
    v1::AddRenditionHeader
);

impl InvoiceHandler {
    /// How long a call may move no byte.
    fn idle(&self) -> Duration {
        Duration::from_millis(self.0.admission.limits.idle_timeout_ms)
    }

    /// Splits an upload: its first message, and the chunks of the rest.
    async fn split<M: UploadMessage>(
        &self,
        mut stream: Streaming<M>,
    ) -> Result<(M::Header, UploadPieces), CallError> {
        let first = tokio::time::timeout(self.idle(), stream.message()).await;
        let first = first.map_err(|_| bad("header", "did not come for too long"))?;
        let header = first
            .map_err(|status| from_upload(&status))?
            .and_then(M::header)
            .ok_or_else(|| bad("header", "is the first message of the call"))?;
        let pieces = stream.map(|message| match message {
            Ok(message) => message
                .chunk()
                .ok_or_else(|| bad("chunk", "follows the header, and only that").into()),
            Err(status) => Err(from_upload(&status)),
        });
        Ok((header, pieces.boxed()))
    }
}

pub(super) fn issued(reads: &Reads, issued: issue::Issued) -> v1::IssueResponse {
    v1::IssueResponse {
        invoice: Some(outgoing::invoice(issued.invoice)),
        repeated: issued.repeated,
        receipt: Some(outgoing::receipt(&issued.receipt)),
        durability: Some(outgoing::durability(
            issued.level,
            issued.nodes,
            issued.zones,
        )),
        answered: Some(outgoing::answered(reads.answered(true))),
        look_alikes: issued.look_alikes,
    }
}

#[tonic::async_trait]
impl v1::invoice_service_server::InvoiceService for InvoiceHandler {
    async fn issue(
        &self,
        request: Request<Streaming<v1::IssueRequest>>,
    ) -> Answer<v1::IssueResponse> {
        let principal = principal(&request);
        let deadline = deadline(&request);
        let called = async {
            let (header, pieces) = self.split(request.into_inner()).await?;
            let mut draft = incoming::issue(header)?;
            draft.body.wait.deadline = deadline;
            issue::issue(&self.0, &principal, draft, pieces, UploadTurn::AtOnce).await
        };
        let done = called.await.map_err(status)?;
        Ok(Response::new(issued(&self.0.reads, done)))
    }

    type IssueManyStream = BoxStream<'static, Result<v1::IssueManyResponse, Status>>;

    async fn issue_many(
        &self,
        request: Request<Streaming<v1::IssueManyRequest>>,
    ) -> Answer<Self::IssueManyStream> {
        let principal = principal(&request);
        let requests = request.into_inner().boxed();
        let responses = super::issue_many::serve(self.0.clone(), principal, requests);
        Ok(Response::new(responses))
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Answer<v1::GetResponse> {
        let request = request.into_inner();
        let called = async {
            let key = incoming::key("key", request.key)?;
            let level = incoming::read_level(request.read)?;
            lookup::get(&self.0.reads, &self.0.tenants, key, level).await
        };
        let (invoice, answered) = called.await.map_err(status)?;
        Ok(Response::new(v1::GetResponse {
            invoice: Some(outgoing::invoice(invoice)),
            answered: Some(outgoing::answered(answered)),
        }))
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Answer<v1::ListResponse> {
        let request = request.into_inner();
        let called = async {
            let Parts { reads, tenants, .. } = &*self.0;
            let filter = incoming::filter(&request)?;
            let level = incoming::read_level(request.read)?;
            let size = request.page_size as usize;
            list::list(reads, tenants, filter, size, &request.cursor, level).await
        };
        let page = called.await.map_err(status)?;
        Ok(Response::new(v1::ListResponse {
            invoices: page.invoices.into_iter().map(outgoing::invoice).collect(),
            cursor: page.cursor,
            complete_until: page.complete_until.get(),
            answered: Some(outgoing::answered(page.answered)),
        }))
    }

    type DownloadStream = BoxStream<'static, Result<v1::DownloadResponse, Status>>;

    async fn download(
        &self,
        request: Request<v1::DownloadRequest>,
    ) -> Answer<Self::DownloadStream> {
        use v1::download_response::Part;
        let principal = principal(&request);
        let wait = WaitBudget {
            level_wait: None,
            deadline: deadline(&request),
        };
        let request = request.into_inner();
        let called = async {
            let read = request.read.map(|read| incoming::read_level(Some(read)));
            let wanted = DownloadRequest {
                key: incoming::key("key", request.key)?,
                role: request.role,
                start: request.start,
                end: request.end,
                read: read.transpose()?,
                evidence: incoming::evidence_mode(request.evidence)?,
                wait,
            };
            download::download(&self.0, &principal, wanted).await
        };
        let (started, pieces) = called.await.map_err(status)?;
        let mut answered = self.0.reads.answered(true);
        let (receipt, promise) = match &started.evidence {
            DownloadEvidence::Receipt(receipt) => (Some(outgoing::receipt(receipt)), None),
            DownloadEvidence::Promise { promise, staleness } => {
                answered.staleness_ms_max = Some(whole_ms(*staleness));
                (None, Some(outgoing::promise(promise)))
            }
        };
        let header = Part::Header(v1::DownloadHeader {
            invoice: Some(outgoing::invoice(started.invoice)),
            rendition: Some(outgoing::rendition(started.rendition)),
            start: started.range.start,
            end: started.range.end,
            receipt,
            body_from: started.body_from.get(),
            answered: Some(outgoing::answered(answered)),
            promise,
            level: started.level.map_or_else(String::new, |l| l.to_string()),
        });
        let pieces = pieces.map(|piece| match piece {
            Ok(DownloadPiece::Bytes(bytes)) => Ok(Part::Chunk(bytes)),
            Ok(DownloadPiece::End { sha256, length }) => Ok(Part::Trailer(v1::DownloadTrailer {
                sha256: outgoing::digest(&sha256),
                length,
            })),
            Err(error) => Err(status(error)),
        });
        let parts = stream::iter([Ok(header)]).chain(pieces);
        let responses =
            parts.map(|part| part.map(|part| v1::DownloadResponse { part: Some(part) }));
        Ok(Response::new(responses.boxed()))
    }

    async fn check(
        &self,
        request: Request<Streaming<v1::CheckRequest>>,
    ) -> Answer<v1::CheckResponse> {
        let called = async {
            let (header, pieces) = self.split(request.into_inner()).await?;
            let bytes = match incoming::check_digest(&header)? {
                Some(digest) => CheckedBytes::Sha256(digest),
                None => CheckedBytes::Pieces {
                    pieces,
                    bytes_max: self.0.admission.limits.body_bytes,
                    idle: self.idle(),
                },
            };
            let asked = PageAsked {
                size: header.page_size as usize,
                cursor: &header.cursor,
                level: incoming::read_level(header.read)?,
            };
            check::check(&self.0.reads, &self.0.tenants, &header.tenant, bytes, asked).await
        };
        let checked = called.await.map_err(status)?;
        Ok(Response::new(v1::CheckResponse {
            sha256: outgoing::digest(&checked.sha256),
            cursor: checked.cursor,
            invoices: checked
                .invoices
                .into_iter()
                .map(outgoing::invoice)
                .collect(),
            answered: Some(outgoing::answered(checked.answered)),
        }))
    }

    async fn reverse(
        &self,
        request: Request<Streaming<v1::ReverseRequest>>,
    ) -> Answer<v1::IssueResponse> {
        let principal = principal(&request);
        let deadline = deadline(&request);
        let called = async {
            let (header, pieces) = self.split(request.into_inner()).await?;
            let upload = header.upload.ok_or_else(|| bad("upload", "is required"))?;
            let mut draft = incoming::issue(upload)?;
            draft.body.wait.deadline = deadline;
            let target = incoming::key("target", header.target)?;
            let amount = header
                .amount
                .map(|amount| incoming::money("amount", amount))
                .transpose()?;
            let turn = UploadTurn::AtOnce;
            reverse::reverse(&self.0, &principal, draft, target, amount, pieces, turn).await
        };
        let done = called.await.map_err(status)?;
        Ok(Response::new(issued(&self.0.reads, done)))
    }

    async fn void(&self, request: Request<v1::VoidRequest>) -> Answer<v1::VoidResponse> {
        let principal = principal(&request);
        let request = request.into_inner();
        let called = async {
            let key = incoming::key("key", request.key)?;
            let (id, reason) = (request.request_id, request.reason);
            void::void(&self.0, &principal, id, key, reason).await
        };
        let voided = called.await.map_err(status)?;
        Ok(Response::new(v1::VoidResponse {
            invoice: Some(outgoing::invoice(voided.invoice)),
            repeated: voided.repeated,
            receipt: Some(outgoing::receipt(&voided.receipt)),
            answered: Some(outgoing::answered(self.0.reads.answered(true))),
        }))
    }

    async fn add_rendition(
        &self,
        request: Request<Streaming<v1::AddRenditionRequest>>,
    ) -> Answer<v1::AddRenditionResponse> {
        let principal = principal(&request);
        let deadline = deadline(&request);
        let called = async {
            let (header, pieces) = self.split(request.into_inner()).await?;
            let mut draft = incoming::add_rendition(header)?;
            draft.body.wait.deadline = deadline;
            add_rendition::add_rendition(&self.0, &principal, draft, pieces, UploadTurn::AtOnce)
                .await
        };
        let added = called.await.map_err(status)?;
        Ok(Response::new(v1::AddRenditionResponse {
            invoice: Some(outgoing::invoice(added.invoice)),
            repeated: added.repeated,
            receipt: Some(outgoing::receipt(&added.receipt)),
            durability: Some(outgoing::durability(added.level, added.nodes, added.zones)),
            answered: Some(outgoing::answered(self.0.reads.answered(true))),
        }))
    }

    type WatchStream = BoxStream<'static, Result<v1::WatchResponse, Status>>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Answer<Self::WatchStream> {
        let request = request.into_inner();
        let Parts { reads, tenants, .. } = &*self.0;
        let (tenant, from) = (&request.tenant, request.from_index);
        let changes = watch::watch(reads.clone(), tenants, tenant, RecordIndex::new(from));
        let changes = changes.map_err(status)?.map(|change| match change {
            Ok(change) => Ok(v1::WatchResponse {
                index: change.index.get(),
                kind: change.kind.name().to_owned(),
                invoice: Some(outgoing::invoice(change.invoice)),
            }),
            Err(error) => Err(status(error)),
        });
        Ok(Response::new(changes.boxed()))
    }
}
