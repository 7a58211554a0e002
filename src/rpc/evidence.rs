//! Handlers of EvidenceService.

use super::invoices::principal;
use super::status::status;
use crate::service::{Core, export, prove};
use crate::wire::{incoming, outgoing, v1};
use futures::stream::{BoxStream, StreamExt as _};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// See the module.
pub struct Evidence(pub Arc<Core>);

type Answer<T> = Result<Response<T>, Status>;

/// Records of an answer when nothing is said.
const PAGE_DEFAULT: usize = 100;

#[tonic::async_trait]
impl v1::evidence_service_server::EvidenceService for Evidence {
    async fn get_checkpoint(
        &self,
        request: Request<v1::GetCheckpointRequest>,
    ) -> Answer<v1::GetCheckpointResponse> {
        let principal = principal(&request);
        let level = incoming::read_level(request.into_inner().read);
        let called = prove::checkpoint(&self.0, &principal, level).await;
        let (note, answered) = called.map_err(status)?;
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
        let principal = principal(&request);
        let called = async {
            let wanted = match request.into_inner().what {
                Some(What::RecordIndex(index)) => prove::Wanted::Record(index),
                Some(What::Invoice(key)) => {
                    prove::Wanted::Invoice(incoming::key("invoice", Some(key))?)
                }
                None => {
                    let why = "a record index or an invoice is required";
                    return Err(crate::domain::draft::bad("what", why).into());
                }
            };
            prove::get_receipt(&self.0, &principal, wanted).await
        };
        let (index, receipt, answered) = called.await.map_err(status)?;
        Ok(Response::new(v1::GetReceiptResponse {
            receipt: Some(outgoing::receipt(&receipt)),
            record_index: index,
            answered: Some(outgoing::answered(answered)),
        }))
    }

    async fn list_records(
        &self,
        request: Request<v1::ListRecordsRequest>,
    ) -> Answer<v1::ListRecordsResponse> {
        let principal = principal(&request);
        let request = request.into_inner();
        let count = match request.page_size as usize {
            0 => PAGE_DEFAULT,
            count => count,
        };
        let called = prove::records(&self.0, &principal, request.from_index, count).await;
        let (records, answered) = called.map_err(status)?;
        Ok(Response::new(v1::ListRecordsResponse {
            records: records.into_iter().map(outgoing::record).collect(),
            log_size: answered.log_size,
            answered: Some(outgoing::answered(answered)),
        }))
    }

    type ExportStream = BoxStream<'static, Result<v1::ExportResponse, Status>>;

    async fn export(&self, request: Request<v1::ExportRequest>) -> Answer<Self::ExportStream> {
        let principal = principal(&request);
        let request = request.into_inner();
        let wanted = export::Wanted {
            from: request.from_index,
            to: request.to_index,
            ..export::Wanted::default()
        };
        let pieces = export::export(self.0.clone(), &principal, wanted).await;
        let pieces = pieces.map_err(status)?.map(|piece| match piece {
            Ok(bytes) => Ok(v1::ExportResponse { bytes }),
            Err(error) => Err(status(error)),
        });
        Ok(Response::new(pieces.boxed()))
    }

    async fn get_trust(
        &self,
        request: Request<v1::GetTrustRequest>,
    ) -> Answer<v1::GetTrustResponse> {
        let trust = prove::trust(&self.0, &principal(&request)).map_err(status)?;
        Ok(Response::new(v1::GetTrustResponse {
            trust: trust.to_string(),
        }))
    }
}
