//! What each node chooses for itself.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Never reused: a wiped node comes back under a new id.
    pub id: u64,
    /// Failure domain; write levels count zones.
    pub zone: String,
    /// Holds zones.
    #[serde(default = "default_region")]
    pub region: String,
    /// Databases, watermark, marker, sign guard.
    #[serde(skip_serializing)]
    pub data_dir: PathBuf,
}

/// One port per audience, so that each can be firewalled on its own.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// gRPC for clients.
    pub client: SocketAddr,
    /// gRPC between nodes.
    pub peer: SocketAddr,
    /// Tiles, metrics, health.
    pub http: SocketAddr,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A `tracing` filter, such as `info` or `muniment=debug`.
    pub filter: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

impl Default for Log {
    fn default() -> Log {
        Log {
            // The library reports each election step at info; ours is enough.
            filter: "info,openraft=warn".to_owned(),
            format: LogFormat::Text,
        }
    }
}

fn default_region() -> String {
    "region-1".to_owned()
}

impl Node {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.id == 0 {
            return Err("node.id: is a number from 1 on".into());
        }
        for (key, value) in [("node.zone", &self.zone), ("node.region", &self.region)] {
            // They become part of key names in signed notes.
            if !muniment_evidence::note::is_key_name(value) || value.contains('/') {
                return Err(format!(
                    "{key}: {value:?} has spaces, '+' or '/', or is empty"
                ));
            }
            super::cluster::named(key, value)?;
        }
        Ok(())
    }
}
