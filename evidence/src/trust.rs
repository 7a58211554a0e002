//! The auditor's pin: which ledger is meant, by origin and genesis leaf hash.
//!
//! Promises: three lines that a person can read over the telephone, parsed strictly.
//! Leaves it to the auditor to obtain the file from someone he trusts: a pin copied
//! from the evidence itself proves nothing.

use crate::digest::Digest;
use crate::genesis::ORIGIN_BYTES_MAX;
use crate::note::is_key_name;
use std::fmt;
use std::str::FromStr;

/// The longest trust file: three short lines.
pub const TRUST_BYTES_MAX: usize = 1024;

/// A ledger, pinned: three lines, written in one way only.
///
/// ```
/// use muniment_evidence::trust::Trust;
///
/// let text = "muniment-trust/v1\n\
///             origin ledger.example/0\n\
///             genesis 56489aad4586926e11b4ede2a5e89a3e89172f71477d62bf1f22163268f0f5cf\n";
/// let trust = Trust::parse(text)?;
/// assert_eq!(trust.origin, "ledger.example/0");
/// assert_eq!(trust.to_string(), text);
/// assert!(Trust::parse(text.trim_end()).is_err());
/// # Ok::<(), muniment_evidence::trust::TrustError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    pub origin: String,
    /// Leaf hash of the GENESIS record: the ledger's id.
    pub genesis: Digest,
}

/// What the trust file lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustError(pub &'static str);

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for TrustError {}

impl Trust {
    pub fn parse(text: &str) -> Result<Trust, TrustError> {
        text.parse()
    }
}

impl FromStr for Trust {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Trust, TrustError> {
        let lines: Vec<&str> = text
            .strip_suffix('\n')
            .ok_or(TrustError("a trust file ends in a line feed"))?
            .split('\n')
            .collect();
        let [version, origin, genesis] = lines[..] else {
            return Err(TrustError("a trust file has three lines"));
        };
        if version != "muniment-trust/v1" {
            return Err(TrustError("the first line is muniment-trust/v1"));
        }
        let origin = origin
            .strip_prefix("origin ")
            .filter(|origin| is_key_name(origin) && origin.len() <= ORIGIN_BYTES_MAX)
            .ok_or(TrustError("the second line is: origin <name>"))?;
        let genesis = genesis
            .strip_prefix("genesis ")
            // One writing for one pin: upper-case digits are refused.
            .filter(|hex| !hex.bytes().any(|c| c.is_ascii_uppercase()))
            .and_then(Digest::from_hex)
            .ok_or(TrustError(
                "the third line is: genesis <64 lower-case hexadecimal digits>",
            ))?;
        Ok(Trust {
            origin: origin.to_owned(),
            genesis,
        })
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "muniment-trust/v1\norigin {}\ngenesis {}\n",
            self.origin, self.genesis
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_reads_back_and_loose_writing_is_refused() {
        let trust = Trust {
            origin: "ledger.example/0".into(),
            genesis: Digest([0xab; 32]),
        };
        let text = trust.to_string();
        assert_eq!(Trust::parse(&text), Ok(trust));
        for bad in [
            text.trim_end().to_owned(),
            format!("{text}\n"),
            format!("{text}more\n"),
            text.replace("v1", "v0"),
            text.replace("ab", "AB"),
            text.replace("ledger", "led ger"),
            text.replace("genesis ", "genesis  "),
            text.replace('\n', "\r\n"),
            text.replace("ab\n", "\n"),
            String::new(),
        ] {
            assert!(Trust::parse(&bad).is_err(), "{bad:?}");
        }
    }
}
