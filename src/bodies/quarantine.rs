//! Reading what is held here, with damage taken for what it is.
//!
//! Promises: nothing comes out that does not match its digest; what does not is set aside
//! durably, noted for the evidence log and handed to [`super::repair`] before the reader
//! goes on, so that the next reader does not meet it again. Damage is one body's matter, also
//! where the disk does not give the bytes back: writes and syncs that fail stop the node, and a
//! disk under which body after body goes bad is given up. Leaves serving the reader meanwhile
//! to [`super::fetch`].

use super::{Bodies, BodyError};
use crate::domain::ids::BodyId;
use crate::objective::disk::BAD_BODIES_MAX;
use crate::store;
use crate::store::bodies::{BodyManifest, Content};
use crate::store::damage::{Chunk, Suspect};
use bytes::Bytes;
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::{DamageKind, How};

impl Bodies {
    /// One chunk of a body that is held here; `None` when it is damaged.
    pub(super) async fn own_chunk(
        &self,
        body: BodyId,
        number: u32,
        digest: Digest,
        how: How,
    ) -> Result<Option<Bytes>, BodyError> {
        match self.store.chunk(body, number, digest).await? {
            Chunk::Good(bytes) => Ok(Some(bytes)),
            Chunk::Bad(_) => {
                let suspect = Suspect::Chunk(number, digest);
                self.quarantine(body, suspect, how).await?;
                Ok(None)
            }
        }
    }

    /// The manifest of a body, if there is one that can be read and is of what the body is
    /// named to be.
    pub(super) async fn own_manifest(
        &self,
        body: BodyId,
        named: Option<Content>,
        how: How,
    ) -> Result<Option<BodyManifest>, BodyError> {
        match self.store.manifest(body).await {
            Ok(None) => return Ok(None),
            Ok(Some(m)) if named.is_none_or(|named| named == (m.length, m.sha256)) => {
                return Ok(Some(m));
            }
            Ok(Some(_)) | Err(store::StoreError::Unreadable(_)) => {}
            Err(error) => return Err(error.into()),
        }
        self.quarantine(body, Suspect::Manifest(named), how).await?;
        Ok(None)
    }

    /// Sets aside what a second look finds damaged too, and has it repaired.
    pub(super) async fn quarantine(
        &self,
        body: BodyId,
        suspect: Suspect,
        how: How,
    ) -> Result<(), BodyError> {
        let Some(finding) = self.store.quarantine(body, suspect, how).await? else {
            // Known already, or mended meanwhile.
            return Ok(());
        };
        let name = uuid::Uuid::from_bytes(body.get());
        tracing::error!(
            body = %name, chunk = ?finding.chunk, found = finding.found.name(), how = how.name(),
            "a body is damaged here, and is repaired from another holder"
        );
        self.repairs.quarantined(body);
        // What is not there was taken away; what is there and bad, the disk has lost.
        let lost = finding.found != DamageKind::Missing;
        if lost && self.decay.lock().note(self.clock.monotonic(), body) {
            self.stop.broken(format!(
                "{BAD_BODIES_MAX} bodies were found bad on this disk within an hour: it is given \
                 up; replace this node"
            ));
        }
        Ok(())
    }
}
