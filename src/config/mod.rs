//! Configuration: what must be equal on every node apart from what each node chooses.
//!
//! Promises: every key is known (an unknown one is refused, with its line), every default
//! is a named constant with its reason, relative paths are relative to the file. What must
//! be equal has a digest, so that nodes can compare. Leaves the machine to
//! [`crate::preflight`]. [`EXAMPLE`] is a whole file with every key at its default.

pub mod cluster;
pub mod deferred;
pub mod effective;
pub mod limits;
pub mod node;
mod place;
mod repair;
pub mod witness_server;
pub mod witnesses;

use crate::domain::draft::DEFAULT_TENANT;
use muniment_evidence::digest::Digest;
use muniment_evidence::drill::DRILL_TENANT;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

pub use cluster::{Cluster, Tenant};
pub use deferred::Deferred;
pub use limits::Limits;
pub use node::{Listen, Log, Node};
pub use repair::Repair;
pub use witnesses::{WitnessEntry, Witnessing};

/// Every key at its default, with its effect: what people copy.
pub const EXAMPLE: &str = include_str!("example.toml");

/// Sets the digest apart from every other hash.
const DIGEST_TAG: &[u8] = b"muniment/cluster-config/v1\n";

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Differs per node.
    pub node: Node,
    pub listen: Listen,
    pub keys: Keys,
    #[serde(default)]
    pub log: Log,
    /// Equal on every node.
    pub cluster: Cluster,
    #[serde(default)]
    pub limits: Limits,
    /// Differs per node.
    #[serde(default)]
    pub repair: Repair,
    /// Equal on every node; `default` is always present.
    #[serde(default)]
    pub tenants: Vec<Tenant>,
    /// Equal on every node, but for the paths.
    #[serde(default)]
    pub witness: Vec<WitnessEntry>,
    #[serde(default)]
    pub witnessing: Witnessing,
    /// Equal on every node.
    #[serde(default)]
    pub deferred: Deferred,
}

/// Where the key files lie.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Holds `statement.key`, `cosignature.key` and `log.key`, readable by their owner
    /// alone.
    #[serde(skip_serializing)]
    pub dir: PathBuf,
    /// Whether to cosign with `ml-dsa-44.key` too.
    #[serde(default)]
    pub post_quantum: bool,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Which file it is, and what is wrong with it.
    #[error("{}: {error}", path.display())]
    File {
        path: PathBuf,
        #[source]
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A key that is not known, or a value that cannot be read.
    #[error("{explained}")]
    Syntax {
        explained: String,
        #[source]
        error: Box<toml::de::Error>,
    },
    /// A value that may not be.
    #[error("{0}")]
    Value(String),
}

