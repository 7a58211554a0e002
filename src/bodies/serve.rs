//! What a holder does for its peers: takes bodies, signs for them, gives them out.
//!
//! Promises: a holding is signed only after the body was hashed here and is durable
//! here; an upload without its end frame leaves nothing; a body that is held is never
//! written over. Leaves admission of uploads to the node that took them from the client.

use super::Bodies;
use super::writer::{BodyWriter, CHUNK_BYTES};
use crate::transport::{Failure, Frames};
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::digest::Digest;
use muniment_evidence::opening::How;
use std::time::Duration;

/// Without a frame for this long, an incoming body is given up.
const STALL_MAX: Duration = Duration::from_secs(30);
/// The largest body a holder takes from a peer: a bound against a broken peer; the
/// client-facing limit is configured and lower.
const BODY_BYTES_MAX: u64 = 1 << 30;

const PIECE: u8 = 1;
const END: u8 = 2;

/// The first frame of a body on its way to a holder.
pub struct Header {
    pub ledger: Digest,
    pub body_id: [u8; 16],
    pub epoch: u64,
}

impl Header {
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(1).digest(&self.ledger).raw(&self.body_id);
        w.u64(self.epoch);
        w.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Header, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.u8()? != 1 {
            return Err(r.error("body header version 1"));
        }
        let header = Header {
            ledger: r.digest()?,
            body_id: r.array()?,
            epoch: r.u64()?,
        };
        r.end()?;
        Ok(header)
    }
}

/// Puts the mark of a piece before its bytes.
pub fn encode_piece(piece: &[u8]) -> Bytes {
    Bytes::from([&[PIECE], piece].concat())
}

pub fn encode_end(length: u64, sha256: Option<&Digest>) -> Vec<u8> {
    let mut w = Writer::new();
    w.u8(END).u64(length).option(sha256, |w, d| {
        w.digest(d);
    });
    w.finish()
}

fn refused(why: impl ToString) -> Failure {
    Failure::Refused(why.to_string())
}

impl Bodies {
    /// Takes one body; answers with a signed holding.
    pub async fn serve_put(&self, mut frames: Frames) -> Result<Frames, Failure> {
        let header = Header::decode(&next(&mut frames).await?).map_err(refused)?;
        let head = self.group.applied();
        if header.ledger != head.ledger {
            return Err(refused("a body of another ledger"));
        }
        if header.epoch + 1 < head.upload_epoch {
            return Err(refused("an upload of an epoch that has passed"));
        }
        // What fails below is deleted: it must be this arrival's alone.
        let Some(_arrival) = self.arriving.enter(header.body_id) else {
            return Err(refused("the body is arriving already"));
        };
        let held = self.store.manifest(header.body_id).await.map_err(refused)?;
        if held.is_some() {
            return Err(refused("the body is held here already"));
        }
        let mut writer = BodyWriter::new(self.store.clone(), self.blocking, header.body_id);
        match receive(&mut writer, &mut frames).await {
            Ok(announced) => {
                let body = writer.seal(header.epoch).await.map_err(refused)?;
                if announced.is_some_and(|digest| digest != body.sha256) {
                    self.store.delete(body.id).await.map_err(refused)?;
                    return Err(refused("the bytes differ from their digest"));
                }
                let holding = self.sign(header.ledger, &body, header.epoch);
                let answer = Bytes::from(holding.encode());
                Ok(stream::iter([Ok(answer)]).boxed())
            }
            Err(failure) => {
                writer.abandon().await.map_err(refused)?;
                Err(failure)
            }
        }
    }

    /// Gives out a body that is held here: its digests, then the chunks from one on.
    pub async fn serve_get(&self, mut frames: Frames) -> Result<Frames, Failure> {
        let (body, first) = decode_request(&next(&mut frames).await?).map_err(refused)?;
        let manifest = self.own_manifest(body, None, How::Serve).await;
        let Some(manifest) = manifest.map_err(refused)? else {
            return Err(refused("the body is not held here"));
        };
        let mut w = Writer::new();
        w.list(&manifest.chunks, |w, (length, digest)| {
            w.u32(*length).digest(digest);
        });
        let head = stream::iter([Ok(Bytes::from(w.finish()))]);
        let this = self.clone();
        let chunks = manifest.chunks.into_iter().enumerate().skip(first as usize);
        let chunks = stream::iter(chunks).then(move |(number, (_, digest))| {
            let this = this.clone();
            async move {
                let number = number as u32;
                match this.own_chunk(body, number, digest, How::Serve).await {
                    Ok(Some(chunk)) => Ok(chunk),
                    Ok(None) => Err(refused("a chunk does not match its digest")),
                    Err(error) => Err(refused(error)),
                }
            }
        });
        Ok(head.chain(chunks).boxed())
    }
}

/// A request for a body, from one chunk on.
pub fn encode_request(body: [u8; 16], first_chunk: u32) -> Bytes {
    let mut w = Writer::new();
    w.u8(1).raw(&body).u32(first_chunk);
    Bytes::from(w.finish())
}

fn decode_request(bytes: &[u8]) -> Result<([u8; 16], u32), DecodeError> {
    let mut r = Reader::new(bytes);
    if r.u8()? != 1 {
        return Err(r.error("body request version 1"));
    }
    let request = (r.array()?, r.u32()?);
    r.end()?;
    Ok(request)
}

/// The chunk digests that a holder sends first.
pub fn decode_digests(bytes: &[u8]) -> Result<Vec<(u32, Digest)>, DecodeError> {
    let mut r = Reader::new(bytes);
    let digests = r.list(|r| Ok((r.u32()?, r.digest()?)))?;
    r.end()?;
    Ok(digests)
}

async fn next(frames: &mut Frames) -> Result<Bytes, Failure> {
    tokio::time::timeout(STALL_MAX, frames.next())
        .await
        .map_err(|_| Failure::Timeout)?
        .ok_or_else(|| refused("the sender ended early"))?
}

/// Takes pieces up to the end frame; the digest announced there, if any.
async fn receive(writer: &mut BodyWriter, frames: &mut Frames) -> Result<Option<Digest>, Failure> {
    loop {
        let frame = next(frames).await?;
        match frame.first() {
            Some(&PIECE) if frame.len() <= CHUNK_BYTES + 1 => {
                writer.push(&frame.slice(1..)).await.map_err(refused)?;
                if writer.length() > BODY_BYTES_MAX {
                    return Err(refused("the body is too long"));
                }
            }
            Some(&END) => {
                let mut r = Reader::new(&frame[1..]);
                let read = (|| Ok((r.u64()?, r.option(Reader::digest)?)))();
                let (length, announced) = read.map_err(|error: DecodeError| refused(error))?;
                if length != writer.length() {
                    return Err(refused("the body is shorter than announced"));
                }
                return Ok(announced);
            }
            _ => return Err(refused("an unknown body frame")),
        }
    }
}
