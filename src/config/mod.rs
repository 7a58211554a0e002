//! Configuration: what must be equal on every node apart from what each node chooses.
//!
//! Promises: every key is known (an unknown one is refused, with its line), every default
//! is a named constant with its reason, relative paths are relative to the file. What must
//! be equal has a digest, so that nodes can compare. Leaves the preflight of the machine
//! to [`check`]. [`EXAMPLE`] is a whole file with every key at its default.

pub mod check;
pub mod cluster;
pub mod deferred;
pub mod limits;
pub mod node;
mod place;
mod repair;
pub mod witnesses;

use crate::domain::draft::DEFAULT_TENANT;
use muniment_evidence::digest::Digest;
use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};

pub use cluster::{Cluster, Tenant};
pub use deferred::Deferred;
pub use limits::Limits;
pub use node::{Listen, Log, Node};
pub use repair::Repair;
pub use witnesses::{Witness, Witnessing};

/// Every key at its default, with its effect: what people copy.
pub const EXAMPLE: &str = include_str!("example.toml");

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
    pub witness: Vec<Witness>,
    #[serde(default)]
    pub witnessing: Witnessing,
    /// Equal on every node.
    #[serde(default)]
    pub deferred: Deferred,
}

/// Where the key files lie.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Holds `statement.key`, `cosignature.key` and `log.key`, readable by their owner
    /// alone.
    pub dir: PathBuf,
}

/// Why a configuration cannot be used.
#[derive(Debug)]
pub struct Error(pub String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl Config {
    pub fn load(path: &Path) -> Result<Config, Error> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|e| Error(format!("{shown}: {e}")))?;
        let mut config = Config::parse(&text).map_err(|e| Error(format!("{shown}: {e}")))?;
        let base = path.parent().unwrap_or(Path::new(""));
        config.node.data_dir = base.join(&config.node.data_dir);
        config.keys.dir = base.join(&config.keys.dir);
        for ca in config.witness.iter_mut().filter_map(|w| w.ca.as_mut()) {
            *ca = base.join(&*ca);
        }
        Ok(config)
    }

    pub fn parse(text: &str) -> Result<Config, Error> {
        let mut config: Config =
            toml::from_str(text).map_err(|error| Error(place::explain(text, &error)))?;
        if !config.tenants.iter().any(|t| t.name == DEFAULT_TENANT) {
            config.tenants.insert(0, Tenant::named(DEFAULT_TENANT));
        }
        for tenant in &mut config.tenants {
            tenant.write_level.get_or_insert(config.cluster.write_level);
        }
        config
            .check()
            .map_err(|error| Error(place::with_line(text, &error.0)))?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Error> {
        self.node.check().map_err(Error)?;
        self.cluster.check().map_err(Error)?;
        self.limits.check().map_err(Error)?;
        self.repair.check().map_err(Error)?;
        for (at, tenant) in self.tenants.iter().enumerate() {
            tenant.check().map_err(Error)?;
            if self.tenants[..at].iter().any(|t| t.name == tenant.name) {
                let name = &tenant.name;
                return Err(Error(format!("tenants.name: {name:?} stands twice")));
            }
        }
        witnesses::check(&self.witness).map_err(Error)?;
        self.deferred.check().map_err(Error)?;
        self.witnessing.check().map_err(Error)
    }

    pub fn tenant(&self, name: &str) -> Option<&Tenant> {
        self.tenants.iter().find(|tenant| tenant.name == name)
    }

    /// Of everything that must be equal on every node, and of nothing else.
    pub fn cluster_digest(&self) -> Digest {
        cluster::digest(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert!(error.0.contains(named), "{named}: {error}");
        }
        let twice = format!("{MINIMAL}\n[[tenants]]\nname = \"a\"\n[[tenants]]\nname = \"a\"");
        assert!(Config::parse(&twice).unwrap_err().0.contains("twice"));
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

    /// Nodes compare the digest: it must see what matters and nothing else.
    #[test]
    fn the_digest_is_of_the_cluster_part_alone() {
        let digest = |text: &str| Config::parse(text).unwrap().cluster_digest();
        let one = digest(MINIMAL);
        for same in [
            MINIMAL.replace("id = 1", "id = 2"),
            MINIMAL.replace("zone-a", "zone-b"),
            format!("{MINIMAL}[[tenants]]\nname = \"default\"\n"),
        ] {
            assert_eq!(one, digest(&same), "{same}");
        }
        for change in [
            "profile = \"wan\"",
            "write_level = \"quorum\"",
            "log_entries_kept = 60000",
            "upload_epoch_s = 60",
            "[[tenants]]\nname = \"default\"\nwrite_level = \"all\"",
            "[[tenants]]\nname = \"acme\"",
            "[deferred]\nallowed = false",
            "[deferred]\nmax_age_ms = 7",
        ] {
            assert_ne!(one, digest(&format!("{MINIMAL}{change}\n")), "{change}");
        }
        let tenants =
            |a, b| format!("{MINIMAL}[[tenants]]\nname = \"{a}\"\n[[tenants]]\nname = \"{b}\"");
        assert_eq!(
            digest(&tenants("a", "b")),
            digest(&tenants("b", "a")),
            "order says nothing"
        );
    }
}
