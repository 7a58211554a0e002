//! The marker of a data directory: whose it is, and since when.
//!
//! Promises that a node never runs on the directory of another node, ledger or format
//! version, and that a wiped disk has another incarnation. Written once, when the
//! directory is first used; lines of text, so that a person can read them.

use super::StoreError;
use crate::domain::ids::NodeId;
use muniment_evidence::digest::{hex, unhex};
use std::io::Write as _;
use std::path::Path;

/// The format of everything below the data directory.
pub const FORMAT: u32 = 1;

const NAME: &str = "MUNIMENT";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    pub format: u32,
    pub origin: String,
    pub node: NodeId,
    /// Random; changes when the disk is wiped.
    pub incarnation: [u8; 16],
}

impl Marker {
    /// The marker of `dir`; `None` when the directory is empty or not there.
    pub fn read(dir: &Path) -> Result<Option<Marker>, StoreError> {
        let path = dir.join(NAME);
        match std::fs::read_to_string(&path) {
            Ok(text) => parse(&text)
                .map(Some)
                .ok_or_else(|| StoreError::file(&path, "is not a marker of Muniment")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let used = std::fs::read_dir(dir)
                    .map(|mut entries| entries.next().is_some())
                    .unwrap_or(false);
                if used {
                    return Err(StoreError::file(
                        dir,
                        "holds files but no marker: not a data directory of Muniment",
                    ));
                }
                Ok(None)
            }
            Err(error) => Err(StoreError::file(&path, error)),
        }
    }

    /// Refuses another ledger, node or format.
    pub fn check(&self, origin: &str, node: NodeId) -> Result<(), StoreError> {
        let differ = |what: &str| {
            Err(StoreError::beside(format!(
                "the data directory belongs to {what}"
            )))
        };
        if self.format != FORMAT {
            return differ(&format!(
                "format {}; this software reads format {FORMAT}",
                self.format
            ));
        }
        if self.origin != origin {
            return differ(&format!("ledger {}, not {origin}", self.origin));
        }
        if self.node != node {
            return differ(&format!("node {}, not node {node}", self.node));
        }
        Ok(())
    }

    /// Reads and checks the marker, or writes the first one: 1 write aside, 2 fsync, 3
    /// rename, 4 fsync the directory.
    pub fn claim(dir: &Path, first: Marker) -> Result<Marker, StoreError> {
        std::fs::create_dir_all(dir).map_err(|error| StoreError::file(dir, error))?;
        if let Some(marker) = Marker::read(dir)? {
            marker.check(&first.origin, first.node)?;
            return Ok(marker);
        }
        write_durably(&dir.join(NAME), render(&first).as_bytes())?;
        Ok(first)
    }
}

/// Replaces a small file so that a crash leaves the old or the new one.
pub fn write_durably(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let fail = |error: std::io::Error| StoreError::file(path, error);
    let aside = path.with_extension("new");
    let mut file = std::fs::File::create(&aside).map_err(fail)?;
    file.write_all(content).map_err(fail)?;
    file.sync_all().map_err(fail)?;
    std::fs::rename(&aside, path).map_err(fail)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(fail)
}

fn render(marker: &Marker) -> String {
    format!(
        "muniment data directory\nformat {}\norigin {}\nnode {}\nincarnation {}\n",
        marker.format,
        marker.origin,
        marker.node,
        hex(&marker.incarnation)
    )
}

fn parse(text: &str) -> Option<Marker> {
    let mut lines = text.lines();
    if lines.next()? != "muniment data directory" {
        return None;
    }
    let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    Some(Marker {
        format: field("format")?.parse().ok()?,
        origin: field("origin")?.to_owned(),
        node: NodeId::new(field("node")?.parse().ok()?),
        incarnation: unhex(field("incarnation")?)?.try_into().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_claimed_once_and_refused_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        assert_eq!(Marker::read(&path).unwrap(), None);
        let first = Marker {
            format: FORMAT,
            origin: "ledger.example/0".into(),
            node: NodeId::new(1),
            incarnation: [7; 16],
        };
        assert_eq!(Marker::claim(&path, first.clone()).unwrap(), first);
        let again = Marker {
            incarnation: [8; 16],
            ..first.clone()
        };
        assert_eq!(Marker::claim(&path, again).unwrap(), first);
        let refusals = [
            (
                Marker {
                    node: NodeId::new(2),
                    ..first.clone()
                },
                "node 1, not node 2",
            ),
            (
                Marker {
                    origin: "other/0".into(),
                    ..first.clone()
                },
                "ledger ledger.example/0, not other/0",
            ),
        ];
        for (other, said) in refusals {
            let refusal = Marker::claim(&path, other).unwrap_err().to_string();
            assert!(refusal.contains(said), "{refusal}");
        }
        let older = render(&first).replace("format 1", "format 0");
        std::fs::write(path.join(NAME), older).unwrap();
        assert!(
            Marker::claim(&path, first.clone())
                .unwrap_err()
                .to_string()
                .contains("format 0")
        );
        std::fs::write(path.join(NAME), "else").unwrap();
        assert!(Marker::claim(&path, first).is_err());
    }
}
