//! Downloads: an invoice's bytes, checked as they arrive.
//!
//! Promises: no byte is handed on before the evidence of its delivery has been verified: the
//! receipt of the download's record or, where deferred evidence was asked for, the node's
//! signed promise of that record. A download that breaks off goes on at another endpoint
//! at the byte reached; the whole of a rendition is checked against its SHA-256. Leaves it
//! to the caller to throw bytes away when the end is an error.

use crate::retry::RetryLoop;
use crate::services::invoice_service;
use crate::session::AnsweredReply as _;
use crate::verify::{self, PromiseProof, ReceiptClaim, ReceiptProof};
use crate::{Client, ClientError};
use muniment_evidence::digest::{Digest, Hasher};
use muniment_proto::v1;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tonic::{Status, Streaming};
use v1::download_response::Part;

/// A finished download.
#[derive(Clone, Debug)]
pub struct Downloaded {
    /// Whose bytes these are.
    pub invoice: v1::Invoice,
    /// Which of its renditions.
    pub rendition: v1::Rendition,
    /// The range of the rendition that was written: its first byte,
    pub start: u64,
    /// and the byte after its last.
    pub end: u64,
    /// SHA-256 of the bytes written; that of the rendition where all of it was asked for.
    pub sha256: Digest,
    /// One per endpoint that took part: each put its own range on record.
    pub proofs: Vec<ReceiptProof>,
    /// In their place where deferred evidence was asked for.
    pub promises: Vec<PromiseProof>,
    /// Node whose disk the last bytes came from.
    pub body_from: u64,
    /// Which node answered first, and how fresh it was.
    pub answered: v1::Answered,
}

/// What is known of a download under way.
struct Progress {
    asked: v1::DownloadRequest,
    /// From the first answer on.
    header: Option<v1::DownloadHeader>,
    sha256: Digest,
    written: u64,
    hasher: Hasher,
    proofs: Vec<ReceiptProof>,
    promises: Vec<PromiseProof>,
}

/// The evidence of a delivery, verified.
enum DeliveryEvidence {
    Receipt(ReceiptProof),
    Promise(PromiseProof),
}

/// Why a stream of a download ended before its trailer.
enum StreamEnd {
    /// May pass: go on at another endpoint.
    Status(Status),
    /// Will not pass.
    Error(ClientError),
}

impl From<ClientError> for StreamEnd {
    fn from(error: ClientError) -> StreamEnd {
        StreamEnd::Error(error)
    }
}

impl Client {
    /// Writes the bytes asked for to `sink`. On an error the sink may hold some of them.
    /// Without a level in the request, none is added: the record that goes first is the
    /// stronger barrier.
    ///
    /// ```no_run
    /// # use muniment_client::{Client, ClientError, v1};
    /// # async fn example(client: &Client, key: v1::InvoiceKey) -> Result<(), ClientError> {
    /// let mut bytes = Vec::new();
    /// let request = v1::DownloadRequest {
    ///     key: Some(key),
    ///     ..v1::DownloadRequest::default()
    /// };
    /// let downloaded = client.download(request, &mut bytes).await?;
    /// println!("{} bytes of SHA-256 {}", bytes.len(), downloaded.sha256);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn download(
        &self,
        mut request: v1::DownloadRequest,
        sink: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Downloaded, ClientError> {
        if request.read.is_some() {
            request.read = self.session.level(request.read);
        }
        let mut progress = Progress {
            asked: request,
            header: None,
            sha256: Digest::ZERO,
            written: 0,
            hasher: Hasher::new(),
            proofs: Vec::new(),
            promises: Vec::new(),
        };
        let mut attempts = self.reading().await;
        loop {
            let mut service = invoice_service(attempts.channel_for_stream());
            let opened = attempts.within(service.download(progress.rest())).await;
            let ended = match opened {
                Ok(response) => {
                    let mut stream = response.into_inner();
                    loop {
                        match self.step(&mut stream, &mut progress, &attempts, sink).await {
                            // Time without progress counts, not the time of the whole.
                            Ok(false) => attempts.progressed(),
                            Ok(true) => break None,
                            Err(why) => break Some(why),
                        }
                    }
                }
                Err(status) => Some(StreamEnd::Status(status)),
            };
            match ended {
                None => {
                    attempts.succeeded();
                    let flushed = sink.flush().await;
                    flushed.map_err(|e| ClientError::local("cannot write the bytes", e))?;
                    return progress.conclude();
                }
                Some(StreamEnd::Status(status)) => attempts.next(status).await?,
                Some(StreamEnd::Error(error)) => return Err(error),
            }
        }
    }

