//! The document that a command is given: any input, read once, before anything is sent.
//!
//! Promises: a regular file is hashed once and sent only if it still is what was hashed; a
//! pipe or device is read whole into memory, up to a named limit; a directory, and a document
//! without bytes, are refused before anything is sent. Leaves sending to the client.

use crate::exit::CommandFailure;
use muniment_client::{BodySource, Measure};
use std::path::Path;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

/// What a pipe may bring: held in memory, since it cannot be read again, and as much as a
/// node takes unless it is configured otherwise (`limits.body_bytes`).
pub const PIPED_BYTES_MAX: u64 = 64 << 20;

/// The flag of commands that put a document on record for ever.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct EmptyDocuments {
    /// Take a document of 0 bytes too; it is refused otherwise
    #[arg(long)]
    allow_empty: bool,
}

/// A document that is to be stored.
pub async fn document(
    path: &Path,
    empty: EmptyDocuments,
) -> Result<(BodySource, Measure), CommandFailure> {
    let (source, measure) = read(path).await?;
    if measure.length == 0 && !empty.allow_empty {
        let why = format!(
            "{} has no bytes, and what is issued stays for ever; nothing was sent (give \
             --allow-empty if that is what you mean)",
            path.display()
        );
        return Err(CommandFailure::invalid(why));
    }
    Ok((source, measure))
}

/// A document that is only hashed, or hashed and sent.
pub async fn read(path: &Path) -> Result<(BodySource, Measure), CommandFailure> {
    let cannot = |e| CommandFailure::local(format!("cannot read {}", path.display()), &e);
    let metadata = tokio::fs::metadata(path).await.map_err(cannot)?;
    if metadata.is_dir() {
        let why = format!("{} is a directory, not a document", path.display());
        return Err(CommandFailure::invalid(why));
    }
    if metadata.is_file() {
        return Ok(BodySource::File(path.to_owned()).measured().await?);
    }
    let mut bytes = Vec::new();
    let piped = File::open(path).await.map_err(cannot)?;
    let mut piped = piped.take(PIPED_BYTES_MAX + 1);
    piped.read_to_end(&mut bytes).await.map_err(cannot)?;
    if bytes.len() as u64 > PIPED_BYTES_MAX {
        let why = format!(
            "{} brings more than {} MiB, which is too much for what can be read only once; \
             nothing was sent: write it to a file first",
            path.display(),
            PIPED_BYTES_MAX >> 20
        );
        return Err(CommandFailure::invalid(why));
    }
    Ok(BodySource::Memory(bytes.into()).measured().await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use muniment_evidence::digest::Digest;
    use std::path::PathBuf;

    fn fifo(directory: &Path) -> PathBuf {
        let path = directory.join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        path
    }

    /// Whatever the input is: stored whole, hashed once, or refused before anything is sent.
    #[tokio::test(flavor = "multi_thread")]
    async fn every_input_is_taken_whole_or_refused() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let body = vec![7_u8; 300_000];
        let file = root.join("a.pdf");
        std::fs::write(&file, &body).unwrap();
        let pipe = fifo(root);
        let writer = std::thread::spawn({
            let (pipe, body) = (pipe.clone(), body.clone());
            move || std::fs::write(pipe, body).unwrap()
        });
        for path in [&file, &pipe] {
            let (source, measure) = document(path, EmptyDocuments::default()).await.unwrap();
            assert_eq!(measure.length, 300_000, "{}", path.display());
            assert_eq!(measure.sha256, Digest::of(&[&body]));
            // Asked again, as the client does, it says the same: it is not read again.
            assert_eq!(source.measure().await.unwrap(), measure);
        }
        writer.join().unwrap();

        std::fs::write(root.join("empty"), "").unwrap();
        for (path, exit) in [
            (root.to_owned(), Exit::Invalid),
            ("/dev/null".into(), Exit::Invalid),
            ("/dev/zero".into(), Exit::Invalid),
            (root.join("empty"), Exit::Invalid),
            (root.join("missing"), Exit::Other),
            (file.join("below-a-file"), Exit::Other),
        ] {
            let refused = document(&path, EmptyDocuments::default())
                .await
                .unwrap_err();
            assert_eq!(refused.exit, exit, "{}", path.display());
            assert!(refused.message().contains(path.to_str().unwrap()));
        }
        let allowed = EmptyDocuments { allow_empty: true };
        for path in [Path::new("/dev/null"), &root.join("empty")] {
            let (_, measure) = document(path, allowed).await.unwrap();
            assert_eq!(measure.length, 0);
        }
    }
}
