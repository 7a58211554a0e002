//! Trust policies: which logs, which witnesses and which quorum of them make a checkpoint
//! good enough (C2SP tlog-policy).
//!
//! Promises: a [`Policy`] in hand keeps every rule of the format, whether it was read or
//! built, and what it prints reads back as itself; one signature by a known key that does
//! not verify spoils the whole note. Leaves inclusion to `proof`, and who holds which key
//! to whoever wrote the policy. Text is UTF-8 here, which the format only recommends.

use crate::note::{
    Checkpoint, Note, TYPE_COSIGNATURE, TYPE_ED25519, VerifierKey, Vouch, is_key_name,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// The longest policy file: all lines that are allowed, with room for comments.
pub const POLICY_BYTES_MAX: usize = 64 * 1024;
/// Logs in one policy: twice the 32 that the format asks an implementation to support.
pub const LOGS_MAX: usize = 64;
/// Witnesses in one policy, as above; each costs a signature check per note.
pub const WITNESSES_MAX: usize = 64;
/// Groups in one policy, as above; so groups are never nested deeper than this.
pub const GROUPS_MAX: usize = 64;

/// The quorum that asks for no cosignature; nothing else may have this name.
const NONE: &str = "none";
/// ML-DSA-44 cosignatures, named only to be refused in words.
const TYPE_ML_DSA: u8 = 0x06;

/// Logs, witnesses, groups of them, and the quorum. Made by [`Policy::parse`] or
/// [`Policy::builder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<Log>,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    quorum: Option<String>,
}

/// A log that may sign: its key's name is the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub key: VerifierKey,
    pub url: Option<String>,
}

/// A witness and what this policy calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    pub name: String,
    pub key: VerifierKey,
    pub url: Option<String>,
}

/// Has witnessed a checkpoint when `needed` of its members have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    pub needed: usize,
    /// Witnesses and groups defined before this one.
    pub members: Vec<String>,
}

/// How many members of a group are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    Any,
    All,
    AtLeast(usize),
}

/// What a policy says of a note.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The note's origin, when a log of this name has signed it.
    pub log: Option<String>,
    /// The witnesses that have cosigned, in the policy's order.
    pub cosigned: Vec<Cosigned>,
    /// The groups that have witnessed, in the policy's order.
    pub groups: Vec<String>,
    /// Whether the quorum is met, whoever signed as the log.
    pub quorum_met: bool,
    /// In words, what the note lacks; `None` when the policy is met.
    pub missing: Option<String>,
}

/// A witness, by its name in the policy, and when it cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    pub name: String,
    /// Seconds since 1970, as the witness says.
    pub time_s: u64,
}

/// Which rule a policy breaks, and on which line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// Counted from 1; `None` when no single line is to blame.
    pub line: Option<usize>,
    pub why: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

impl std::error::Error for PolicyError {}