    /// Takes one message; true after the trailer.
    async fn step(
        &self,
        stream: &mut Streaming<v1::DownloadResponse>,
        progress: &mut Progress,
        attempts: &RetryLoop<'_>,
        sink: &mut (impl AsyncWrite + Unpin),
    ) -> Result<bool, StreamEnd> {
        let message = attempts.within(stream.message()).await;
        match message.map_err(StreamEnd::Status)?.and_then(|m| m.part) {
            Some(Part::Header(header)) => {
                self.learn(attempts, header.answered());
                let deferred = progress.asked.evidence() == v1::EvidenceMode::Deferred;
                progress.begin(header, |header, claim| {
                    if deferred {
                        let promise = header.promise.clone();
                        verify::promised(promise, self.trust(), claim)
                            .map(DeliveryEvidence::Promise)
                    } else {
                        let receipt = header.receipt.clone();
                        verify::claim(receipt, self.trust(), claim).map(DeliveryEvidence::Receipt)
                    }
                })?;
                Ok(false)
            }
            Some(Part::Chunk(chunk)) => {
                progress.take(&chunk)?;
                let written = sink.write_all(&chunk).await;
                written.map_err(|e| ClientError::local("cannot write the bytes", e))?;
                Ok(false)
            }
            Some(Part::Trailer(_)) => Ok(true),
            // Closed without a trailer: as good as a broken connection.
            None => Err(StreamEnd::Status(Status::unavailable(
                "the download ended without its trailer",
            ))),
        }
    }
}

impl Progress {
    /// What is still to be asked for. After the first answer the invoice is named by uid
    /// and the end by number, so that another endpoint goes on with the very same bytes.
    fn rest(&self) -> v1::DownloadRequest {
        let Some(header) = &self.header else {
            return self.asked.clone();
        };
        let uid = header.invoice.as_ref().map(|i| i.uid.clone());
        v1::DownloadRequest {
            key: Some(v1::InvoiceKey {
                key: uid.map(v1::invoice_key::Key::Uid),
            }),
            role: self.asked.role.clone(),
            start: header.start + self.written,
            end: header.end,
            read: None,
            evidence: self.asked.evidence,
        }
    }

    fn begin(
        &mut self,
        header: v1::DownloadHeader,
        verify: impl FnOnce(
            &v1::DownloadHeader,
            ReceiptClaim<'_>,
        ) -> Result<DeliveryEvidence, ClientError>,
    ) -> Result<(), ClientError> {
        let (Some(invoice), Some(rendition)) = (&header.invoice, &header.rendition) else {
            return Err(ClientError::lacks("the invoice or its rendition"));
        };
        let sha256: [u8; 32] = rendition.sha256[..]
            .try_into()
            .map_err(|_| ClientError::lacks("the SHA-256 of the rendition"))?;
        let sha256 = Digest(sha256);
        match &self.header {
            None => {
                let end_asked = match self.asked.end {
                    0 => rendition.length,
                    end => end,
                };
                // A range past the end may be cut, never moved.
                if header.start != self.asked.start
                    || header.end != end_asked.min(rendition.length)
                    || header.start > header.end
                {
                    return Err(ClientError::unproven(
                        "another range was released than asked for",
                    ));
                }
            }
            Some(first) => {
                let goes_on = sha256 == self.sha256
                    && header.start == first.start + self.written
                    && header.end == first.end;
                if !goes_on {
                    return Err(ClientError::unproven(
                        "the endpoint that goes on has other bytes than the first",
                    ));
                }
            }
        }
        let claim = ReceiptClaim::Released {
            uid: &invoice.uid,
            sha256: &sha256,
            start: header.start,
            end: header.end,
        };
        match verify(&header, claim)? {
            DeliveryEvidence::Receipt(proof) => self.proofs.push(proof),
            DeliveryEvidence::Promise(promise) => self.promises.push(promise),
        }
        match &mut self.header {
            None => {
                self.sha256 = sha256;
                self.header = Some(header);
            }
            Some(first) => first.body_from = header.body_from,
        }
        Ok(())
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), ClientError> {
        let header = self
            .header
            .as_ref()
            .ok_or_else(|| ClientError::unproven("bytes came before their evidence"))?;
        self.written += chunk.len() as u64;
        if self.written > header.end - header.start {
            return Err(ClientError::unproven("more bytes came than were released"));
        }
        self.hasher.update(chunk);
        Ok(())
    }

