//! Session tokens: how far their holder has seen a ledger.
//!
//! Promises: a token is kept as the server gave it; of two tokens of one ledger the later is
//! found without asking anybody. The client needs no more of a token than its order, so it
//! reads no field of it. Leaves what a token means for a read to the server.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use std::str::FromStr;

/// The only version so far, and the first byte of a token.
const VERSION: u8 = 1;
/// Version, ledger (32 bytes), recovery epoch and Raft index (8 bytes each, big-endian).
const LENGTH: usize = 49;
/// The bytes of epoch and index begin here; being big-endian, they compare as they are.
const PLACE: usize = 33;

/// How far somebody has seen a ledger; its text may be kept for another process.
///
/// ```
/// use muniment_client::SessionToken;
///
/// let kept = "AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHAAAAAAAAAAAAAAAAAAABAg";
/// let token: SessionToken = kept.parse().expect("it was written by this version");
/// assert_eq!(token.to_string(), kept);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionToken([u8; LENGTH]);

/// The bytes or the text are no token of a version that this client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownToken;

impl SessionToken {
    /// As the server reads it.
    pub fn encode(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    /// As an answer carries it.
    pub fn decode(bytes: &[u8]) -> Result<SessionToken, UnknownToken> {
        match <[u8; LENGTH]>::try_from(bytes) {
            Ok(bytes) if bytes[0] == VERSION => Ok(SessionToken(bytes)),
            _ => Err(UnknownToken),
        }
    }

    /// Whichever has seen more. Of another ledger, the first stays: the next read then
    /// says so, where taking the other would forget what was seen.
    pub fn newest(self, other: SessionToken) -> SessionToken {
        let (ledger, place) = self.0.split_at(PLACE);
        let (other_ledger, other_place) = other.0.split_at(PLACE);
        if other_ledger == ledger && other_place > place {
            other
        } else {
            self
        }
    }
}

impl fmt::Display for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl FromStr for SessionToken {
    type Err = UnknownToken;

    fn from_str(text: &str) -> Result<SessionToken, UnknownToken> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| UnknownToken)?;
        SessionToken::decode(&bytes)
    }
}

impl fmt::Display for UnknownToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is no token that an answer carried")
    }
}

impl std::error::Error for UnknownToken {}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn token(ledger: u8, epoch: u64, index: u64) -> SessionToken {
        let mut bytes = vec![VERSION];
        bytes.extend([ledger; 32]);
        bytes.extend(epoch.to_be_bytes());
        bytes.extend(index.to_be_bytes());
        SessionToken::decode(&bytes).unwrap()
    }

    /// Tokens are kept: a later client must still read what this one wrote. The server's
    /// own test (`a_token_keeps_its_bytes`) freezes the same bytes.
    #[test]
    fn a_token_keeps_its_bytes_and_its_text() {
        let mut bytes = vec![1];
        bytes.extend([7; 32]);
        bytes.extend([0; 8]);
        bytes.extend([0, 0, 0, 0, 0, 0, 1, 2]);
        let token = token(7, 0, 0x0102);
        assert_eq!(token.encode(), bytes);
        assert_eq!(token.to_string().parse(), Ok(token));
        assert!(SessionToken::decode(&bytes[..48]).is_err());
        assert!(SessionToken::decode(&[&bytes[..], &[0]].concat()).is_err());
        assert!(SessionToken::decode(&[&[2], &bytes[1..]].concat()).is_err());
        assert!(SessionToken::decode(&[]).is_err());
        assert!("AAAA".parse::<SessionToken>().is_err());
    }

    #[test]
    fn of_two_tokens_the_one_that_has_seen_more_is_kept() {
        assert_eq!(token(7, 0, 3).newest(token(7, 0, 5)), token(7, 0, 5));
        assert_eq!(token(7, 0, 5).newest(token(7, 0, 3)), token(7, 0, 5));
        assert_eq!(token(7, 0, 255).newest(token(7, 0, 256)), token(7, 0, 256));
        assert_eq!(token(7, 0, 5).newest(token(7, 1, 2)), token(7, 1, 2));
        assert_eq!(token(7, 0, 5).newest(token(8, 0, 9)), token(7, 0, 5));
    }
}
