//! The generated service clients, over a channel that adds what every request carries.
//!
//! Promises: each request has the caller's credentials and, where there is one, the time
//! that is left for it; messages are bounded by the protocol's limit. Leaves which endpoint
//! the channel leads to to `endpoints`.

use muniment_proto::v1::cluster_service_client::ClusterServiceClient;
use muniment_proto::v1::evidence_service_client::EvidenceServiceClient;
use muniment_proto::v1::invoice_service_client::InvoiceServiceClient;
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// The protocol's limit on one message, both ways.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A connection that adds the caller's credentials and the time left.
pub(crate) type AuthChannel = InterceptedService<Channel, AuthInterceptor>;

/// Adds to each request what every request carries.
#[derive(Clone)]
pub(crate) struct AuthInterceptor {
    pub(crate) token: Option<MetadataValue<Ascii>>,
    pub(crate) timeout: Option<Duration>,
}

impl Interceptor for AuthInterceptor {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.token {
            request
                .metadata_mut()
                .insert("authorization", token.clone());
        }
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        Ok(request)
    }
}

pub(crate) fn invoice_service(channel: AuthChannel) -> InvoiceServiceClient<AuthChannel> {
    InvoiceServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

pub(crate) fn evidence_service(channel: AuthChannel) -> EvidenceServiceClient<AuthChannel> {
    EvidenceServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

pub(crate) fn cluster_service(channel: AuthChannel) -> ClusterServiceClient<AuthChannel> {
    ClusterServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}
