//! Where a body's bytes come from, and that the bytes that are sent are those measured.
//!
//! Promises: a source is read more than once, so only what can be is taken: bytes at hand,
//! or a regular file; a pipe, a device or a directory is refused before it is opened. What
//! is sent is compared with what was announced, and a file that changed in between ends as
//! a fault of the file, told by name. Leaves calls to [`crate::upload`].

use crate::ClientError;
use bytes::Bytes;
use muniment_evidence::digest::{Digest, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

/// Small enough that a server fans out while it still receives, large enough that the
/// frames around it do not count. The protocol's limit is 1 MiB.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;

/// Where the bytes come from. They are read more than once: to hash them, and again for
/// each attempt.
#[derive(Clone, Debug)]
pub enum BodySource {
    /// Bytes at hand. What can be read only once (a pipe, standard input) is read into these.
    Memory(Bytes),
    /// A regular file, read as it is sent, never held whole.
    File(PathBuf),
    /// A regular file that was measured before ([`BodySource::measured`]). It is not hashed
    /// again, and sent only if it still is what it was.
    Measured(PathBuf, Measure),
}

/// Length and digest of a source, as announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// In bytes.
    pub length: u64,
    /// Of all bytes.
    pub sha256: Digest,
}

impl BodySource {
    /// Reads the source once, unless it was measured before.
    pub async fn measure(&self) -> Result<Measure, ClientError> {
        if let BodySource::Measured(_, measure) = self {
            return Ok(*measure);
        }
        let mut reader = PieceReader::from(self);
        let (mut hasher, mut length) = (Hasher::new(), 0);
        loop {
            let chunk = reader.next().await.map_err(|e| self.unreadable(e))?;
            if chunk.is_empty() {
                let sha256 = hasher.finish();
                return Ok(Measure { length, sha256 });
            }
            hasher.update(&chunk);
            length += chunk.len() as u64;
        }
    }

    /// The same source, with its measure: whatever names the call by the bytes and whatever
    /// sends them then means the same ones.
    pub async fn measured(self) -> Result<(BodySource, Measure), ClientError> {
        let measure = self.measure().await?;
        let source = match self {
            BodySource::File(path) => BodySource::Measured(path, measure),
            known => known,
        };
        Ok((source, measure))
    }

    pub(crate) fn unreadable(&self, error: io::Error) -> ClientError {
        let what = match self {
            BodySource::Memory(_) => "cannot read from memory".to_owned(),
            BodySource::File(path) | BodySource::Measured(path, _) => {
                format!("cannot read {}", path.display())
            }
        };
        ClientError::local(what, error)
    }
}

/// Hands out chunks of what was announced; an empty one is the end. Ends in an error, never
/// in an empty chunk, if the bytes are others by now.
pub(crate) struct ChunkReader {
    pieces: PieceReader,
    announced: Measure,
    hasher: Option<Hasher>,
    length: u64,
}

impl ChunkReader {
    pub(crate) fn new(source: &BodySource, announced: Measure) -> ChunkReader {
        ChunkReader {
            pieces: PieceReader::from(source),
            announced,
            hasher: Some(Hasher::new()),
            length: 0,
        }
    }

    pub(crate) async fn next(&mut self) -> io::Result<Bytes> {
        let changed = || {
            let why = "it changed while it was being sent; nothing of it is stored";
            Err(io::Error::new(io::ErrorKind::InvalidData, why))
        };
        let chunk = self.pieces.next().await?;
        let Some(hasher) = &mut self.hasher else {
            return Ok(Bytes::new());
        };
        self.length += chunk.len() as u64;
        if self.length > self.announced.length {
            return changed();
        }
        if !chunk.is_empty() {
            hasher.update(&chunk);
            return Ok(chunk);
        }
        let sha256 = self.hasher.take().map(Hasher::finish);
        match self.length == self.announced.length && sha256 == Some(self.announced.sha256) {
            true => Ok(chunk),
            false => changed(),
        }
    }
}

