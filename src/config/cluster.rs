//! What must be equal on every node of a cluster; nodes compare a digest of it.

use crate::domain::draft::{BadField, name};
use crate::objective::timing::Profile;
use crate::objective::write::WriteLevel;
use muniment_evidence::limits::UPLOAD_EPOCH_MS_MIN;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt::Display;
use std::str::FromStr;

/// Entries after which a snapshot is taken: some minutes of a busy ledger, so that a
/// restart replays little.
const SNAPSHOT_AFTER_ENTRIES: u64 = 100_000;
/// Entries kept behind a snapshot: a follower that was away for less catches up by log.
const LOG_ENTRIES_KEPT: u64 = 50_000;

/// Seconds between upload epochs: a slow upload of the largest body ends well within one,
/// and what a crash leaves lies around for less than an hour.
const UPLOAD_EPOCH_S: u64 = 600;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// The ledger's name and recovery epoch, such as `ledger.example/0`; the name of its
    /// log key.
    pub origin: String,
    /// `lan`, `metro`, `wan` or `global`: how fast a failed leader is replaced.
    #[serde(default, deserialize_with = "text", serialize_with = "as_text")]
    pub profile: Profile,
    /// What a write waits for when neither call nor tenant asks for anything.
    #[serde(default, deserialize_with = "text", serialize_with = "as_text")]
    pub write_level: WriteLevel,
    #[serde(default = "snapshot_after_entries")]
    pub snapshot_after_entries: u64,
    #[serde(default = "log_entries_kept")]
    pub log_entries_kept: u64,
    /// Least time between two upload epochs; an upload that lasts longer than one fails.
    #[serde(default = "upload_epoch_s")]
    pub upload_epoch_s: u64,
}

/// Whose invoices are kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    pub name: String,
    /// Used when a call names none.
    #[serde(default = "default_scheme")]
    pub scheme: String,
    #[serde(default = "default_issuer")]
    pub issuer: String,
    /// What a write waits for when it asks for nothing; the cluster's when left out.
    #[serde(
        default,
        deserialize_with = "text_if_any",
        serialize_with = "as_text_if_any"
    )]
    pub write_level: Option<WriteLevel>,
}

impl Tenant {
    pub fn named(name: &str) -> Tenant {
        Tenant {
            name: name.to_owned(),
            scheme: default_scheme(),
            issuer: default_issuer(),
            write_level: None,
        }
    }

    /// The level of a write that asks for nothing.
    pub fn level(&self) -> WriteLevel {
        self.write_level.unwrap_or_default()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        for (key, value) in [
            ("tenants.name", &self.name),
            ("tenants.scheme", &self.scheme),
            ("tenants.issuer", &self.issuer),
        ] {
            named(key, value)?;
        }
        Ok(())
    }
}

/// A name that everybody can tell from another.
pub(super) fn named(key: &str, value: &str) -> Result<(), String> {
    name(key, value).map_err(|BadField { field, why }| format!("{field}: {why}"))
}

impl Cluster {
    pub(super) fn check(&self) -> Result<(), String> {
        if !muniment_evidence::note::is_key_name(&self.origin) {
            return Err(format!(
                "cluster.origin: {:?} is empty or has spaces or '+'",
                self.origin
            ));
        }
        named("cluster.origin", &self.origin)?;
        if self.snapshot_after_entries < 100 || self.log_entries_kept < 10 {
            return Err("cluster.snapshot_after_entries, cluster.log_entries_kept: \
                        at least 100 and 10"
                .into());
        }
        if self.upload_epoch_s < UPLOAD_EPOCH_S_MIN {
            return Err(format!(
                "cluster.upload_epoch_s: at least {UPLOAD_EPOCH_S_MIN}"
            ));
        }
        Ok(())
    }
}

fn snapshot_after_entries() -> u64 {
    SNAPSHOT_AFTER_ENTRIES
}

fn log_entries_kept() -> u64 {
    LOG_ENTRIES_KEPT
}

/// A shorter one would be refused by the ledger for most of the time.
const UPLOAD_EPOCH_S_MIN: u64 = UPLOAD_EPOCH_MS_MIN / 1000;

fn upload_epoch_s() -> u64 {
    UPLOAD_EPOCH_S
}

fn default_scheme() -> String {
    "generic".to_owned()
}

fn default_issuer() -> String {
    "local".to_owned()
}

/// The same, where the key is there.
fn text_if_any<'de, D, T>(d: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
{
    text(d).map(Some)
}

/// Reads a value from its text form.
fn text<'de, D: Deserializer<'de>, T: FromStr<Err = String>>(d: D) -> Result<T, D::Error> {
    let text = String::deserialize(d)?;
    text.parse().map_err(serde::de::Error::custom)
}

/// Writes a value as its text form.
pub(super) fn as_text<S: Serializer>(value: &impl Display, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(value)
}

pub(super) fn as_text_if_any<S: Serializer>(
    value: &Option<impl Display>,
    s: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => as_text(value, s),
        None => s.serialize_none(),
    }
}
