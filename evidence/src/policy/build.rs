//! Making a policy, line by line: the rules that every policy keeps.
//!
//! Promises: the first line that breaks a rule is refused and changes nothing. Leaves the
//! writing of lines to `text`.

use super::{
    GROUPS_MAX, LOGS_MAX, NONE, Policy, PolicyError, PolicyGroup, PolicyLog, PolicyWitness,
    Threshold, WITNESSES_MAX,
};
use crate::note::{TYPE_ED25519, TypedKey, VerifierKey};
use std::collections::{BTreeMap, BTreeSet};

/// Takes a policy's lines one by one and refuses the first that breaks a rule.
#[derive(Debug, Default)]
pub struct PolicyBuilder {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<PolicyGroup>,
    quorum: Option<Option<String>>,
    /// Names of witnesses and groups, and whether a group has them already.
    names: BTreeMap<String, bool>,
}

impl Policy {
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }
}

impl PolicyBuilder {
    pub fn log(&mut self, key: VerifierKey, url: Option<&str>) -> Result<&mut Self, PolicyError> {
        if self.logs.len() == LOGS_MAX {
            return refuse(format!("a policy has at most {LOGS_MAX} logs"));
        }
        if key.kind() != TYPE_ED25519 {
            return refuse(format!(
                "a log's key is of type 0x{TYPE_ED25519:02x} (Ed25519), not 0x{:02x}",
                key.kind()
            ));
        }
        check_usable(&key)?;
        self.check_new_key(&key, self.logs.iter().map(|log| &log.key))?;
        let url = url.map(checked_url).transpose()?;
        self.logs.push(PolicyLog { key, url });
        Ok(self)
    }

    pub fn witness(
        &mut self,
        name: &str,
        key: VerifierKey,
        url: Option<&str>,
    ) -> Result<&mut Self, PolicyError> {
        if self.witnesses.len() == WITNESSES_MAX {
            return refuse(format!("a policy has at most {WITNESSES_MAX} witnesses"));
        }
        self.check_new_name(name)?;
        // Of a type that is not known, nobody can say here that it is no cosignature's: the
        // witness is kept, and is never there.
        if matches!(key.key, TypedKey::Log(_)) {
            return refuse(format!(
                "a witness's key is a cosignature key, not of type 0x{TYPE_ED25519:02x}"
            ));
        }
        check_usable(&key)?;
        self.check_new_key(&key, self.witnesses.iter().map(|witness| &witness.key))?;
        let url = url.map(checked_url).transpose()?;
        self.names.insert(name.to_owned(), false);
        self.witnesses.push(PolicyWitness {
            name: name.to_owned(),
            key,
            url,
        });
        Ok(self)
    }

    pub fn group(
        &mut self,
        name: &str,
        threshold: Threshold,
        members: &[&str],
    ) -> Result<&mut Self, PolicyError> {
        if self.groups.len() == GROUPS_MAX {
            return refuse(format!("a policy has at most {GROUPS_MAX} groups"));
        }
        self.check_new_name(name)?;
        let needed = match threshold {
            Threshold::Any => 1,
            Threshold::All => members.len(),
            Threshold::AtLeast(needed) => needed,
        };
        if !(1..=members.len()).contains(&needed) {
            return refuse(format!(
                "the threshold {needed} of group {name} is not within 1 and {}",
                members.len()
            ));
        }
        let mut taken = BTreeSet::new();
        for member in members {
            match self.names.get(*member) {
                None => {
                    return refuse(format!("the member {member} is not defined before {name}"));
                }
                Some(false) if taken.insert(*member) => (),
                Some(_) => return refuse(format!("{member} is a member more than once")),
            }
        }
        for member in members {
            self.names.insert((*member).to_owned(), true);
        }
        self.names.insert(name.to_owned(), false);
        self.groups.push(PolicyGroup {
            name: name.to_owned(),
            needed,
            members: members.iter().map(|&member| member.to_owned()).collect(),
        });
        Ok(self)
    }

    /// A witness or group defined before, or `none`.
    pub fn quorum(&mut self, name: &str) -> Result<&mut Self, PolicyError> {
        if self.quorum.is_some() {
            return refuse(ONE_QUORUM.to_owned());
        }
        if name != NONE && !self.names.contains_key(name) {
            return refuse(format!("the quorum {name} is not defined before"));
        }
        self.quorum = Some((name != NONE).then(|| name.to_owned()));
        Ok(self)
    }

    /// Takes what was given so far, and leaves the builder empty.
    pub fn build(&mut self) -> Result<Policy, PolicyError> {
        let whole = std::mem::take(self);
        let Some(quorum) = whole.quorum else {
            return refuse(ONE_QUORUM.to_owned());
        };
        Ok(Policy {
            logs: whole.logs,
            witnesses: whole.witnesses,
            groups: whole.groups,
            quorum,
        })
    }

    fn check_new_name(&self, name: &str) -> Result<(), PolicyError> {
        if !is_item(name) {
            return refuse(format!("{name:?} is no name"));
        }
        if name == NONE {
            return refuse(format!("the name {NONE} is reserved"));
        }
        if self.names.contains_key(name) {
            return refuse(format!("the name {name} is defined twice"));
        }
        Ok(())
    }

    /// Two keys that a signature line could mean equally are refused too.
    fn check_new_key<'a>(
        &self,
        key: &VerifierKey,
        mut others: impl Iterator<Item = &'a VerifierKey>,
    ) -> Result<(), PolicyError> {
        let clash = |other: &VerifierKey| {
            other.key.bytes() == key.key.bytes()
                || (other.name == key.name && other.id() == key.id())
        };
        match others.find(|other| clash(other)) {
            Some(other) => refuse(format!("the key of {} is there already: {other}", key.name)),
            None => Ok(()),
        }
    }
}

const ONE_QUORUM: &str = "a policy has exactly one quorum line";

pub(super) fn refuse<T>(why: String) -> Result<T, PolicyError> {
    Err(PolicyError { line: None, why })
}

fn check_usable(key: &VerifierKey) -> Result<(), PolicyError> {
    if key.is_usable() {
        return Ok(());
    }
    refuse(format!("{key} is no usable key"))
}

fn checked_url(url: &str) -> Result<String, PolicyError> {
    if !is_item(url) {
        return refuse(format!("{url:?} is no URL"));
    }
    Ok(url.to_owned())
}

/// What may stand between two spaces. Octets beyond ASCII are opaque, as the format says.
fn is_item(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c > b' ' && c != 0x7f)
}
