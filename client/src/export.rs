//! Exports: a bundle, written whole frame by whole frame.
//!
//! Promises: an export that breaks off goes on at another endpoint at the frame reached.
//! The same request gives the same frames up to the checkpoints, which may carry other
//! cosignatures by then; so those are written only together with the end, whose digest
//! then holds over all of it. Leaves all judgement to [`muniment_evidence::verify`].

use crate::services::evidence_service;
use crate::{Client, ClientError};
use muniment_evidence::bundle::{BundleParser, FRAME_BYTES_MAX, Frame, MAGIC};
use muniment_proto::v1;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tonic::Status;

/// Type and length of a frame.
const HEADER: usize = 5;
/// Types of frames.
const CHECKPOINT: u8 = 3;
const END: u8 = 0xff;

/// Bytes in pieces of any size in, whole frames out.
#[derive(Default)]
struct FrameSplitter {
    held: Vec<u8>,
    /// Frames given out.
    count: u64,
    /// `end` and `head` of the manifest, once it was seen.
    manifest: Option<(u64, u64)>,
}

impl FrameSplitter {
    /// Takes the next bytes; gives those of the frames that are whole now.
    fn take(&mut self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        self.held.extend_from_slice(bytes);
        let mut at = 0;
        loop {
            let magic = match (self.count, at) {
                (0, 0) => MAGIC.len(),
                _ => 0,
            };
            let Some(header) = self.held.get(at + magic..at + magic + HEADER) else {
                break;
            };
            let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
            if length > FRAME_BYTES_MAX {
                return Err(format!("a frame of {length} bytes is over the limit"));
            }
            let end = at + magic + HEADER + length;
            let kind = header[0];
            let Some(frame) = self.held.get(at..end) else {
                break;
            };
            if kind == CHECKPOINT && !self.ends_in(end) {
                break;
            }
            if self.count == 0 {
                self.manifest = Some(read_manifest(frame)?);
            }
            self.count += 1;
            at = end;
        }
        let rest = self.held.split_off(at);
        Ok(std::mem::replace(&mut self.held, rest))
    }

    /// Whether what is held goes on from `at` to the END frame, whole.
    fn ends_in(&self, mut at: usize) -> bool {
        while let Some(header) = self.held.get(at..at + HEADER) {
            let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
            at += HEADER + length;
            if header[0] == END {
                return at <= self.held.len();
            }
        }
        false
    }

    /// What is asked for after a break: the same bundle from the next frame on.
    fn rest(&self, asked: &v1::ExportRequest) -> v1::ExportRequest {
        let Some((end, head)) = self.manifest else {
            return asked.clone();
        };
        v1::ExportRequest {
            to_index: end,
            to_ms: None,
            head,
            skip_frames: self.count,
            ..asked.clone()
        }
    }
}

fn read_manifest(bytes: &[u8]) -> Result<(u64, u64), String> {
    let mut parser = BundleParser::new();
    parser.push(bytes);
    match parser.next() {
        Ok(Some(Frame::Manifest(manifest))) => Ok((manifest.end.get(), manifest.head.get())),
        Ok(_) => Err("the bundle does not begin with a manifest".to_owned()),
        Err(why) => Err(why.to_string()),
    }
}

impl Client {
    /// Writes a bundle to `sink`; gives its length.
    ///
    /// ```no_run
    /// # use muniment_client::{Client, v1};
    /// # async fn example(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut file = tokio::fs::File::create("all.bundle").await?;
    /// let bytes = client.export(v1::ExportRequest::default(), &mut file).await?;
    /// println!("{bytes} bytes for muniment-verify");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn export(
        &self,
        request: v1::ExportRequest,
        sink: &mut (impl AsyncWrite + Unpin),
    ) -> Result<u64, ClientError> {
        let mut attempts = self.reading().await;
        let (mut frames, mut written) = (FrameSplitter::default(), 0);
        loop {
            let mut service = evidence_service(attempts.channel_for_stream());
            let asked = frames.rest(&request);
            let opened = attempts.within(service.export(asked)).await;
            let status = match opened {
                Err(status) => status,
                Ok(response) => {
                    let mut stream = response.into_inner();
                    // A frame that broke off comes again whole.
                    frames.held.clear();
                    loop {
                        match attempts.within(stream.message()).await {
                            Ok(Some(piece)) => {
                                let whole = frames.take(&piece.bytes);
                                let whole = whole.map_err(ClientError::unproven)?;
                                let wrote = sink.write_all(&whole).await;
                                wrote.map_err(|e| {
                                    ClientError::local("cannot write the bundle", e)
                                })?;
                                written += whole.len() as u64;
                                attempts.progressed();
                            }
                            Ok(None) if frames.held.is_empty() => {
                                let flushed = sink.flush().await;
                                flushed.map_err(|e| {
                                    ClientError::local("cannot write the bundle", e)
                                })?;
                                attempts.succeeded();
                                return Ok(written);
                            }
                            Ok(None) => {
                                break Status::unavailable("the bundle ended within a frame");
                            }
                            Err(status) => break status,
                        }
                    }
                }
            };
            attempts.next(status).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muniment_evidence::bundle::{BundleWriter, CheckpointFrame, Manifest};
    use muniment_evidence::genesis::Genesis;
    use muniment_evidence::ids::{RecordIndex, TreeSize};

    #[test]
    fn frames_come_out_whole_and_the_rest_is_asked_for_by_their_number() {
        let manifest = Manifest {
            origin: "o/0".into(),
            ledger: Default::default(),
            first: RecordIndex::FIRST,
            end: TreeSize::new(7),
            head: TreeSize::new(9),
            selection: String::new(),
            peaks: Vec::new(),
            genesis: Genesis {
                record: vec![1; 298],
                opening: Vec::new(),
            },
        };
        let mut writer = BundleWriter::new();
        let mut bytes = writer.frame(&Frame::Manifest(manifest));
        let first = bytes.len();
        bytes.extend(writer.frame(&Frame::Checkpoint(CheckpointFrame {
            note: "n\n".into(),
            consistency: Vec::new(),
        })));
        let end = writer.finish();
        bytes.extend(&end);
        for piece in [1, 7, first, bytes.len()] {
            let mut frames = FrameSplitter::default();
            let mut out = Vec::new();
            for piece in bytes.chunks(piece) {
                out.extend(frames.take(piece).unwrap());
            }
            assert_eq!((out == bytes, frames.count), (true, 3));
        }
        let mut frames = FrameSplitter::default();
        assert_eq!(frames.take(&bytes[..first + 3]).unwrap(), bytes[..first]);
        // A checkpoint is not handed on before the end is there.
        let checkpoint_end = bytes.len() - end.len();
        assert!(
            frames
                .take(&bytes[first + 3..checkpoint_end])
                .unwrap()
                .is_empty()
        );
        let rest = frames.rest(&v1::ExportRequest::default());
        assert_eq!((rest.to_index, rest.head, rest.skip_frames), (7, 9, 1));
        assert!(FrameSplitter::default().take(&[0; 40]).is_err());
    }
}
