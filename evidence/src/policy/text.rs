//! A policy as a file: reading and printing.
//!
//! Promises: what is printed reads back as the same policy, and reading names the line
//! that breaks a rule. Comments and the order of kinds of lines are not kept. Leaves the
//! rules themselves to `build`.

use super::build::{PolicyBuilder, refuse};
use super::{NONE, POLICY_BYTES_MAX, Policy, PolicyError, PolicyWitness, Threshold};
use crate::note::VerifierKey;
use std::fmt;
use std::str::FromStr;

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
    VerifierKey::parse_any(text).or_else(|why| refuse(why.to_string()))
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
            let PolicyWitness { name, key, url: at } = witness;
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
