//! The outside witnesses of a ledger: who they are, where, and how often they are asked.

use super::cluster::{as_text, as_text_if_any};
use muniment_evidence::note::{TYPE_COSIGNATURE, TYPE_ML_DSA_COSIGNATURE, VerifierKey};
use serde::{Deserialize, Deserializer, Serialize};
use std::path::PathBuf;

/// Each is a task and a request per interval; nobody's policy asks for more.
pub const WITNESSES_MAX: usize = 16;

/// One witness. Equal on every node, but for `ca`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessEntry {
    /// Its verifier key, as `muniment witness keygen` prints it.
    #[serde(deserialize_with = "cosigner", serialize_with = "as_text")]
    pub key: VerifierKey,
    /// Its ML-DSA key, if it cosigns with one too; of the same name.
    #[serde(
        default,
        deserialize_with = "ml_dsa_cosigner",
        serialize_with = "as_text_if_any",
        skip_serializing_if = "Option::is_none"
    )]
    pub ml_dsa_key: Option<VerifierKey>,
    /// Its submission prefix, `http://` or `https://`.
    pub url: String,
    /// PEM file with the authorities to trust in place of the public ones.
    #[serde(skip_serializing)]
    pub ca: Option<PathBuf>,
}

/// Equal on every node: whoever leads keeps the same pace.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Witnessing {
    /// Between submissions; a new size waits this long at most while all is well.
    pub interval_s: u64,
    /// Between two ANCHOR records of one witness, which show its cosignature in the log.
    pub anchor_interval_s: u64,
    /// Records that wait longer than this are worth waking somebody.
    pub lag_alarm_s: u64,
}

impl Default for Witnessing {
    fn default() -> Witnessing {
        Witnessing {
            // What a split view could hide for; witnesses ask for nothing more often.
            interval_s: 10,
            // A dozen records an hour at most, and evidence that is minutes old.
            anchor_interval_s: 600,
            // Above a restart of the witness's machine.
            lag_alarm_s: 300,
        }
    }
}

impl Witnessing {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.interval_s == 0 || self.interval_s > 3600 {
            return Err("witnessing.interval_s: is from 1 to 3600".into());
        }
        if self.anchor_interval_s < self.interval_s {
            return Err("witnessing.anchor_interval_s: is not below witnessing.interval_s".into());
        }
        if self.lag_alarm_s <= self.interval_s {
            return Err("witnessing.lag_alarm_s: is above witnessing.interval_s".into());
        }
        Ok(())
    }
}

pub(super) fn check(witnesses: &[WitnessEntry]) -> Result<(), String> {
    if witnesses.len() > WITNESSES_MAX {
        return Err(format!("witness: at most {WITNESSES_MAX}"));
    }
    for (at, witness) in witnesses.iter().enumerate() {
        let key = &witness.key;
        if witnesses[..at]
            .iter()
            .any(|w| w.key.name == key.name || w.key.key == key.key)
        {
            return Err(format!("witness.key: {:?} stands twice", key.name));
        }
        let other = witness.ml_dsa_key.as_ref();
        if other.is_some_and(|other| other.name != key.name) {
            return Err(format!("witness.ml_dsa_key: is not named {:?}", key.name));
        }
    }
    Ok(())
}

fn cosigner<'de, D: Deserializer<'de>>(d: D) -> Result<VerifierKey, D::Error> {
    let text = String::deserialize(d)?;
    match VerifierKey::parse(&text) {
        Ok(key) if key.kind() == TYPE_COSIGNATURE => Ok(key),
        Ok(_) => Err(serde::de::Error::custom(
            "is not the key of a witness (type 0x04)",
        )),
        Err(why) => Err(serde::de::Error::custom(why)),
    }
}

fn ml_dsa_cosigner<'de, D: Deserializer<'de>>(d: D) -> Result<Option<VerifierKey>, D::Error> {
    let text = String::deserialize(d)?;
    match VerifierKey::parse(&text) {
        Ok(key) if key.kind() == TYPE_ML_DSA_COSIGNATURE => Ok(Some(key)),
        Ok(_) => Err(serde::de::Error::custom(
            "is not an ML-DSA key of a witness (type 0x06)",
        )),
        Err(why) => Err(serde::de::Error::custom(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;
    use muniment_evidence::key::{SecretKey, Signer as _};
    use muniment_evidence::ml_dsa::MlDsaSecretKey;

    fn file(witnesses: &str) -> String {
        super::super::EXAMPLE.to_owned() + witnesses
    }

    fn key(name: &str, seed: u8) -> VerifierKey {
        VerifierKey::cosigner(name, SecretKey::from_seed(&[seed; 32]).public())
    }

    fn entry(key: &VerifierKey) -> String {
        format!("\n[[witness]]\nkey = \"{key}\"\nurl = \"http://w.example\"\n")
    }

    #[test]
    fn witnesses_are_read_and_told_apart() {
        let (a, b) = (key("w/a", 1), key("w/b", 2));
        let config = Config::parse(&file(&(entry(&a) + &entry(&b)))).unwrap();
        let names: Vec<_> = config.witness.iter().map(|w| w.key.name.as_str()).collect();
        assert_eq!(names, ["w/a", "w/b"]);
        let log = VerifierKey::log("w/a", SecretKey::from_seed(&[1; 32]).public());
        let quantum = |name: &str| {
            let key = MlDsaSecretKey::from_seed(&[1; 32]).public();
            let key = VerifierKey::ml_dsa_cosigner(name, key);
            format!("{}ml_dsa_key = \"{key}\"\n", entry(&a))
        };
        let both = Config::parse(&file(&quantum("w/a"))).unwrap();
        assert!(both.witness[0].ml_dsa_key.is_some());
        let many: String = (0..17).map(|n| entry(&key(&format!("w/{n}"), n))).collect();
        for (bad, named) in [
            (entry(&log), "type 0x04"),
            (quantum("w/b"), "not named"),
            (format!("{}ml_dsa_key = \"{a}\"\n", entry(&a)), "type 0x06"),
            (entry(&a) + &entry(&key("w/a", 2)), "twice"),
            (entry(&a) + &entry(&key("w/b", 1)), "twice"),
            (entry(&a).replace("url", "address"), "address"),
            (many, "at most 16"),
        ] {
            let error = Config::parse(&file(&bad)).unwrap_err().to_string();
            assert!(error.contains(named), "{named}: {error}");
        }
    }

    #[test]
    fn whom_the_ledger_is_shown_is_the_clusters_choice() {
        let digest = |text: &str| Config::parse(text).unwrap().cluster_digest();
        let (a, b) = (entry(&key("w/a", 1)), entry(&key("w/b", 2)));
        let none = digest(&file(""));
        assert_ne!(none, digest(&file(&a)));
        assert_eq!(
            digest(&file(&(a.clone() + &b))),
            digest(&file(&(b + &a))),
            "order says nothing"
        );
        let slower = file("").replace("interval_s = 10", "interval_s = 20");
        assert_ne!(none, digest(&slower));
        let ca = a.clone() + "ca = \"ca.pem\"\n";
        assert_eq!(
            digest(&file(&a)),
            digest(&file(&ca)),
            "a path of one machine"
        );
        let bad = file("").replace("lag_alarm_s = 300", "lag_alarm_s = 10");
        assert!(
            Config::parse(&bad)
                .unwrap_err()
                .to_string()
                .contains("lag_alarm_s")
        );
    }
}
