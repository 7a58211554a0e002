//! Calls that carry bytes up: issue, reverse, add a rendition.
//!
//! Promises: length and SHA-256 are announced before the first chunk, so the server keeps
//! nothing that was altered on the way; a repetition sends the very same bytes under the
//! same request id, so it is safe. Every receipt is verified. Leaves the choice of the
//! request id to the caller, reading the bytes to [`crate::source`].

use crate::services::{AuthChannel, invoice_service};
use crate::session::AnsweredReply;
use crate::source::{BodySource, ChunkReader, Measure};
use crate::verify::{self, ReceiptClaim, ReceiptProof};
use crate::{Client, ClientError};
use bytes::Bytes;
use futures::Stream;
use futures::stream::BoxStream;
use muniment_proto::v1;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tonic::{Response, Status};

/// What is to be stored, apart from the bytes.
#[derive(Clone, Debug, Default)]
pub struct UploadRequest {
    /// Names the call for ever; the same again returns the first outcome.
    pub request_id: String,
    /// Not used where a rendition is added to an invoice.
    pub metadata: v1::Metadata,
    /// `original` when empty.
    pub role: String,
    /// application/pdf when empty.
    pub media_type: String,
    /// The server's default when absent.
    pub level: Option<v1::WriteLevel>,
}

/// An issued invoice and the proof of it.
#[derive(Clone, Debug)]
pub struct IssuedInvoice {
    /// As the ledger has it now.
    pub invoice: v1::Invoice,
    /// An earlier call had done it.
    pub repeated: bool,
    /// Numbers of other invoices that look like this one's, case and width aside.
    pub look_alikes: Vec<String>,
    /// Where body and record are at least.
    pub durability: v1::Durability,
    /// The verified receipt of its record.
    pub proof: ReceiptProof,
    /// Which node answered, and how fresh it was.
    pub answered: v1::Answered,
}

impl Client {
    /// Issues an invoice once. The same call again, also of another process, gives the first
    /// outcome.
    ///
    /// ```no_run
    /// # use muniment_client::{BodySource, Client, ClientError, UploadRequest};
    /// # async fn example(client: &Client, upload: UploadRequest) -> Result<(), ClientError> {
    /// let issued = client.issue(&upload, &BodySource::File("A-17.pdf".into())).await?;
    /// // To be kept: it proves the issuance offline, for ever.
    /// std::fs::write("A-17.receipt", &issued.proof.receipt).expect("the disk has room");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn issue(
        &self,
        upload: &UploadRequest,
        source: &BodySource,
    ) -> Result<IssuedInvoice, ClientError> {
        let measure = source.measure().await?;
        let header = header(upload, &measure);
        let reply = self
            .send(
                (source, measure),
                || v1::IssueRequest {
                    part: Some(v1::issue_request::Part::Header(header.clone())),
                },
                |chunk| v1::IssueRequest {
                    part: Some(v1::issue_request::Part::Chunk(chunk)),
                },
                |channel, parts| async move { invoice_service(channel).issue(parts).await },
            )
            .await?;
        self.issued(reply, &measure)
    }

    /// Issues an invoice that reverses `target`: all that is left of it, or `amount`.
    pub async fn reverse(
        &self,
        upload: &UploadRequest,
        source: &BodySource,
        target: v1::InvoiceKey,
        amount: Option<v1::Money>,
    ) -> Result<IssuedInvoice, ClientError> {
        let measure = source.measure().await?;
        let header = v1::ReverseHeader {
            upload: Some(header(upload, &measure)),
            target: Some(target),
            amount,
        };
        let reply = self
            .send(
                (source, measure),
                || v1::ReverseRequest {
                    part: Some(v1::reverse_request::Part::Header(header.clone())),
                },
                |chunk| v1::ReverseRequest {
                    part: Some(v1::reverse_request::Part::Chunk(chunk)),
                },
                |channel, parts| async move { invoice_service(channel).reverse(parts).await },
            )
            .await?;
        self.issued(reply, &measure)
    }

    /// Adds a further form to an issued invoice.
    pub async fn add_rendition(
        &self,
        upload: &UploadRequest,
        source: &BodySource,
        key: v1::InvoiceKey,
    ) -> Result<IssuedInvoice, ClientError> {
        let measure = source.measure().await?;
        let announced = header(upload, &measure);
        let header = v1::AddRenditionHeader {
            request_id: announced.request_id,
            key: Some(key),
            role: announced.role,
            media_type: announced.media_type,
            length: announced.length,
            sha256: announced.sha256,
            level: announced.level,
            level_wait_ms: announced.level_wait_ms,
        };
        let reply = self
            .send(
                (source, measure),
                || v1::AddRenditionRequest {
                    part: Some(v1::add_rendition_request::Part::Header(header.clone())),
                },
                |chunk| v1::AddRenditionRequest {
                    part: Some(v1::add_rendition_request::Part::Chunk(chunk)),
                },
                |channel, parts| async move { invoice_service(channel).add_rendition(parts).await },
            )
            .await?;
        let invoice = reply
            .invoice
            .ok_or_else(|| ClientError::lacks("the invoice"))?;
        let claim = ReceiptClaim::Added {
            uid: &invoice.uid,
            sha256: &measure.sha256,
        };
        let proof = verify::claim(reply.receipt, self.trust(), claim)?;
        Ok(IssuedInvoice {
            invoice,
            repeated: reply.repeated,
            look_alikes: Vec::new(),
            durability: reply.durability.unwrap_or_default(),
            proof,
            answered: reply.answered.unwrap_or_default(),
        })
    }

    /// Believes an answer if its receipt proves it.
    pub(crate) fn issued(
        &self,
        reply: v1::IssueResponse,
        measure: &Measure,
    ) -> Result<IssuedInvoice, ClientError> {
        let invoice = reply
            .invoice
            .ok_or_else(|| ClientError::lacks("the invoice"))?;
        let claim = ReceiptClaim::Issued {
            uid: &invoice.uid,
            sha256: &measure.sha256,
        };
        let proof = verify::claim(reply.receipt, self.trust(), claim)?;
        Ok(IssuedInvoice {
            invoice,
            repeated: reply.repeated,
            look_alikes: reply.look_alikes,
            durability: reply.durability.unwrap_or_default(),
            proof,
            answered: reply.answered.unwrap_or_default(),
        })
    }

    /// Sends header and chunks, from endpoint to endpoint until one answers.
    async fn send<M, R, Fut>(
        &self,
        (source, measure): (&BodySource, Measure),
        header: impl Fn() -> M,
        wrap: fn(Bytes) -> M,
        call: impl Fn(AuthChannel, Parts<M>) -> Fut,
    ) -> Result<R, ClientError>
    where
        M: Send + 'static,
        R: AnsweredReply,
        Fut: Future<Output = Result<Response<R>, Status>>,
    {
        let mut attempts = self.endpoints.attempts(self.deadline);
        loop {
            let broken = Arc::new(OnceLock::new());
            let reader = ChunkReader::new(source, measure);
            let parts = parts(header(), reader, wrap, Arc::clone(&broken));
            match attempts.within(call(attempts.channel(), parts)).await {
                Ok(response) => {
                    attempts.succeeded();
                    let reply = response.into_inner();
                    self.learn(&attempts, reply.answered());
                    return Ok(reply);
                }
                Err(status) => {
                    // The file failed, not the server: another endpoint cannot help.
                    if let Some(error) = Arc::into_inner(broken).and_then(OnceLock::into_inner) {
                        return Err(source.unreadable(error));
                    }
                    attempts.next(status).await?;
                }
            }
        }
    }
}