    fn conclude(self) -> Result<Downloaded, ClientError> {
        let header = self.header.ok_or_else(|| ClientError::lacks("a header"))?;
        let (invoice, rendition) = (
            header.invoice.unwrap_or_default(),
            header.rendition.unwrap_or_default(),
        );
        if self.written != header.end - header.start {
            return Err(ClientError::unproven("fewer bytes came than were released"));
        }
        let sha256 = self.hasher.finish();
        let whole = header.start == 0 && header.end == rendition.length;
        if whole && sha256 != self.sha256 {
            return Err(ClientError::unproven(format!(
                "the bytes hash to {sha256}, the rendition to {}",
                self.sha256
            )));
        }
        Ok(Downloaded {
            invoice,
            rendition,
            start: header.start,
            end: header.end,
            sha256,
            proofs: self.proofs,
            promises: self.promises,
            body_from: header.body_from,
            answered: header.answered.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use muniment_evidence::ids::RecordIndex;

    const BODY: &[u8] = b"0123456789";

    fn header(start: u64, end: u64) -> v1::DownloadHeader {
        v1::DownloadHeader {
            invoice: Some(v1::Invoice {
                uid: "u".into(),
                ..Default::default()
            }),
            rendition: Some(v1::Rendition {
                length: BODY.len() as u64,
                sha256: Bytes::copy_from_slice(&Digest::of(&[BODY]).0),
                ..Default::default()
            }),
            start,
            end,
            ..Default::default()
        }
    }

    fn proven(
        _: &v1::DownloadHeader,
        _: ReceiptClaim<'_>,
    ) -> Result<DeliveryEvidence, ClientError> {
        Ok(DeliveryEvidence::Receipt(ReceiptProof {
            receipt: Bytes::new(),
            record_index: RecordIndex::new(1),
            pinned: true,
        }))
    }

    fn asked(start: u64, end: u64) -> Progress {
        Progress {
            asked: v1::DownloadRequest {
                start,
                end,
                ..Default::default()
            },
            header: None,
            sha256: Digest::ZERO,
            written: 0,
            hasher: Hasher::new(),
            proofs: Vec::new(),
            promises: Vec::new(),
        }
    }

    #[test]
    fn a_download_goes_on_at_the_byte_reached() {
        let mut progress = asked(0, 0);
        progress.begin(header(0, 10), proven).unwrap();
        progress.take(&BODY[..4]).unwrap();
        let rest = progress.rest();
        assert_eq!((rest.start, rest.end), (4, 10));
        // Another endpoint must not begin elsewhere.
        assert!(progress.begin(header(3, 10), proven).is_err());
        progress.begin(header(4, 10), proven).unwrap();
        progress.take(&BODY[4..]).unwrap();
        let downloaded = progress.conclude().unwrap();
        assert_eq!(downloaded.sha256, Digest::of(&[BODY]));
        assert_eq!(downloaded.proofs.len(), 2);
    }

    #[test]
    fn other_bytes_too_many_and_too_few_are_unproven() {
        let mut other = asked(0, 0);
        other.begin(header(0, 10), proven).unwrap();
        other.take(b"012345678X").unwrap();
        assert!(matches!(other.conclude(), Err(ClientError::Unproven(_))));
        let mut many = asked(2, 4);
        many.begin(header(2, 4), proven).unwrap();
        assert!(many.take(&BODY[2..5]).is_err());
        let mut few = asked(2, 4);
        few.begin(header(2, 4), proven).unwrap();
        few.take(&BODY[2..3]).unwrap();
        assert!(few.conclude().is_err());
        assert!(asked(0, 0).take(BODY).is_err());
    }
}
