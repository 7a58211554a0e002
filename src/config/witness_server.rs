//! The configuration of a witness: one short file, every key known.
//!
//! Promises: an unknown key or a key of the wrong type is refused by name; relative paths
//! are relative to the file. [`EXAMPLE`] is a whole file.

use super::{ConfigError, Keys, Log, place};
use muniment_evidence::note::{TYPE_ED25519, VerifierKey, is_key_name};
use serde::{Deserialize, Deserializer};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What people copy.
pub const EXAMPLE: &str = include_str!("witness_example.toml");

/// Each is a file, a lock and some memory; whoever witnesses more runs a second one.
pub const LOGS_MAX: usize = 1024;
/// A name stands in every note that is kept; far above any host name with a path.
pub const NAME_BYTES_MAX: usize = 255;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessConfig {
    /// The witness's key name; with its key it says who cosigned.
    pub name: String,
    /// HTTP, for logs that submit and monitors that read.
    pub listen: SocketAddr,
    /// One file per origin: never deleted, never restored from an older copy.
    pub data_dir: PathBuf,
    /// The ledgers that are cosigned, and no others.
    #[serde(deserialize_with = "log_keys")]
    pub logs: Vec<VerifierKey>,
    /// Holds `witness.key`.
    pub keys: Keys,
    #[serde(default)]
    pub log: Log,
}

impl WitnessConfig {
    pub fn load(path: &Path) -> Result<WitnessConfig, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|error| ConfigError::of_file(path, error))?;
        let mut config =
            WitnessConfig::parse(&text).map_err(|error| ConfigError::of_file(path, error))?;
        let base = path.parent().unwrap_or(Path::new(""));
        config.data_dir = base.join(&config.data_dir);
        config.keys.dir = base.join(&config.keys.dir);
        Ok(config)
    }

    pub fn parse(text: &str) -> Result<WitnessConfig, ConfigError> {
        let config: WitnessConfig =
            toml::from_str(text).map_err(|error| ConfigError::of_syntax(text, error))?;
        config
            .check()
            .map_err(|problem| ConfigError::Value(place::with_line(text, &problem)))?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        check_name("name", &self.name)?;
        if self.logs.is_empty() || self.logs.len() > LOGS_MAX {
            return Err(format!("logs: from 1 to {LOGS_MAX} verifier keys"));
        }
        for (at, log) in self.logs.iter().enumerate() {
            check_name("logs", &log.name)?;
            if self.logs[..at].contains(log) {
                return Err(format!("logs: {log} stands twice"));
            }
        }
        Ok(())
    }
}

/// Whether a name may be a witness's or a log's.
pub fn check_name(field: &str, name: &str) -> Result<(), String> {
    if is_key_name(name) && name.len() <= NAME_BYTES_MAX {
        Ok(())
    } else {
        Err(format!(
            "{field}: {name:?} is empty, has spaces or '+', or has more than {NAME_BYTES_MAX} bytes"
        ))
    }
}

fn log_keys<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<VerifierKey>, D::Error> {
    use serde::de::Error as _;
    let texts = Vec::<String>::deserialize(d)?;
    let keys = texts.iter().map(|text| match VerifierKey::parse(text) {
        Ok(key) if key.kind() == TYPE_ED25519 => Ok(key),
        Ok(_) => Err(D::Error::custom(format!(
            "{text}: is a cosignature key, not the log key of a ledger"
        ))),
        Err(why) => Err(D::Error::custom(format!("{text}: {why}"))),
    });
    keys.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use muniment_evidence::key::{SecretKey, Signer as _};

    #[test]
    fn the_example_is_a_whole_file() {
        let config = WitnessConfig::parse(EXAMPLE).unwrap();
        assert_eq!(config.name, "witness.example/w1");
        assert_eq!(config.logs.len(), 1);
    }

    #[test]
    fn a_wrong_key_or_value_is_named() {
        let public = SecretKey::from_seed(&[1; 32]).public();
        let cosigner = VerifierKey::cosigner("ledger.example/0", public).to_string();
        let good = WitnessConfig::parse(EXAMPLE).unwrap().logs[0].to_string();
        for (from, to, named) in [
            ("w1", "w 1", "name"),
            ("listen", "listens", "listens"),
            (&good, "ledger.example/0+00000000+AAAA", "key"),
            (&good, &cosigner, "cosignature key"),
            ("logs = [", "logs = []\nothers = [", "others"),
        ] {
            let error = WitnessConfig::parse(&EXAMPLE.replacen(from, to, 1)).unwrap_err();
            assert!(error.to_string().contains(named), "{named}: {error}");
        }
        let twice = EXAMPLE.replacen(
            &format!("\"{good}\""),
            &format!("\"{good}\", \"{good}\""),
            1,
        );
        assert!(
            WitnessConfig::parse(&twice)
                .unwrap_err()
                .to_string()
                .contains("twice")
        );
    }
}
