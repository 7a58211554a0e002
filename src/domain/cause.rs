//! What an error came from: an error of another layer, or words where there was none.
//!
//! Promises that nothing is lost on the way up: the error stays the source. Its text says
//! the whole way down, since every error prints the one that it holds. Leaves what to do
//! about it to the error that holds it, which has the kind.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// Any error of any layer.
pub type AnyError = dyn Error + Send + Sync;

/// See the module.
#[derive(Clone)]
pub struct Cause {
    /// Where it came up, if the error does not say that itself.
    place: Option<Arc<str>>,
    error: Arc<AnyError>,
}

impl Cause {
    /// Of an error, or of words.
    pub fn new(error: impl Into<Box<AnyError>>) -> Cause {
        Cause {
            place: None,
            error: Arc::from(error.into()),
        }
    }

    /// The same, where the place has to be said.
    pub fn at(place: impl fmt::Display, error: impl Into<Box<AnyError>>) -> Cause {
        Cause {
            place: Some(place.to_string().into()),
            ..Cause::new(error)
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.error),
            None => self.error.fmt(f),
        }
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.error.as_ref())
    }
}

/// Equal when they say the same.
impl PartialEq for Cause {
    fn eq(&self, other: &Cause) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for Cause {}

impl From<String> for Cause {
    fn from(words: String) -> Cause {
        Cause::new(words)
    }
}

impl From<&str> for Cause {
    fn from(words: &str) -> Cause {
        Cause::new(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_stays_the_source_and_is_told_with_its_place() {
        let lost = || std::io::Error::other("no such disk");
        let cause = Cause::at("ledger/", lost());
        assert_eq!(cause.to_string(), "ledger/: no such disk");
        assert!(cause.source().unwrap().is::<std::io::Error>());
        // A cause within a cause is told from the outside in.
        let outer = Cause::at("node 1", cause);
        assert_eq!(outer.to_string(), "node 1: ledger/: no such disk");
        let inner = outer.source().and_then(Error::source).unwrap();
        assert!(inner.is::<std::io::Error>());
    }

    #[test]
    fn words_alone_are_a_cause_too() {
        assert_eq!(Cause::from("no leader").to_string(), "no leader");
        assert_eq!(Cause::from("a"), Cause::from(String::from("a")));
        assert_ne!(Cause::from("a"), Cause::at("b", "a"));
    }
}
