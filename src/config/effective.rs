//! What a node goes by, written in one way: for its CONFIG record.
//!
//! Promises: two nodes go by the same exactly when the digests are the same, however their files
//! are laid out; a key that stands nowhere in the file is written with its default; neither where
//! files lie nor a password in the address of a witness is written. The writing is
//! `muniment/node-config/v1` and then, sorted, one line `KEY = JSON` for each key and for each
//! element of a list. What differs from the defaults is shown beside the digest, in the record's
//! salted opening. Leaves recording it to `recorder/`.

use super::Config;
use muniment_evidence::digest::Digest;
use muniment_evidence::limits::{LISTED_MAX, TEXT_BYTES_MAX};
use muniment_evidence::tenancy::{ConfigDocument, ConfigMoment, NamedText};
use serde_json::{Value, json};

/// Sets the digest apart from every other hash.
const DIGEST_TAG: &[u8] = b"muniment/node-config/v1\n";

/// Settings shown beside the digest: more than anybody changes by hand, and far below what a
/// record has room for. What is left out is in the digest all the same.
const CHANGED_MAX: usize = 32;
const _: () = assert!(CHANGED_MAX <= LISTED_MAX);

/// Every node must be given these, so there is no default to differ from; the ledger knows them,
/// or whoever dials the node does.
const REQUIRED: [&str; 6] = [
    "cluster.origin",
    "listen.client",
    "listen.http",
    "listen.peer",
    "node.id",
    "node.zone",
];

/// What a node goes by. Each line is a key and its value as JSON, in the order of the keys.
pub struct EffectiveConfig(Vec<(String, Value)>);

impl EffectiveConfig {
    pub fn of(config: &Config) -> EffectiveConfig {
        // Every section is named, so that a new one has to be put somewhere.
        let Config {
            node,
            listen,
            keys,
            log,
            limits,
            repair,
            cluster,
            tenants,
            witness,
            witnessing,
            deferred,
        } = config;
        let sections = [
            ("node", json!(node)),
            ("listen", json!(listen)),
            ("keys", json!(keys)),
            ("log", json!(log)),
            ("limits", json!(limits)),
            ("repair", json!(repair)),
            ("cluster", json!(cluster)),
            ("witnessing", json!(witnessing)),
            ("deferred", json!(deferred)),
        ];
        let keys = sections.into_iter().flat_map(|(section, keys)| match keys {
            Value::Object(keys) => keys
                .into_iter()
                .map(|(key, value)| (format!("{section}.{key}"), value))
                .collect(),
            other => vec![(section.to_owned(), other)],
        });
        let tenants = tenants.iter().map(|t| ("tenants".to_owned(), json!(t)));
        let witnesses = witness.iter().map(|witness| {
            let mut shown = witness.clone();
            shown.url = without_secrets(&witness.url);
            ("witness".to_owned(), json!(shown))
        });
        let mut lines: Vec<(String, Value)> = keys.chain(tenants).chain(witnesses).collect();
        lines.sort_by_cached_key(line);
        EffectiveConfig(lines)
    }

    pub fn digest(&self) -> Digest {
        let text: String = self.0.iter().map(line).collect();
        Digest::of(&[DIGEST_TAG, text.as_bytes()])
    }

    /// What is another than the default, in the order of the keys.
    pub fn changed(&self) -> Vec<NamedText> {
        let example = Config::parse(super::EXAMPLE).expect("a test reads the example");
        let defaults = EffectiveConfig::of(&example).0;
        let differing = self.0.iter().filter(|line| {
            let required = REQUIRED.contains(&line.0.as_str());
            !required && !defaults.contains(line)
        });
        let shown = differing.map(|(key, value)| shown(key, value));
        shown.take(CHANGED_MAX).collect()
    }

    /// What a node that starts says of it.
    pub fn at_start(&self) -> ConfigDocument {
        ConfigDocument {
            moment: ConfigMoment::Start,
            digest: self.digest(),
            changed: self.changed(),
        }
    }
}

fn line((key, value): &(String, Value)) -> String {
    format!("{key} = {value}\n")
}

/// A value that a record has no room for is named by its digest.
fn shown(key: &str, value: &Value) -> NamedText {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    NamedText {
        name: key.to_owned(),
        value: match text.len() <= TEXT_BYTES_MAX {
            true => text,
            false => format!("SHA-256 {}", Digest::of(&[text.as_bytes()])),
        },
    }
}

