//! The verbs on the cluster: one node's state, founding, leadership, keys, drills.
//!
//! Promises: what is asked of one node is asked of no other; the ledger is founded at the
//! first endpoint alone. Leaves changes of the members to `members`.

use crate::services::{AuthChannel, cluster_service, evidence_service};
use crate::{Client, ClientError};
use bytes::Bytes;
use muniment_proto::v1;
use std::time::Duration;
use tonic::{Response, Status};

impl Client {
    /// The ledger's keys, past and present.
    pub async fn keys(&self) -> Result<v1::GetKeysResponse, ClientError> {
        self.read(|channel| async move {
            cluster_service(channel)
                .get_keys(v1::GetKeysRequest {})
                .await
        })
        .await
    }

    /// Records a change of keys; the index of its record.
    pub async fn change_keys(&self, change: Vec<u8>) -> Result<u64, ClientError> {
        let change = Bytes::from(change);
        let reply = self
            .write(|channel| {
                let change = change.clone();
                let request = v1::ChangeKeysRequest { change };
                async move { cluster_service(channel).change_keys(request).await }
            })
            .await?;
        Ok(reply.record_index)
    }

    /// What one node says of itself; no other node is asked in its place.
    pub async fn status_of(
        &self,
        address: &str,
        timeout: Duration,
    ) -> Result<v1::StatusResponse, ClientError> {
        self.ask_one(address, timeout, |channel| async move {
            cluster_service(channel).status(v1::StatusRequest {}).await
        })
        .await
    }

    /// Has one node scrub its bodies now; false when it does so already.
    pub async fn scrub_of(&self, address: &str, timeout: Duration) -> Result<bool, ClientError> {
        let reply = self
            .ask_one(address, timeout, |channel| async move {
                cluster_service(channel).scrub(v1::ScrubRequest {}).await
            })
            .await?;
        Ok(reply.started)
    }

    /// One node's own checkpoint; no other node is asked in its place.
    pub async fn checkpoint_of(
        &self,
        address: &str,
        read: v1::ReadLevel,
        timeout: Duration,
    ) -> Result<v1::GetCheckpointResponse, ClientError> {
        let request = v1::GetCheckpointRequest {
            read: Some(read),
            cosigned: false,
        };
        self.ask_one(address, timeout, |channel| async move {
            evidence_service(channel).get_checkpoint(request).await
        })
        .await
    }

    async fn ask_one<T, Fut>(
        &self,
        address: &str,
        timeout: Duration,
        ask: impl FnOnce(AuthChannel) -> Fut,
    ) -> Result<T, ClientError>
    where
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let asked = ask(self.endpoints.channel_to(address, timeout)?);
        let result = match tokio::time::timeout(timeout, asked).await {
            Ok(result) => result,
            Err(_) => Err(Status::unavailable("no answer in time")),
        };
        match result {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(ClientError::from_status(&status, address)),
        }
    }

    /// Founds the ledger at the first endpoint: founding is never tried elsewhere, since
    /// two founders would make two ledgers. Gives the trust file.
    pub async fn init(&self, request: v1::InitRequest) -> Result<String, ClientError> {
        let address = self.endpoints.urls().swap_remove(0);
        let channel = self.endpoints.channel_to(&address, self.deadline)?;
        match cluster_service(channel).init(request).await {
            Ok(response) => Ok(response.into_inner().trust),
            Err(status) => Err(ClientError::from_status(&status, &address)),
        }
    }

    /// Hands leadership to a node; gives the leader after it.
    pub async fn transfer(&self, to: u64) -> Result<u64, ClientError> {
        let request = v1::TransferRequest { to };
        let reply = self
            .call(|channel| async move { cluster_service(channel).transfer(request).await })
            .await?;
        Ok(reply.leader)
    }

    /// Puts on record what a drill came to; the index of its record.
    pub async fn record_drill(&self, request: v1::RecordDrillRequest) -> Result<u64, ClientError> {
        let reply = self
            .call(|channel| {
                let request = request.clone();
                async move { cluster_service(channel).record_drill(request).await }
            })
            .await?;
        Ok(reply.record_index)
    }
}
