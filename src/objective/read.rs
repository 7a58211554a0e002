//! Read levels: how fresh an answer must be.
//!
//! Pure; `raft/`'s reader makes them true.

use std::fmt;
use std::str::FromStr;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ReadLevel {
    /// Nothing acknowledged before the call is missed.
    #[default]
    Linearizable,
    /// What this replica has, even when it is cut off; never escalates.
    Local,
}

impl fmt::Display for ReadLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReadLevel::Linearizable => "linearizable",
            ReadLevel::Local => "local",
        })
    }
}

impl FromStr for ReadLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<ReadLevel, String> {
        match text {
            "linearizable" => Ok(ReadLevel::Linearizable),
            "local" => Ok(ReadLevel::Local),
            _ => Err(format!("{text:?} is none of linearizable, local")),
        }
    }
}
