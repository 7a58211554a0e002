//! Files that commands read and write.
//!
//! Promises: a file that a command writes appears under its name only whole and checked;
//! what was there before stays until then. Leaves what goes in it to the command.

use crate::exit::CommandFailure;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

/// Where bytes go: a file, or something that has no name to be given later.
pub enum OutputTarget {
    /// Stdout, a pipe or a device.
    Stream(File),
    File {
        path: PathBuf,
        part: PathBuf,
        file: File,
    },
}

impl OutputTarget {
    /// `-` is stdout, and so is nothing, unless that is a terminal or taken by JSON.
    pub async fn open(path: Option<&Path>, json: bool) -> Result<OutputTarget, CommandFailure> {
        match path {
            Some(path) if path != Path::new("-") => OutputTarget::open_file(path).await,
            _ if json => Err(CommandFailure::usage(
                "with --json the bytes need a file: give -o FILE",
            )),
            None if std::io::stdout().is_terminal() => Err(CommandFailure::usage(
                "will not write bytes to a terminal: give -o FILE, or -o - to insist",
            )),
            _ => {
                let stdout = std::io::stdout().as_fd().try_clone_to_owned();
                let stdout = stdout.map_err(|e| CommandFailure::local("stdout", &e))?;
                let file = std::fs::File::from(stdout);
                Ok(OutputTarget::Stream(File::from_std(file)))
            }
        }
    }

    async fn open_file(path: &Path) -> Result<OutputTarget, CommandFailure> {
        let Some(name) = path.file_name() else {
            return Err(CommandFailure::usage(format!(
                "{} names no file",
                path.display()
            )));
        };
        let cannot = |e| CommandFailure::local(format!("cannot write {}", path.display()), &e);
        // Renaming over /dev/null would replace the device.
        if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            let file = File::options().write(true).open(path).await;
            return Ok(OutputTarget::Stream(file.map_err(cannot)?));
        }
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".part-{}", std::process::id()));
        let part = path.with_file_name(hidden);
        let file = File::create(&part).await.map_err(cannot)?;
        Ok(OutputTarget::File {
            path: path.to_owned(),
            part,
            file,
        })
    }

    pub fn sink(&mut self) -> &mut File {
        match self {
            OutputTarget::Stream(file) | OutputTarget::File { file, .. } => file,
        }
    }

    /// All bytes are there and right: the file gets its name.
    pub async fn keep(self) -> Result<(), CommandFailure> {
        // A write that failed is told by the next call, and by none after the last.
        let (path, part, mut file) = match self {
            OutputTarget::Stream(mut file) => {
                let flushed = file.flush().await;
                return flushed.map_err(|e| CommandFailure::local("cannot write the bytes", &e));
            }
            OutputTarget::File { path, part, file } => (path, part, file),
        };
        let kept = async {
            file.flush().await?;
            file.sync_all().await?;
            tokio::fs::rename(&part, &path).await
        };
        match kept.await {
            Ok(()) => Ok(()),
            Err(error) => {
                let what = format!("cannot write {}", path.display());
                // The first error is the one to tell.
                let _ = tokio::fs::remove_file(&part).await;
                Err(CommandFailure::local(what, &error))
            }
        }
    }

    /// The bytes are not to be relied on: nothing is left of them.
    pub async fn discard(self) {
        if let OutputTarget::File { part, .. } = self {
            // A leftover part is harmless, and the command fails anyway.
            let _ = tokio::fs::remove_file(&part).await;
        }
    }
}

/// Writes a small file whole.
pub async fn write(path: &Path, bytes: &[u8]) -> Result<(), CommandFailure> {
    let mut target = OutputTarget::open_file(path).await?;
    let written = async {
        target.sink().write_all(bytes).await?;
        target.sink().flush().await
    };
    match written.await {
        Ok(()) => target.keep().await,
        Err(error) => {
            target.discard().await;
            Err(CommandFailure::local(
                format!("cannot write {}", path.display()),
                &error,
            ))
        }
    }
}

/// The type that a file's name suggests.
pub fn media_type(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|e| e.to_str());
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("pdf") => "application/pdf",
        Some("xml") => "application/xml",
        Some("ofd") => "application/ofd",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

/// All files at or below a path, in the order of their names; hidden ones are left out.
pub fn below(path: &Path) -> Result<Vec<PathBuf>, CommandFailure> {
    let unreadable = |e| CommandFailure::local(format!("cannot read {}", path.display()), &e);
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            entries.push(entry.path());
        }
    }
    entries.sort();
    let mut files = Vec::new();
    for entry in entries {
        // A link to a directory could lead in a circle.
        let link = std::fs::symlink_metadata(&entry).map_err(unreadable)?;
        if !(link.is_symlink() && entry.is_dir()) {
            files.extend(below(&entry)?);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_discarded_file_leaves_what_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        write(&path, b"first").await.unwrap();
        let target = OutputTarget::open(Some(&path), true).await.unwrap();
        assert!(matches!(target, OutputTarget::File { .. }));
        target.discard().await;
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    /// Renaming a finished part over a device would replace it.
    #[tokio::test]
    async fn a_device_is_written_to_and_stays() {
        let target = OutputTarget::open(Some(Path::new("/dev/null")), true).await;
        let target = target.unwrap();
        assert!(matches!(target, OutputTarget::Stream(_)));
        target.keep().await.unwrap();
        assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn a_directory_gives_its_files_in_order_without_hidden_ones() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir(root.join("sub")).unwrap();
        for name in ["b.pdf", "a.pdf", ".hidden", "sub/c.pdf"] {
            std::fs::write(root.join(name), name).unwrap();
        }
        let names = ["a.pdf", "b.pdf", "sub/c.pdf"].map(|name| root.join(name));
        assert_eq!(below(root).unwrap(), names);
        assert_eq!(below(&root.join("a.pdf")).unwrap(), [root.join("a.pdf")]);
        assert!(below(&root.join("none")).is_err());
    }
}