/// An address may carry a user and a password before its host, and a token behind its path.
fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use muniment_evidence::key::{SecretKey, Signer as _};
    use muniment_evidence::note::VerifierKey;
    use muniment_evidence::opening::{Document, PlannedDocument};

    fn effective(text: &str) -> EffectiveConfig {
        let config = Config::parse(text).unwrap_or_else(|error| panic!("{error} in {text}"));
        EffectiveConfig::of(&config)
    }

    fn with(from: &str, to: &str) -> EffectiveConfig {
        let text = super::super::EXAMPLE;
        assert!(text.contains(from), "{from}");
        effective(&text.replacen(from, to, 1))
    }

    fn changed(config: &EffectiveConfig) -> Vec<String> {
        let changed = config.changed().into_iter();
        changed.map(|c| format!("{}={}", c.name, c.value)).collect()
    }

    /// An auditor who is shown the digest and these can say what a node was told.
    #[test]
    fn what_differs_from_the_defaults_is_shown_and_all_of_it_is_in_the_digest() {
        let default = effective(super::super::EXAMPLE);
        assert_eq!(changed(&default), [""; 0]);
        for (from, to, said) in [
            (
                "profile = \"lan\"",
                "profile = \"wan\"",
                "cluster.profile=wan",
            ),
            (
                "connections = 1024",
                "connections = 7",
                "limits.connections=7",
            ),
            (
                "post_quantum = false",
                "post_quantum = true",
                "keys.post_quantum=true",
            ),
            (
                "filter = \"info,openraft=warn\"",
                "filter = \"debug\"",
                "log.filter=debug",
            ),
        ] {
            let other = with(from, to);
            assert_eq!(changed(&other), [said]);
            assert_ne!(other.digest(), default.digest(), "{said}");
        }
        // What every node must be given is no change; it is what the node goes by.
        let moved = with("zone = \"zone-a\"", "zone = \"zone-b\"");
        assert_eq!(changed(&moved), [""; 0]);
        assert_ne!(moved.digest(), default.digest());
    }

    #[test]
    fn where_files_lie_and_the_order_in_the_file_say_nothing() {
        let default = effective(super::super::EXAMPLE).digest();
        let elsewhere = with("/var/lib/muniment", "/srv/muniment");
        assert_eq!(elsewhere.digest(), default);
        let keys = with("/etc/muniment/keys", "/run/keys");
        assert_eq!(keys.digest(), default);
        let tenants = |a, b| {
            let tenant = |name| format!("\n[[tenants]]\nname = \"{name}\"\n");
            effective(&[super::super::EXAMPLE, &tenant(a), &tenant(b)].concat())
        };
        assert_eq!(tenants("a", "b").digest(), tenants("b", "a").digest());
        assert_eq!(changed(&tenants("a", "b")).len(), 2);
    }

    #[test]
    fn no_secret_of_a_witness_address_is_in_it() {
        let key = VerifierKey::cosigner("w", SecretKey::from_seed(&[1; 32]).public());
        let witness = |url: &str| {
            let entry = format!("\n[[witness]]\nkey = \"{key}\"\nurl = \"{url}\"\n");
            effective(&[super::super::EXAMPLE, &entry].concat())
        };
        let plain = witness("https://w.example/log");
        for url in [
            "https://me:secret@w.example/log",
            "https://w.example/log?token=secret",
        ] {
            let config = witness(url);
            assert_eq!(config.digest(), plain.digest());
            assert!(!format!("{:?}", config.0).contains("secret"));
        }
        assert_ne!(
            witness("https://other.example/log").digest(),
            plain.digest()
        );
    }

    /// A node that could not say what it goes by would say nothing for ever.
    #[test]
    fn whatever_a_file_holds_fits_a_record() {
        let long = "x=debug,".repeat(1_000);
        let tenants = (0..100).map(|n| format!("\n[[tenants]]\nname = \"t{n}\"\n"));
        let text = super::super::EXAMPLE.replacen("info,openraft=warn", &long, 1);
        let config = effective(&[text, tenants.collect()].concat());
        let document = Document::Planned(PlannedDocument::Config(config.at_start()));
        assert_eq!(document.within_limits(), Ok(()));
        let changed = config.changed();
        assert_eq!(changed.len(), CHANGED_MAX);
        let filter = changed.iter().find(|c| c.name == "log.filter").unwrap();
        assert!(filter.value.starts_with("SHA-256 "), "{}", filter.value);
    }
}
