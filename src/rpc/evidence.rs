//! Handlers of EvidenceService.

use super::status::status;
use super::{incoming, outgoing};
use crate::domain::ids::{RecordIndex, TreeSize};
use crate::service::checkpoints::{self, CheckpointsWanted};
use crate::service::policy::PolicyWanted;
use crate::service::prove::{self, ReceiptOf};
use crate::service::{Parts, export, policy, records};
use futures::stream::{BoxStream, StreamExt as _};
use muniment_proto::v1;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// See the module.
pub struct EvidenceHandler(pub Arc<Parts>);

type Answer<T> = Result<Response<T>, Status>;

/// Records of an answer when nothing is said.
const PAGE_DEFAULT: usize = 100;

#[tonic::async_trait]
impl v1::evidence_service_server::EvidenceService for EvidenceHandler {
    async fn get_checkpoint(
        &self,
        request: Request<v1::GetCheckpointRequest>,
    ) -> Answer<v1::GetCheckpointResponse> {
        let request = request.into_inner();
        let called = async {
            if request.cosigned {
                return prove::cosigned(&self.0).await;
            }
            let level = incoming::read_level(request.read)?;
            prove::checkpoint(&self.0, level).await
        };
        let (note, answered) = called.await.map_err(status)?;
        Ok(Response::new(v1::GetCheckpointResponse {
            note,
            answered: Some(outgoing::answered(answered)),
        }))
    }

    async fn get_receipt(
        &self,
        request: Request<v1::GetReceiptRequest>,
    ) -> Answer<v1::GetReceiptResponse> {
        use v1::get_receipt_request::What;
        let called = async {
            let mut request = request.into_inner();
            let terms = incoming::terms(&request)?;
            let wanted = match request.what.take() {
                Some(What::RecordIndex(index)) => ReceiptOf::Record(RecordIndex::new(index)),
                Some(What::Invoice(key)) => {
                    ReceiptOf::Invoice(incoming::key("invoice", Some(key))?)
                }
                None => {
                    let why = "a record index or an invoice is required";
                    return Err(crate::domain::draft::bad("what", why).into());
                }
            };
            prove::get_receipt(&self.0, wanted, terms).await
        };
        let (index, receipt, answered) = called.await.map_err(status)?;
        Ok(Response::new(v1::GetReceiptResponse {
            receipt: Some(outgoing::receipt(&receipt)),
            record_index: index.get(),
            answered: Some(outgoing::answered(answered)),
        }))
    }

    async fn list_records(
        &self,
        request: Request<v1::ListRecordsRequest>,
    ) -> Answer<v1::ListRecordsResponse> {
        let request = request.into_inner();
        let count = match request.page_size as usize {
            0 => PAGE_DEFAULT,
            count => count,
        };
        let called = async {
            let filter = incoming::record_filter(request)?;
            records::list(&self.0.reads, &self.0.tenants, filter, count).await
        };
        let page = called.await.map_err(status)?;
        Ok(Response::new(v1::ListRecordsResponse {
            records: page.records.into_iter().map(outgoing::record).collect(),
            log_size: page.answered.log_size.get(),
            next_index: page.next.get(),
            answered: Some(outgoing::answered(page.answered)),
        }))
    }

    async fn get_consistency_proof(
        &self,
        request: Request<v1::GetConsistencyProofRequest>,
    ) -> Answer<v1::GetConsistencyProofResponse> {
        let request = request.into_inner();
        let (old, new) = (request.old_size, request.new_size);
        let called = prove::consistency(
            &self.0.reads,
            &self.0.writes,
            TreeSize::new(old),
            TreeSize::new(new),
        )
        .await;
        let (new_size, hashes, answered) = called.map_err(status)?;
        Ok(Response::new(v1::GetConsistencyProofResponse {
            hashes: hashes.iter().map(outgoing::digest).collect(),
            answered: Some(outgoing::answered(answered)),
            new_size: new_size.get(),
        }))
    }

    async fn get_policy(
        &self,
        request: Request<v1::GetPolicyRequest>,
    ) -> Answer<v1::GetPolicyResponse> {
        let request = request.into_inner();
        let wanted = PolicyWanted {
            zones: request.zones,
            post_quantum: request.post_quantum,
        };
        let Parts {
            reads,
            writes,
            keys,
            cosigning,
            ..
        } = &*self.0;
        let called = policy::policy(reads, writes, keys, cosigning, wanted).await;
        let (policy, answered) = called.map_err(status)?;
        Ok(Response::new(v1::GetPolicyResponse {
            policy: policy.to_string(),
            answered: Some(outgoing::answered(answered)),
        }))
    }

    type WatchCheckpointsStream = BoxStream<'static, Result<v1::WatchCheckpointsResponse, Status>>;

    async fn watch_checkpoints(
        &self,
        request: Request<v1::WatchCheckpointsRequest>,
    ) -> Answer<Self::WatchCheckpointsStream> {
        let request = request.into_inner();
        let wanted = CheckpointsWanted {
            above_size: TreeSize::new(request.above_size),
            every: (request.every_ms > 0)
                .then(|| Duration::from_millis(u64::from(request.every_ms))),
            cosigned: request.cosigned,
        };
        let notes = checkpoints::watch(self.0.clone(), wanted).map_err(status)?;
        let notes = notes.map(|note| match note {
            Ok((size, note)) => Ok(v1::WatchCheckpointsResponse {
                note,
                size: size.get(),
            }),
            Err(error) => Err(status(error)),
        });
        Ok(Response::new(notes.boxed()))
    }

    type ExportStream = BoxStream<'static, Result<v1::ExportResponse, Status>>;

    async fn export(&self, request: Request<v1::ExportRequest>) -> Answer<Self::ExportStream> {
        let request = request.into_inner();
        let wanted = incoming::export(request);
        let pieces = export::export(&self.0, wanted).await;
        let pieces = pieces.map_err(status)?.map(|piece| match piece {
            Ok(bytes) => Ok(v1::ExportResponse { bytes }),
            Err(error) => Err(status(error)),
        });
        Ok(Response::new(pieces.boxed()))
    }

    async fn get_trust(
        &self,
        _request: Request<v1::GetTrustRequest>,
    ) -> Answer<v1::GetTrustResponse> {
        let trust = prove::trust(&self.0.writes).map_err(status)?;
        Ok(Response::new(v1::GetTrustResponse {
            trust: trust.to_string(),
        }))
    }
}