impl Policy {
    pub fn parse(text: &str) -> Result<Policy, PolicyError> {
        text.parse()
    }

    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }

    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The witness or group that must have witnessed; `None` asks for no cosignature.
    pub fn quorum(&self) -> Option<&str> {
        self.quorum.as_deref()
    }

    /// The key of the witness that this policy calls `name`.
    pub fn witness(&self, name: &str) -> Option<&VerifierKey> {
        let mut all = self.witnesses.iter();
        all.find(|witness| witness.name == name)
            .map(|witness| &witness.key)
    }

    /// What this policy calls the witness with this key.
    pub fn name_of(&self, key: &VerifierKey) -> Option<&str> {
        let mut all = self.witnesses.iter();
        all.find(|witness| witness.key == *key)
            .map(|witness| witness.name.as_str())
    }

    /// Judges a checkpoint by its signatures. Never trusts the text beyond them.
    pub fn judge(&self, note: &Note) -> Verdict {
        let spoiled = |why: String| Verdict {
            missing: Some(why),
            ..Verdict::default()
        };
        let origin = match Checkpoint::parse(&note.text) {
            Ok(checkpoint) => checkpoint.origin,
            Err(why) => return spoiled(format!("the note is no checkpoint: {why}")),
        };
        let mut verdict = Verdict::default();
        for log in &self.logs {
            match note.vouch(&log.key) {
                Vouch::Invalid => {
                    return spoiled(format!(
                        "the signature of the log {} does not verify",
                        log.key.name
                    ));
                }
                Vouch::Signed if log.key.name == origin => verdict.log = Some(origin.clone()),
                _ => (),
            }
        }
        for witness in &self.witnesses {
            match note.vouch(&witness.key) {
                Vouch::Invalid => {
                    return spoiled(format!(
                        "the cosignature of {} does not verify",
                        witness.name
                    ));
                }
                Vouch::Cosigned { time_s } => verdict.cosigned.push(Cosigned {
                    name: witness.name.clone(),
                    time_s,
                }),
                _ => (),
            }
        }
        let mut there: BTreeSet<&str> = BTreeSet::new();
        for witness in &self.witnesses {
            if verdict.cosigned.iter().any(|c| c.name == witness.name) {
                there.insert(&witness.name);
            }
        }
        // Members are defined before their group, so one pass is enough.
        for group in &self.groups {
            if group.present(&there) >= group.needed {
                there.insert(&group.name);
                verdict.groups.push(group.name.clone());
            }
        }
        let lacking = match &self.quorum {
            Some(name) if !there.contains(name.as_str()) => Some(self.lacking(name, &there)),
            _ => None,
        };
        verdict.quorum_met = lacking.is_none();
        let unsigned = match (&verdict.log, self.logs.is_empty()) {
            (Some(_), _) => None,
            (None, true) => Some("the policy names no log".to_owned()),
            (None, false) => Some(format!("no log of the policy has signed for {origin}")),
        };
        let lacking = lacking.map(|what| format!("the quorum is not met: {what}"));
        let missing: Vec<String> = unsigned.into_iter().chain(lacking).collect();
        verdict.missing = (!missing.is_empty()).then(|| missing.join("; "));
        verdict
    }

    /// In words, why `name` has not witnessed. Each name is a member only once, so what
    /// is said is no longer than the policy.
    fn lacking(&self, name: &str, there: &BTreeSet<&str>) -> String {
        let Some(group) = self.groups.iter().find(|group| group.name == name) else {
            return format!("{name} has not cosigned");
        };
        let absent = group
            .members
            .iter()
            .filter(|member| !there.contains(member.as_str()));
        let absent: Vec<String> = absent.map(|member| self.lacking(member, there)).collect();
        format!(
            "{name} needs {} of {} and has {} ({})",
            group.needed,
            group.members.len(),
            group.present(there),
            absent.join(", ")
        )
    }
}

impl Verdict {
    /// Whether a log of the policy has signed and the quorum is met.
    pub fn is_met(&self) -> bool {
        self.missing.is_none()
    }
}

impl Group {
    fn present(&self, there: &BTreeSet<&str>) -> usize {
        let members = self.members.iter();
        members
            .filter(|member| there.contains(member.as_str()))
            .count()
    }
}

/// Takes a policy's lines one by one and refuses the first that breaks a rule.
#[derive(Debug, Default)]
pub struct PolicyBuilder {
    logs: Vec<Log>,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    quorum: Option<Option<String>>,
    /// Names of witnesses and groups, and whether a group has them already.
    names: BTreeMap<String, bool>,
}