pub(crate) fn header(upload: &UploadRequest, measure: &Measure) -> v1::UploadHeader {
    v1::UploadHeader {
        request_id: upload.request_id.clone(),
        metadata: Some(upload.metadata.clone()),
        role: upload.role.clone(),
        media_type: upload.media_type.clone(),
        length: measure.length,
        sha256: Bytes::copy_from_slice(&measure.sha256.0),
        level: upload.level,
        // The call's own deadline bounds the wait.
        level_wait_ms: 0,
    }
}

/// Header and chunks, ready to be sent. A type of its own: with the bare trait object the
/// compiler cannot prove that a call may move between threads.
struct Parts<M>(BoxStream<'static, M>);

impl<M> Stream for Parts<M> {
    type Item = M;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<M>> {
        self.0.as_mut().poll_next(cx)
    }
}

/// The header, then the source in chunks. A source that fails ends the stream early, which
/// the server refuses by the length announced; the reason is left in `broken`.
fn parts<M: Send + 'static>(
    header: M,
    reader: ChunkReader,
    wrap: fn(Bytes) -> M,
    broken: Arc<OnceLock<io::Error>>,
) -> Parts<M> {
    let state = (Some(header), reader, broken);
    Parts(Box::pin(futures::stream::unfold(
        state,
        move |(header, mut reader, broken)| async move {
            if let Some(header) = header {
                return Some((header, (None, reader, broken)));
            }
            match reader.next().await {
                Ok(chunk) if chunk.is_empty() => None,
                Ok(chunk) => Some((wrap(chunk), (None, reader, broken))),
                Err(error) => {
                    // Set once only: the stream ends here.
                    let _ = broken.set(error);
                    None
                }
            }
        },
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::CHUNK_BYTES;
    use futures::StreamExt as _;
    use muniment_evidence::digest::Digest;

    fn sent(bytes: Bytes) -> Bytes {
        bytes
    }

    #[tokio::test]
    async fn a_source_is_sent_whole_after_its_header() {
        let body = Bytes::from(vec![7; CHUNK_BYTES + 5]);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("body");
        std::fs::write(&path, &body).unwrap();
        for source in [
            BodySource::Memory(body.clone()),
            BodySource::File(path.clone()),
        ] {
            let measure = source.measure().await.unwrap();
            assert_eq!(measure.length, body.len() as u64);
            assert_eq!(measure.sha256, Digest::of(&[&body]));
            let broken = Arc::new(OnceLock::new());
            let header = Bytes::from_static(b"header");
            let reader = ChunkReader::new(&source, measure);
            let all: Vec<Bytes> = parts(header, reader, sent, broken).collect().await;
            assert_eq!(all[0], "header");
            assert_eq!(all[1].len(), CHUNK_BYTES);
            assert_eq!(all[1..].concat(), body);
        }
    }

    /// The caller must learn that the file failed, not that the server refused a length.
    #[tokio::test]
    async fn a_source_that_fails_leaves_its_reason() {
        let source = BodySource::File("/nonexistent".into());
        assert!(matches!(
            source.measure().await,
            Err(ClientError::Local { .. })
        ));
        let broken = Arc::new(OnceLock::new());
        let announced = Measure {
            length: 0,
            sha256: Digest::ZERO,
        };
        let reader = ChunkReader::new(&source, announced);
        let all: Vec<Bytes> = parts(Bytes::new(), reader, sent, Arc::clone(&broken))
            .collect()
            .await;
        assert_eq!(all.len(), 1);
        assert!(broken.get().is_some());
    }
}
