//! Values as people write them.

use muniment_evidence::digest::hex;
use muniment_evidence::ids::NodeId;
use muniment_evidence::keychange::{Action, KeyChange};
use muniment_evidence::opening::{Actor, Identity, Money};
use muniment_evidence::statement::{Level, Mode};

/// Who asked, as the node knew it: name and issuer, for whom, how, from where.
pub(crate) fn who(actor: &Actor) -> String {
    let said = |what: &str, text: &str| match text.is_empty() {
        true => String::new(),
        false => format!("{what}{text}"),
    };
    [
        actor.who(),
        said("for ", &actor.on_behalf_of),
        said("by the link ", &actor.link),
        said("authenticated by ", &actor.authenticated),
        actor.address.clone(),
        actor.agent.clone(),
    ]
    .into_iter()
    .filter(|part| !part.is_empty())
    .collect::<Vec<_>>()
    .join(" ")
}

pub(super) fn invoice(identity: &Identity) -> String {
    format!("The invoice {} of {}", identity.number, identity.issuer)
}

pub(super) fn level(level: Level) -> String {
    match level {
        Level::None => "none".to_owned(),
        Level::Quorum => "quorum".to_owned(),
        Level::Zones(k) => format!("zones:{k}"),
        Level::Regions(k) => format!("regions:{k}"),
        Level::All => "all".to_owned(),
    }
}

pub(super) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::None => "none",
        Mode::Strict => "strict",
        Mode::Deferred => "deferred",
    }
}

pub(super) fn amount(money: &Money) -> String {
    let text = decimal(money.minor_units.into(), money.exponent);
    format!("{text} {}", money.currency).trim_end().to_owned()
}

/// Minor units with the point where the exponent puts it.
pub(crate) fn decimal(minor_units: i128, exponent: u8) -> String {
    let sign = if minor_units < 0 { "-" } else { "" };
    let exponent = usize::from(exponent);
    let digits = format!("{:0>1$}", minor_units.unsigned_abs(), exponent + 1);
    let (units, rest) = digits.split_at(digits.len() - exponent);
    let point = if rest.is_empty() { "" } else { "." };
    format!("{sign}{units}{point}{rest}")
}

pub(crate) fn uuid(id: &[u8; 16]) -> String {
    let hex = hex(id);
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

/// `2026-11-23T20:59:54.123Z`, by the proleptic Gregorian calendar.
pub(crate) fn utc(ms: u64) -> String {
    let (days, in_day) = (ms / 86_400_000, ms % 86_400_000);
    let (second, milli) = (in_day / 1000, in_day % 1000);
    // Howard Hinnant's civil_from_days: years begin in March, eras have 400 years.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{milli:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

pub(super) fn key_change(change: &KeyChange) -> String {
    let whose = match change.node {
        NodeId::NONE => "the ledger".to_owned(),
        node => format!("node {node}"),
    };
    let what = match change.action {
        Action::Add => "added".to_owned(),
        Action::Retire { .. } => "retired".to_owned(),
        Action::Revoke { trusted_until } => format!("revoked from {trusted_until} on"),
    };
    format!("{} key of {whose} {what}: {:?}", change.role, change.key)
}