impl PolicyBuilder {
    pub fn log(&mut self, key: VerifierKey, url: Option<&str>) -> Result<&mut Self, PolicyError> {
        if self.logs.len() == LOGS_MAX {
            return refuse(format!("a policy has at most {LOGS_MAX} logs"));
        }
        check_key(&key, TYPE_ED25519)?;
        self.check_new_key(&key, self.logs.iter().map(|log| &log.key))?;
        let url = url.map(checked_url).transpose()?;
        self.logs.push(Log { key, url });
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
        check_key(&key, TYPE_COSIGNATURE)?;
        self.check_new_key(&key, self.witnesses.iter().map(|witness| &witness.key))?;
        let url = url.map(checked_url).transpose()?;
        self.names.insert(name.to_owned(), false);
        self.witnesses.push(Witness {
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
        self.groups.push(Group {
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
            other.key == key.key || (other.name == key.name && other.id() == key.id())
        };
        match others.find(|other| clash(other)) {
            Some(other) => refuse(format!("the key of {} is there already: {other}", key.name)),
            None => Ok(()),
        }
    }
}

const ONE_QUORUM: &str = "a policy has exactly one quorum line";

fn refuse<T>(why: String) -> Result<T, PolicyError> {
    Err(PolicyError { line: None, why })
}

fn check_key(key: &VerifierKey, kind: u8) -> Result<(), PolicyError> {
    if key.kind != kind {
        return refuse(match kind {
            TYPE_ED25519 => format!(
                "a log's key is of type 0x{TYPE_ED25519:02x} (Ed25519), not 0x{:02x}",
                key.kind
            ),
            _ => format!(
                "a witness's key is of type 0x{TYPE_COSIGNATURE:02x} (Ed25519 cosignature), \
                 not 0x{:02x}",
                key.kind
            ),
        });
    }
    if !is_key_name(&key.name) || !key.key.is_valid() {
        return refuse(format!("{key} is no usable key"));
    }
    Ok(())
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

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Policy, PolicyError> {
        if text.len() > POLICY_BYTES_MAX {
            return refuse(format!("a policy has at most {POLICY_BYTES_MAX} bytes"));
        }
        let mut builder = Policy::builder();
        for (line, number) in text.split('\n').zip(1..) {
            read_line(&mut builder, line).map_err(|error| PolicyError {
                line: Some(number),
                ..error
            })?;
        }
        builder.build()
    }
}

fn read_line(builder: &mut PolicyBuilder, line: &str) -> Result<(), PolicyError> {
    if let Some(octet) = line
        .bytes()
        .find(|&c| c != b'\t' && (c < b' ' || c == 0x7f))
    {
        return refuse(format!("the octet 0x{octet:02x} is not allowed"));
    }
    let items: Vec<&str> = line
        .split([' ', '\t'])
        .filter(|item| !item.is_empty())
        .collect();
    match items[..] {
        [] => (),
        [first, ..] if first.starts_with('#') => (),
        ["log", key] => {
            builder.log(read_key(key)?, None)?;
        }
        ["log", key, url] => {
            builder.log(read_key(key)?, Some(url))?;
        }
        ["log", ..] => return refuse("a log line is: log <vkey> [<url>]".to_owned()),
        ["witness", name, key] => {
            builder.witness(name, read_key(key)?, None)?;
        }
        ["witness", name, key, url] => {
            builder.witness(name, read_key(key)?, Some(url))?;
        }
        ["witness", ..] => {
            return refuse("a witness line is: witness <name> <vkey> [<url>]".to_owned());
        }
        ["group", name, threshold, _, ..] => {
            builder.group(name, read_threshold(threshold)?, &items[3..])?;
        }
        ["group", ..] => {
            return refuse("a group line is: group <name> all|any|<k> <member>...".to_owned());
        }
        ["quorum", name] => {
            builder.quorum(name)?;
        }
        ["quorum", ..] => return refuse("a quorum line is: quorum <name>|none".to_owned()),
        [keyword, ..] => return refuse(format!("the keyword {keyword} is unknown")),
    }
    Ok(())
}

fn read_key(text: &str) -> Result<VerifierKey, PolicyError> {
    let blob = text.splitn(3, '+').nth(2);
    let blob = blob.and_then(|blob| BASE64.decode(blob).ok());
    match blob.as_deref().and_then(<[u8]>::first) {
        Some(&TYPE_ML_DSA) => refuse(format!(
            "keys of type 0x{TYPE_ML_DSA:02x} (ML-DSA-44 cosignature) are not supported"
        )),
        Some(&kind) if ![TYPE_ED25519, TYPE_COSIGNATURE].contains(&kind) => {
            refuse(format!("keys of type 0x{kind:02x} are not supported"))
        }
        _ => VerifierKey::parse(text).or_else(|why| refuse(why.to_string())),
    }
}

fn read_threshold(text: &str) -> Result<Threshold, PolicyError> {
    match text {
        "any" => Ok(Threshold::Any),
        "all" => Ok(Threshold::All),
        _ => match text.parse::<usize>() {
            // One writing for one number: neither a plus nor leading zeros.
            Ok(needed) if needed.to_string() == text => Ok(Threshold::AtLeast(needed)),
            _ => refuse(format!("the threshold {text} is not all, any or a number")),
        },
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = |url: &Option<String>| url.as_ref().map_or(String::new(), |u| format!(" {u}"));
        for log in &self.logs {
            writeln!(f, "log {}{}", log.key, url(&log.url))?;
        }
        for witness in &self.witnesses {
            let Witness { name, key, url: at } = witness;
            writeln!(f, "witness {name} {key}{}", url(at))?;
        }
        for group in &self.groups {
            let threshold = match group.needed {
                n if n == group.members.len() => "all".to_owned(),
                1 => "any".to_owned(),
                n => n.to_string(),
            };
            writeln!(
                f,
                "group {} {threshold} {}",
                group.name,
                group.members.join(" ")
            )?;
        }
        writeln!(f, "quorum {}", self.quorum().unwrap_or(NONE))
    }
}
