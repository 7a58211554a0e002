//! Reading the files that are named, and showing how far it is.
//!
//! Promises: nothing is read beyond its limit, `-` is standard input, progress goes to a
//! terminal's standard error alone. Leaves what the bytes mean to the library.

use crate::arguments::{EarlyExit, UNREADABLE_CODE};
use muniment_evidence::digest::{Digest, Hasher};
use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write as _};

/// Read at a time.
const PIECE_BYTES: usize = 1024 * 1024;

/// All of a file up to one byte over its limit, which its reader then refuses.
pub fn read(path: &str, bytes_max: usize) -> Result<Vec<u8>, EarlyExit> {
    let (file, _) = open(path)?;
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| unreadable(path, &e))?;
    Ok(bytes)
}

/// A file that its reader understands.
pub fn parsed<T, E: std::fmt::Display>(
    path: &str,
    bytes_max: usize,
    parse: impl FnOnce(&[u8]) -> Result<T, E>,
) -> Result<T, EarlyExit> {
    let bytes = read(path, bytes_max)?;
    parse(&bytes).map_err(|e| EarlyExit(UNREADABLE_CODE, format!("{path}: {e}")))
}

pub fn hash(path: &str) -> Result<(Digest, u64), EarlyExit> {
    let (file, _) = open(path)?;
    let (mut hasher, mut length) = (Hasher::new(), 0);
    each_piece(path, file, |piece| {
        hasher.update(piece);
        length += piece.len() as u64;
    })?;
    Ok((hasher.finish(), length))
}

/// Hands on a file piece by piece; `quiet`: without progress.
pub fn stream(path: &str, quiet: bool, mut take: impl FnMut(&[u8])) -> Result<(), EarlyExit> {
    let (file, total) = open(path)?;
    let mut progress = Progress::new(total, quiet);
    let result = each_piece(path, file, |piece| {
        take(piece);
        progress.add(piece.len());
    });
    progress.clear();
    result
}

fn unreadable(path: &str, error: &io::Error) -> EarlyExit {
    EarlyExit(UNREADABLE_CODE, format!("cannot read {path}: {error}"))
}

/// The file, and its length where it has one.
fn open(path: &str) -> Result<(Box<dyn Read>, Option<u64>), EarlyExit> {
    if path == "-" {
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let file = File::open(path).map_err(|e| unreadable(path, &e))?;
    let metadata = file.metadata().map_err(|e| unreadable(path, &e))?;
    let length = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(file), length))
}

fn each_piece(
    path: &str,
    mut file: Box<dyn Read>,
    mut take: impl FnMut(&[u8]),
) -> Result<(), EarlyExit> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) => take(&piece[..length]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(unreadable(path, &e)),
        }
    }
}

/// A terminal that went away shows no progress, and changes no verdict.
fn draw(text: &str) {
    let _ = write!(io::stderr(), "{text}");
}

/// One line on standard error, for people only.
struct Progress {
    shown: bool,
    done: u64,
    total: Option<u64>,
}

impl Progress {
    fn new(total: Option<u64>, json: bool) -> Progress {
        Progress {
            shown: !json && io::stderr().is_terminal(),
            done: 0,
            total,
        }
    }

    fn add(&mut self, bytes: usize) {
        const WIDTH: u64 = 30;
        self.done += bytes as u64;
        if !self.shown {
            return;
        }
        let mebibytes = self.done >> 20;
        match self.total {
            Some(total) if total > 0 => {
                let filled =
                    (self.done.min(total) as u128 * WIDTH as u128 / total as u128) as usize;
                let bar = "#".repeat(filled) + &".".repeat(WIDTH as usize - filled);
                let total = total >> 20;
                draw(&format!("\rverifying [{bar}] {mebibytes} of {total} MiB"));
            }
            _ => draw(&format!("\rverifying {mebibytes} MiB")),
        }
    }

    fn clear(&self) {
        if self.shown {
            draw("\r\u{1b}[K");
        }
    }
}
