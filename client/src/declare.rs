//! What an operator declares of the whole ledger.
//!
//! Promises that what was drafted is recorded as it is signed. Leaves signing to the caller, who
//! has the key.

use crate::services::cluster_service;
use crate::{Client, ClientError};
use bytes::Bytes;
use muniment_proto::v1;
pub use muniment_proto::v1::draft_declaration_request::Declaration;

impl Client {
    /// What has to be signed before it is declared.
    pub async fn draft_declaration(
        &self,
        declaration: Declaration,
    ) -> Result<v1::DraftOrderResponse, ClientError> {
        self.call(|channel| {
            let declaration = Some(declaration.clone());
            let request = v1::DraftDeclarationRequest { declaration };
            async move { cluster_service(channel).draft_declaration(request).await }
        })
        .await
    }

    /// Declares it: the drafted document with an operator's signature, or without where none
    /// is needed. The index of its record.
    pub async fn declare(&self, document: Vec<u8>) -> Result<u64, ClientError> {
        let document = Bytes::from(document);
        let answer = self.call(|channel| {
            let document = document.clone();
            let request = v1::DeclareRequest { document };
            async move { cluster_service(channel).declare(request).await }
        });
        Ok(answer.await?.record_index)
    }
}
