//! Levels, ranges, sizes and weights as the command line writes them.
//!
//! Promises: strict; a wrong text is refused with what would be right. Leaves whether a
//! level can be met to the ledger.

use muniment_client::v1::{EvidenceMode, ReadLevel, WriteLevel, read_level, write_level};

/// `quorum`, `zones:2`, `regions:2` or `all`.
pub fn write_level(text: &str) -> Result<WriteLevel, String> {
    let wrong = || format!("{text:?} is not one of: quorum, zones:K, regions:K, all");
    let count = |k: &str| k.parse().ok().filter(|k| *k > 0).ok_or_else(wrong);
    let level = match text.split_once(':') {
        None if text == "quorum" => write_level::Level::Quorum(write_level::Quorum {}),
        None if text == "all" => write_level::Level::All(write_level::All {}),
        Some(("zones", k)) => write_level::Level::Zones(count(k)?),
        Some(("regions", k)) => write_level::Level::Regions(count(k)?),
        _ => return Err(wrong()),
    };
    Ok(WriteLevel { level: Some(level) })
}

/// `linearizable`, `local`, `bounded:MS`, `bounded:MS:local-only`, `session:TOKEN` or
/// `as-of:INDEX`; `session` alone is what this very command has seen.
pub fn read_level(text: &str) -> Result<ReadLevel, String> {
    use muniment::objective::read::ReadLevel as Asked;
    use read_level::Level;
    let level = match text {
        "session" => Level::Session(Default::default()),
        text => match text.parse::<Asked>()? {
            Asked::Linearizable => Level::Linearizable(read_level::Linearizable {}),
            Asked::Local => Level::Local(read_level::Local {}),
            Asked::Bounded { ms, local_only } => Level::Bounded(read_level::Bounded {
                max_ms: ms,
                local_only,
            }),
            Asked::Session(token) => Level::Session(token.encode().into()),
            Asked::AsOf(index) => Level::AsOf(index.get()),
        },
    };
    Ok(ReadLevel { level: Some(level) })
}

/// Bytes `start..end` of the protocol; end 0 means to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Range {
    pub start: u64,
    pub end: u64,
}

/// `A-B` as in HTTP and curl: the first and the last byte, from 0; `A-` goes to the end.
pub fn range(text: &str) -> Result<Range, String> {
    let wrong = || {
        format!("{text:?} is not a range such as 0-99 (the first hundred bytes) or 100- (the rest)")
    };
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let number = |digits: &str| {
        let all = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
        all.then(|| digits.parse::<u64>().ok()).flatten()
    };
    let start = number(first).ok_or_else(wrong)?;
    if last.is_empty() {
        return Ok(Range { start, end: 0 });
    }
    match number(last).and_then(|last| last.checked_add(1)) {
        Some(end) if end > start => Ok(Range { start, end }),
        _ => Err(wrong()),
    }
}

/// `300`, `100k`, `4M`: bytes, KiB, MiB.
pub fn byte_size(text: &str) -> Result<usize, String> {
    let wrong = || format!("{text:?} is not a size such as 300, 100k or 4M");
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1024),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1024 * 1024),
        _ => (text, 1),
    };
    let number: usize = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

/// How often each operation is chosen, one against the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    pub issue: u32,
    pub download: u32,
    pub get: u32,
}

impl Mix {
    pub fn sum(&self) -> u64 {
        u64::from(self.issue) + u64::from(self.download) + u64::from(self.get)
    }
}

/// `issue:download:get`, such as `1:0:0`.
pub fn mix(text: &str) -> Result<Mix, String> {
    let wrong = || format!("{text:?} is not weights of issue:download:get, such as 1:4:10");
    let weights: Vec<u32> = text
        .split(':')
        .map(|weight| weight.parse().map_err(|_| wrong()))
        .collect::<Result<_, _>>()?;
    let [issue, download, get] = weights[..] else {
        return Err(wrong());
    };
    let mix = Mix {
        issue,
        download,
        get,
    };
    if mix.sum() == 0 {
        Err(wrong())
    } else {
        Ok(mix)
    }
}

/// `strict` or `deferred`.
pub fn evidence_mode(text: &str) -> Result<EvidenceMode, String> {
    match text {
        "strict" => Ok(EvidenceMode::Strict),
        "deferred" => Ok(EvidenceMode::Deferred),
        _ => Err(format!("{text:?} is neither strict nor deferred")),
    }
}

/// `YYYY-MM`.
pub fn month(text: &str) -> Result<String, String> {
    let format = time::macros::format_description!("[year]-[month]-[day]");
    match time::Date::parse(&format!("{text}-01"), format) {
        Ok(_) if text.len() == 7 => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is not a month such as 2026-11")),
    }
}

/// `YYYY-MM-DD`, with an offset such as `+08:00` where the scheme has one.
pub fn date(text: &str) -> Result<String, String> {
    let format = time::macros::format_description!("[year]-[month]-[day]");
    let day = text.get(..10).map(|day| time::Date::parse(day, format));
    match day {
        Some(Ok(_)) => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is not a date such as 2026-11-23")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_include_their_last_byte() {
        assert_eq!(range("0-99"), Ok(Range { start: 0, end: 100 }));
        assert_eq!(range("5-5"), Ok(Range { start: 5, end: 6 }));
        assert_eq!(range("7-"), Ok(Range { start: 7, end: 0 }));
        for bad in [
            "",
            "-",
            "-5",
            "5",
            "9-3",
            "a-b",
            "0-99-",
            "+1-2",
            "0-18446744073709551615",
        ] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn levels_are_named_as_in_the_design() {
        let zones = Some(write_level::Level::Zones(2));
        assert_eq!(write_level("zones:2").unwrap().level, zones);
        for bad in ["", "zones", "zones:0", "zones:x", "ALL", "two"] {
            assert!(write_level(bad).is_err(), "{bad}");
        }
        assert!(read_level("local").is_ok());
        assert!(read_level("stale").is_err());
    }

    #[test]
    fn sizes_weights_and_months_are_strict() {
        assert_eq!(byte_size("100k"), Ok(102_400));
        assert_eq!(byte_size("300"), Ok(300));
        assert!(byte_size("k").is_err() && byte_size("1G").is_err());
        let all_issue = Mix {
            issue: 1,
            download: 0,
            get: 0,
        };
        assert_eq!(mix("1:0:0"), Ok(all_issue));
        assert!(mix("0:0:0").is_err() && mix("1:1").is_err() && mix("a:b:c").is_err());
        assert_eq!(month("2026-11").as_deref(), Ok("2026-11"));
        assert!(month("2026-13").is_err() && month("2026-1").is_err());
        assert!(date("2026-11-23+08:00").is_ok() && date("2026-02-30").is_err());
    }
}