impl ConfigError {
    fn of_file(
        path: &Path,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> ConfigError {
        ConfigError::File {
            path: path.to_owned(),
            error: error.into(),
        }
    }

    fn of_syntax(text: &str, error: toml::de::Error) -> ConfigError {
        ConfigError::Syntax {
            explained: place::explain(text, &error),
            error: Box::new(error),
        }
    }
}

impl Config {
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|error| ConfigError::of_file(path, error))?;
        let mut config = Config::parse(&text).map_err(|error| ConfigError::of_file(path, error))?;
        let base = path.parent().unwrap_or(Path::new(""));
        config.node.data_dir = base.join(&config.node.data_dir);
        config.keys.dir = base.join(&config.keys.dir);
        for ca in config.witness.iter_mut().filter_map(|w| w.ca.as_mut()) {
            *ca = base.join(&*ca);
        }
        Ok(config)
    }

    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        let mut config: Config =
            toml::from_str(text).map_err(|error| ConfigError::of_syntax(text, error))?;
        if config.tenants.iter().any(|t| t.name == DRILL_TENANT) {
            let problem = format!("tenants.name: {DRILL_TENANT:?} is the ledger's own, for drills");
            return Err(ConfigError::Value(place::with_line(text, &problem)));
        }
        if !config.tenants.iter().any(|t| t.name == DEFAULT_TENANT) {
            config.tenants.insert(0, Tenant::named(DEFAULT_TENANT));
        }
        config.tenants.push(Tenant::named(DRILL_TENANT));
        for tenant in &mut config.tenants {
            tenant.write_level.get_or_insert(config.cluster.write_level);
        }
        config
            .check()
            .map_err(|problem| ConfigError::Value(place::with_line(text, &problem)))?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        self.node.check()?;
        self.cluster.check()?;
        self.limits.check()?;
        self.repair.check()?;
        for (at, tenant) in self.tenants.iter().enumerate() {
            tenant.check()?;
            if self.tenants[..at].iter().any(|t| t.name == tenant.name) {
                let name = &tenant.name;
                return Err(format!("tenants.name: {name:?} stands twice"));
            }
        }
        witnesses::check(&self.witness)?;
        self.deferred.check()?;
        self.witnessing.check()
    }

    pub fn tenant(&self, name: &str) -> Option<&Tenant> {
        self.tenants.iter().find(|tenant| tenant.name == name)
    }

    /// Of everything that must be equal on every node, and of nothing else. The order of
    /// tenants and witnesses in the file says nothing.
    pub fn cluster_digest(&self) -> Digest {
        // Every section is named, so that a new one has to be put on one side.
        let Config {
            node: _,
            listen: _,
            keys: _,
            log: _,
            limits: _,
            repair: _,
            cluster,
            tenants,
            witness,
            witnessing,
            deferred,
        } = self;
        let mut tenants: Vec<_> = tenants.iter().collect();
        tenants.sort_by(|a, b| a.name.cmp(&b.name));
        let mut witnesses: Vec<_> = witness.iter().collect();
        witnesses.sort_by(|a, b| a.key.name.cmp(&b.key.name));
        let equal = serde_json::json!([cluster, tenants, witnesses, witnessing, deferred]);
        Digest::of(&[DIGEST_TAG, equal.to_string().as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muniment_evidence::key::{SecretKey, Signer as _};
    use muniment_evidence::note::VerifierKey;

    const MINIMAL: &str = r#"
        [node]
        id = 1
        zone = "zone-a"
        data_dir = "data"
        [listen]
        client = "127.0.0.1:7401"
        peer = "127.0.0.1:7601"
        http = "127.0.0.1:7501"
        [keys]
        dir = "keys"
        [cluster]
        origin = "ledger.example/0"
    "#;

    #[test]
    fn a_minimal_file_has_every_default_and_the_default_tenant() {
        let config = Config::parse(MINIMAL).unwrap();
        assert_eq!(config.node.region, "region-1");
        assert!(config.tenant("default").is_some());
        assert!(config.tenant("other").is_none());
    }

    #[test]
    fn a_wrong_key_or_value_is_named() {
        for (from, to, named) in [
            ("id = 1", "id = 1\ncolour = 2", "colour"),
            ("id = 1", "id = 0", "node.id"),
            ("zone-a", "zone a", "node.zone"),
            ("ledger.example/0", "ledger example", "cluster.origin"),
            (
                "[cluster]",
                "[limits]\nbody_bytes = 0\n[cluster]",
                "limits.body_bytes",
            ),
            (
                "[cluster]",
                "[repair]\nscrub_period_s = 0\n[cluster]",
                "repair.scrub_period_s",
            ),
            (
                "[cluster]",
                "[cluster]\nprofile = \"fast\"",
                "none of lan, metro, wan, global",
            ),
            (
                "[cluster]",
                "[deferred]\nmax_pending = 0\n[cluster]",
                "deferred.max_pending",
            ),
            ("127.0.0.1:7601", "nowhere", "invalid socket address"),
        ] {
            let error = Config::parse(&MINIMAL.replace(from, to)).unwrap_err();
            assert!(error.to_string().contains(named), "{named}: {error}");
        }
        let drill = format!("{MINIMAL}\n[[tenants]]\nname = \"drill\"");
        let refused = Config::parse(&drill).unwrap_err().to_string();
        assert!(refused.contains("the ledger's own"), "{refused}");
        let twice = format!("{MINIMAL}\n[[tenants]]\nname = \"a\"\n[[tenants]]\nname = \"a\"");
        assert!(
            Config::parse(&twice)
                .unwrap_err()
                .to_string()
                .contains("twice")
        );
    }

    /// The example must say the defaults, or people would copy something else.
    #[test]
    fn the_example_says_the_defaults() {
        let example = Config::parse(EXAMPLE).unwrap();
        let minimal = Config::parse(
            &MINIMAL
                .replace("\"data\"", "\"/var/lib/muniment\"")
                .replace("\"keys\"", "\"/etc/muniment/keys\""),
        )
        .unwrap();
        assert_eq!(format!("{example:?}"), format!("{minimal:?}"));
    }

    fn digest(table: &toml::Table) -> Digest {
        let text = toml::to_string(table).unwrap();
        let config = Config::parse(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
        config.cluster_digest()
    }

    /// Another value of the same kind that the key may have.
    fn another(key: &str, value: &toml::Value) -> toml::Value {
        match (key, value) {
            ("profile", _) => "wan".into(),
            ("write_level", _) => "quorum".into(),
            ("format", _) => "json".into(),
            ("client" | "peer" | "http", _) => "127.0.0.1:7999".into(),
            // It is at its most by default.
            ("recorder_queue", _) => 1.into(),
            (_, toml::Value::Integer(number)) => (number + 1).into(),
            (_, toml::Value::Boolean(flag)) => (!flag).into(),
            (_, toml::Value::String(text)) => format!("{text}-2").into(),
            _ => panic!("{key} = {value}: no other value is known"),
        }
    }

    /// Nodes compare the digest: every key that must be equal changes it, and no other.
    #[test]
    fn the_digest_is_of_every_key_that_must_be_equal_and_of_no_other() {
        let witness =
            "[[witness]]\nkey = \"W\"\nurl = \"http://w.example:7801\"\nca = \"ca.pem\"\n";
        let key = VerifierKey::cosigner("w", SecretKey::from_seed(&[1; 32]).public());
        let text = format!("{EXAMPLE}\n{}", witness.replace('W', &key.to_string()));
        let whole: toml::Table = text.parse().unwrap();
        let own = digest(&whole);
        let mut looked_at = 0;
        for (section, content) in &whole {
            let first = match content {
                toml::Value::Array(list) => list[0].as_table().unwrap(),
                table => table.as_table().unwrap(),
            };
            for (key, value) in first {
                let mut changed = whole.clone();
                let keys = match changed.get_mut(section).unwrap() {
                    toml::Value::Array(list) => list[0].as_table_mut().unwrap(),
                    table => table.as_table_mut().unwrap(),
                };
                let other = match (&section[..], &key[..]) {
                    ("witness", "key") => another_witness().into(),
                    _ => another(key, value),
                };
                keys.insert(key.clone(), other);
                let must_be_equal = matches!(
                    &section[..],
                    "cluster" | "tenants" | "deferred" | "witnessing" | "witness"
                ) && (&section[..], &key[..]) != ("witness", "ca");
                assert_eq!(digest(&changed) != own, must_be_equal, "{section}.{key}");
                looked_at += 1;
            }
        }
        assert!(looked_at > 45, "{looked_at} keys were found in the example");
    }

    fn another_witness() -> String {
        VerifierKey::cosigner("w", SecretKey::from_seed(&[2; 32]).public()).to_string()
    }

    #[test]
    fn the_order_in_the_file_says_nothing() {
        let tenants = |a, b| {
            let text = format!("{MINIMAL}[[tenants]]\nname = \"{a}\"\n[[tenants]]\nname = \"{b}\"");
            Config::parse(&text).unwrap().cluster_digest()
        };
        assert_eq!(tenants("a", "b"), tenants("b", "a"));
        assert_ne!(tenants("a", "b"), tenants("a", "c"));
        let default = format!("{MINIMAL}[[tenants]]\nname = \"default\"\n");
        let said = Config::parse(&default).unwrap().cluster_digest();
        assert_eq!(said, Config::parse(MINIMAL).unwrap().cluster_digest());
    }
}