/// Bytes in order, a chunk at a time, as they are now.
enum PieceReader {
    Memory(Bytes),
    Unopened(PathBuf),
    File(File),
}

impl From<&BodySource> for PieceReader {
    fn from(source: &BodySource) -> PieceReader {
        match source {
            BodySource::Memory(bytes) => PieceReader::Memory(bytes.clone()),
            BodySource::File(path) | BodySource::Measured(path, _) => {
                PieceReader::Unopened(path.clone())
            }
        }
    }
}

impl PieceReader {
    async fn next(&mut self) -> io::Result<Bytes> {
        if let PieceReader::Unopened(path) = self {
            *self = PieceReader::File(open(path).await?);
        }
        match self {
            PieceReader::Memory(bytes) => Ok(bytes.split_to(bytes.len().min(CHUNK_BYTES))),
            PieceReader::File(file) => {
                let mut chunk = Vec::with_capacity(CHUNK_BYTES);
                file.take(CHUNK_BYTES as u64)
                    .read_to_end(&mut chunk)
                    .await?;
                Ok(chunk.into())
            }
            PieceReader::Unopened(_) => unreachable!("opened above"),
        }
    }
}

/// Looked at before it is opened: opening a pipe waits for its writer, and what is read from
/// it is gone.
async fn open(path: &Path) -> io::Result<File> {
    if !tokio::fs::metadata(path).await?.is_file() {
        let why = "it is no regular file, so its bytes can be read only once or not at all";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    File::open(path).await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(mut reader: ChunkReader) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            let chunk = reader.next().await?;
            if chunk.is_empty() {
                return Ok(bytes);
            }
            bytes.extend_from_slice(&chunk);
        }
    }

    /// What can be read only once would be hashed whole and sent empty.
    #[tokio::test]
    async fn what_is_no_regular_file_is_refused_before_it_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        for path in [
            fifo.as_path(),
            directory.path(),
            Path::new("/dev/null"),
            Path::new("/dev/zero"),
            &directory.path().join("missing"),
        ] {
            let source = BodySource::File(path.to_owned());
            let error = source.measure().await.unwrap_err();
            assert!(matches!(error, ClientError::Local { .. }), "{error}");
            assert!(error.to_string().contains(path.to_str().unwrap()));
            let claimed = Measure {
                length: 0,
                sha256: Digest::of(&[b""]),
            };
            let measured = BodySource::Measured(path.to_owned(), claimed);
            let sent = all(ChunkReader::new(&measured, claimed)).await;
            assert!(sent.is_err(), "{}", path.display());
        }
    }

    /// Whatever happens to a file after it was hashed, its receipt is never for other bytes.
    #[tokio::test]
    async fn a_file_that_changes_after_it_was_measured_is_not_sent_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.pdf");
        let first = vec![7; CHUNK_BYTES + 5];
        let mut other = first.clone();
        other[CHUNK_BYTES + 1] = 8;
        let longer = [&first[..], b"x"].concat();
        let much_longer = [&first[..], &first[..]].concat();
        for (then, same) in [
            (&first[..], true),
            (&other[..], false),
            (&longer[..], false),
            (&much_longer[..], false),
            (&first[..9], false),
            (&[], false),
        ] {
            std::fs::write(&path, &first).unwrap();
            let (source, measure) = BodySource::File(path.clone()).measured().await.unwrap();
            std::fs::write(&path, then).unwrap();
            // Not read again: the call was named by the bytes of before.
            assert_eq!(source.measure().await.unwrap(), measure);
            let sent = all(ChunkReader::new(&source, measure)).await;
            assert_eq!(sent.is_ok(), same, "{} bytes then", then.len());
            if let Err(error) = sent {
                assert!(error.to_string().contains("changed"), "{error}");
            }
        }
    }
}
