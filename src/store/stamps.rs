//! Stamps: which bodies came here, in which upload epoch, until a record names them.
//!
//! Promises: a stamp is written together with the first bytes of its body that are
//! written, and goes with the last, so that what a crash left of an upload is found by
//! its stamp, with or without a manifest. Leaves what becomes of a body to
//! [`crate::bodies::orphans`].

use super::StoreError;
use super::bodies::{BodyStore, chunk_prefix, read_manifest};
use super::engine::{Batch, prefix_end};
use crate::domain::ids::{BodyId, UploadEpoch};
use bytes::Bytes;

/// Chunks of an unsealed body that are read at a time to learn their length.
const CHUNKS_AT_ONCE: usize = 4;

const PREFIX: u8 = b'e';

pub(super) fn put(batch: &mut Batch, body: &BodyId, epoch: UploadEpoch) {
    batch.put(key(body), epoch.get().to_be_bytes());
}

pub(super) fn delete(batch: &mut Batch, body: &BodyId) {
    batch.delete(key(body));
}

fn key(body: &BodyId) -> Vec<u8> {
    [&[PREFIX], &body.as_bytes()[..]].concat()
}

/// The smallest key after that of a body.
fn after(body: &BodyId) -> Vec<u8> {
    [&[PREFIX], &body.as_bytes()[..], &[0]].concat()
}

impl BodyStore {
    /// Writes the first chunk of a body with its stamp, not yet durable.
    pub async fn put_first_chunk(
        &self,
        body: BodyId,
        bytes: Bytes,
        epoch: UploadEpoch,
    ) -> Result<(), StoreError> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let mut batch = Batch::new();
                put(&mut batch, &body, epoch);
                batch.put(super::bodies::chunk_key(&body, 0), bytes);
                engine.write(batch)
            })
            .await
    }

    /// Up to `limit` stamps in the order of their bodies, from the one after `last` on.
    pub async fn stamps(
        &self,
        last: Option<BodyId>,
        limit: usize,
    ) -> Result<Vec<(BodyId, UploadEpoch)>, StoreError> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let start = last.map_or_else(|| vec![PREFIX], |body| after(&body));
                let found = engine.scan(&start, &prefix_end(&[PREFIX]), limit)?;
                let read = found.into_iter().map(|(key, value)| {
                    let damaged = |_| StoreError::corrupt("the stamp of a body");
                    let body = key[1..].try_into().map(BodyId::new).map_err(damaged)?;
                    let epoch: [u8; 8] = value[..].try_into().map_err(damaged)?;
                    Ok((body, UploadEpoch::new(u64::from_be_bytes(epoch))))
                });
                read.collect()
            })
            .await
    }

    /// Removes stamps alone: records name these bodies.
    pub async fn unstamp(&self, bodies: Vec<BodyId>) -> Result<(), StoreError> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                let mut batch = Batch::new();
                for body in &bodies {
                    delete(&mut batch, body);
                }
                engine.write(batch)
            })
            .await
    }

    /// Bytes that are stored of a body, whole or not.
    pub async fn extent(&self, body: BodyId) -> Result<u64, StoreError> {
        let engine = self.engine.clone();
        self.blocking
            .run(move || {
                if let Some(manifest) = read_manifest(engine.as_ref(), &body)? {
                    return Ok(manifest.length);
                }
                let mut start = chunk_prefix(&body);
                let (end, mut bytes) = (prefix_end(&start), 0);
                loop {
                    let chunks = engine.scan(&start, &end, CHUNKS_AT_ONCE)?;
                    let Some((last, _)) = chunks.last() else {
                        return Ok(bytes);
                    };
                    start = [&last[..], &[0]].concat();
                    bytes += chunks.iter().map(|(_, c)| c.len() as u64).sum::<u64>();
                }
            })
            .await
    }
}
