//! Following the changes of a tenant's invoices.
//!
//! Promises: changes come in the order of the log, each once, whatever endpoint they come
//! from; a stream that breaks is opened again after the last change seen. Leaves proof to
//! receipts: a change is the server's word.

use crate::services::invoice_service;
use crate::{Client, ClientError};
use muniment_proto::v1;
use tonic::Streaming;

/// A subscription; dropping it ends it.
pub struct Watch<'a> {
    client: &'a Client,
    tenant: String,
    /// The first record index not seen yet.
    next_index: u64,
    stream: Option<Streaming<v1::WatchResponse>>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(client: &'a Client, tenant: &str, from_index: u64) -> Watch<'a> {
        Watch {
            client,
            tenant: tenant.to_owned(),
            next_index: from_index,
            stream: None,
        }
    }

    /// Waits for the next change, however long; the deadline bounds only the time in which
    /// no endpoint can be reached.
    pub async fn next(&mut self) -> Result<v1::WatchResponse, ClientError> {
        let mut attempts = self.client.reading().await;
        let mut broke = false;
        loop {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                None => {
                    let request = v1::WatchRequest {
                        tenant: self.tenant.clone(),
                        from_index: self.next_index,
                    };
                    let mut service = invoice_service(attempts.channel_for_stream());
                    match attempts.within(service.watch(request)).await {
                        Ok(response) => {
                            attempts.succeeded();
                            self.stream.insert(response.into_inner())
                        }
                        Err(status) => {
                            attempts.next(status).await?;
                            continue;
                        }
                    }
                }
            };
            let status = match stream.message().await {
                Ok(Some(change)) if change.index < self.next_index => {
                    return Err(ClientError::unproven("a change came twice or out of order"));
                }
                Ok(Some(change)) => {
                    self.next_index = change.index + 1;
                    return Ok(change);
                }
                Ok(None) => tonic::Status::unavailable("the server ended the watch"),
                Err(status) => status,
            };
            self.stream = None;
            // The stream may have been silent for longer than the deadline, and rightly so;
            // streams that break one after the other have to share one deadline.
            if !broke {
                attempts.progressed();
                broke = true;
            }
            attempts.next(status).await?;
        }
    }
}
