//! Bytes that are only compared: of a call whose request id is on record already.
//!
//! Promises: what such a call brings is hashed as it comes, and neither stored here nor sent
//! on: its record is there, or it is refused, and a body of its own would be nobody's until it
//! is collected. Leaves a call whose request id is new, or not applied here yet, to upload
//! and to apply.

use super::Parts;
use super::admission::UploadTurn;
use super::issue::{BodyDraft, UploadPieces};
use super::progress::moving;
use crate::domain::call_error::CallError;
use crate::domain::draft::bad;
use futures::StreamExt as _;
use muniment_evidence::digest::{Digest, Hasher};
use std::time::Duration;

/// The digest that the call says, or that of its bytes where something is on record under its
/// request id. `None`: the bytes are wanted, and untouched.
pub(super) async fn digest(
    parts: &Parts,
    (tenant, request_id): (&str, &str),
    body: &BodyDraft,
    pieces: &mut UploadPieces,
    turn: UploadTurn,
) -> Result<Option<Digest>, CallError> {
    if body.sha256.is_some() {
        return Ok(body.sha256);
    }
    let (tenant, request_id) = (tenant.to_owned(), request_id.to_owned());
    let read = parts
        .reads
        .read(move |tables| tables.request(&tenant, &request_id));
    if read.await?.is_none() {
        return Ok(None);
    }
    let _permit = parts.admission.upload(turn).await?;
    let idle = Duration::from_millis(parts.admission.limits.idle_timeout_ms);
    let pieces = std::mem::replace(pieces, futures::stream::empty().boxed());
    hashed(moving(pieces, idle), body.length).await.map(Some)
}

/// The digest of exactly so many bytes.
async fn hashed(mut pieces: UploadPieces, length: u64) -> Result<Digest, CallError> {
    let (mut hasher, mut came) = (Hasher::new(), 0);
    while came <= length {
        let Some(piece) = pieces.next().await else {
            break;
        };
        let piece = piece?;
        came += piece.len() as u64;
        hasher.update(&piece);
    }
    match came == length {
        true => Ok(hasher.finish()),
        false => Err(bad(
            "length",
            format!("{length} bytes were announced, others came"),
        )
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[tokio::test]
    async fn exactly_the_bytes_that_were_announced_are_compared() {
        let pieces = |parts: &[&'static [u8]]| -> UploadPieces {
            let parts: Vec<_> = parts.iter().map(|p| Ok(Bytes::from_static(p))).collect();
            futures::stream::iter(parts).boxed()
        };
        let whole = hashed(pieces(&[b"ab", b"c"]), 3).await;
        assert_eq!(whole, Ok(Digest::of(&[b"abc"])));
        assert_eq!(hashed(pieces(&[]), 0).await, Ok(Digest::of(&[])));
        for (length, what) in [(2, "more"), (4, "fewer")] {
            let refused = hashed(pieces(&[b"ab", b"c"]), length).await;
            assert!(matches!(refused, Err(CallError::Invalid(_))), "{what}");
        }
        // No more is taken than it needs to see that they are too many.
        let endless = futures::stream::repeat_with(|| Ok(Bytes::from_static(b"x"))).boxed();
        assert!(hashed(endless, 5).await.is_err());
    }
}
