//! The verbs on evidence: checkpoints, receipts, records, proofs, policy and trust file.
//!
//! Promises: a receipt is handed on only verified, and only of the record asked for. All
//! else is the server's word, said beside each verb. Leaves bundles to `export`.

use crate::services::evidence_service;
use crate::{Client, ClientError, verify};
use muniment_evidence::ids::{RecordIndex, TreeSize};
use muniment_evidence::policy::Policy;
use muniment_evidence::report::Report;
use muniment_proto::v1;

impl Client {
    /// The newest checkpoint as the server gives it: whose it is, the verifier tells.
    pub async fn checkpoint(
        &self,
        read: Option<v1::ReadLevel>,
        cosigned: bool,
    ) -> Result<v1::GetCheckpointResponse, ClientError> {
        let read = self.session.level(read);
        let request = v1::GetCheckpointRequest { read, cosigned };
        self.read(|channel| {
            let request = request.clone();
            async move { evidence_service(channel).get_checkpoint(request).await }
        })
        .await
    }

    /// The receipt of a record, verified, with what the verifier found.
    ///
    /// ```no_run
    /// # use muniment_client::{Client, ClientError, v1};
    /// # async fn example(client: &Client) -> Result<(), ClientError> {
    /// let request = v1::GetReceiptRequest {
    ///     what: Some(v1::get_receipt_request::What::RecordIndex(17)),
    ///     ..v1::GetReceiptRequest::default()
    /// };
    /// let (reply, report) = client.receipt(request).await?;
    /// println!("record {}: {:?}", reply.record_index, report.verdict());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn receipt(
        &self,
        request: v1::GetReceiptRequest,
    ) -> Result<(v1::GetReceiptResponse, Report), ClientError> {
        let policy = match request.policy.as_str() {
            "" => None,
            text => Some(Policy::parse(text).map_err(ClientError::Policy)?),
        };
        let reply = self
            .read(|channel| {
                let request = request.clone();
                async move { evidence_service(channel).get_receipt(request).await }
            })
            .await?;
        let receipt = reply.receipt.as_ref();
        let receipt = receipt.ok_or_else(|| ClientError::lacks("the receipt"))?;
        let report = verify::any(&receipt.bytes, self.trust(), policy.as_ref())?;
        let index = report.record.as_ref().map(|opened| opened.record.index);
        let asked = match &request.what {
            Some(v1::get_receipt_request::What::RecordIndex(asked)) => *asked,
            _ => reply.record_index,
        };
        if index != Some(RecordIndex::new(asked)) {
            let why = "the receipt is valid, but of another record";
            return Err(ClientError::unproven(why));
        }
        Ok((reply, report))
    }

    /// Records in order, as the server gives them: a bundle proves them, a list does not.
    pub async fn records(
        &self,
        request: v1::ListRecordsRequest,
    ) -> Result<v1::ListRecordsResponse, ClientError> {
        self.read(|channel| {
            let request = request.clone();
            async move { evidence_service(channel).list_records(request).await }
        })
        .await
    }

    /// A policy over the members' cosignatures. Worth no more than the server that gave it.
    pub async fn policy(&self, zones: u32, post_quantum: bool) -> Result<String, ClientError> {
        let reply = self
            .read(|channel| async move {
                let request = v1::GetPolicyRequest {
                    zones,
                    post_quantum,
                };
                evidence_service(channel).get_policy(request).await
            })
            .await?;
        Ok(reply.policy)
    }

    /// The hashes that prove one tree to be a prefix of another (0: of the newest).
    pub async fn consistency(
        &self,
        old_size: TreeSize,
        new_size: TreeSize,
    ) -> Result<v1::GetConsistencyProofResponse, ClientError> {
        let request = v1::GetConsistencyProofRequest {
            old_size: old_size.get(),
            new_size: new_size.get(),
        };
        self.read(|channel| async move {
            evidence_service(channel)
                .get_consistency_proof(request)
                .await
        })
        .await
    }

    /// The trust file's text. Worth no more than the server that gave it.
    pub async fn trust_file(&self) -> Result<String, ClientError> {
        let reply = self
            .call(|channel| async move {
                let request = v1::GetTrustRequest {};
                evidence_service(channel).get_trust(request).await
            })
            .await?;
        Ok(reply.trust)
    }
}
