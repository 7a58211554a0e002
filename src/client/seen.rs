//! What the client has seen of its ledger, and the level that its reads ask for.
//!
//! Promises: the newest token of all answers is kept; a read that names no level misses
//! nothing that this client has seen, from whichever node it is answered. A token that is
//! lost stays, and each such read says so, until the caller lets go of it. Leaves tokens
//! to die with the process: who needs them longer keeps the text of [`Token`].

use crate::objective::read::Token;
use crate::wire::v1;
use std::sync::{Mutex, MutexGuard};
use v1::read_level::Level;

/// See the module.
#[derive(Default)]
pub(super) struct Seen(Mutex<Newest>);

#[derive(Clone, Copy, Default)]
enum Newest {
    #[default]
    Nothing,
    Token(Token),
    /// A server gave a token of a later version: reads are linearizable from then on, since
    /// nothing weaker is sure to have it.
    Unreadable,
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, Newest> {
        self.0.lock().expect("no code panics under this lock")
    }

    pub(super) fn note(&self, answered: Option<&v1::Answered>) {
        let Some(bytes) = answered.map(|answered| &answered.session_token) else {
            return;
        };
        if bytes.is_empty() {
            return;
        }
        match Token::decode(bytes) {
            Ok(token) => self.saw(token),
            Err(_) => *self.lock() = Newest::Unreadable,
        }
    }

    pub(super) fn saw(&self, token: Token) {
        let mut newest = self.lock();
        *newest = match *newest {
            Newest::Nothing => Newest::Token(token),
            Newest::Token(known) => Newest::Token(known.newest(token)),
            Newest::Unreadable => Newest::Unreadable,
        };
    }

    pub(super) fn token(&self) -> Option<Token> {
        match *self.lock() {
            Newest::Token(token) => Some(token),
            Newest::Nothing | Newest::Unreadable => None,
        }
    }

    pub(super) fn forget(&self) {
        *self.lock() = Newest::Nothing;
    }

    /// What is sent: the level named; where none is, or a session without its token, the
    /// newest token. Without one, the server's default, which is linearizable.
    pub(super) fn level(&self, asked: Option<v1::ReadLevel>) -> Option<v1::ReadLevel> {
        let is_named = match asked.as_ref().and_then(|asked| asked.level.as_ref()) {
            None => false,
            Some(Level::Session(token)) => !token.is_empty(),
            Some(_) => true,
        };
        if is_named {
            return asked;
        }
        self.token().map(|token| v1::ReadLevel {
            level: Some(Level::Session(token.encode().into())),
        })
    }
}

/// An answer that says who gave it.
pub(super) trait Answer {
    fn answered(&self) -> Option<&v1::Answered>;
}

macro_rules! answers {
    ($($message:ident)*) => {
        $(impl Answer for v1::$message {
            fn answered(&self) -> Option<&v1::Answered> {
                self.answered.as_ref()
            }
        })*
    };
}

answers! {
    IssueResponse GetResponse ListResponse CheckResponse VoidResponse AddRenditionResponse
    DownloadHeader GetCheckpointResponse GetReceiptResponse ListRecordsResponse
    GetConsistencyProofResponse GetPolicyResponse GetKeysResponse ChangeKeysResponse
}

#[cfg(test)]
mod tests {
    use super::*;
    use muniment_evidence::digest::Digest;

    fn token(raft_index: u64) -> Token {
        Token {
            ledger: Digest([7; 32]),
            recovery_epoch: 0,
            raft_index,
        }
    }

    fn answered(bytes: Vec<u8>) -> v1::Answered {
        v1::Answered {
            session_token: bytes.into(),
            ..v1::Answered::default()
        }
    }

    fn sent(seen: &Seen, asked: Option<v1::ReadLevel>) -> Option<Token> {
        match seen.level(asked)?.level? {
            Level::Session(bytes) => Token::decode(&bytes).ok(),
            _ => None,
        }
    }

    #[test]
    fn a_read_without_a_level_carries_the_newest_token() {
        let seen = Seen::default();
        assert_eq!(seen.level(None), None);
        seen.note(None);
        seen.note(Some(&answered(Vec::new())));
        assert_eq!(seen.level(None), None);
        for index in [5, 9, 7] {
            seen.note(Some(&answered(token(index).encode())));
        }
        assert_eq!(sent(&seen, None), Some(token(9)));
        let own = v1::ReadLevel {
            level: Some(Level::Session(bytes::Bytes::new())),
        };
        assert_eq!(sent(&seen, Some(own)), Some(token(9)));
        seen.forget();
        assert_eq!(seen.level(None), None);
    }

    #[test]
    fn a_level_that_is_named_is_sent_as_it_is() {
        let seen = Seen::default();
        seen.saw(token(9));
        for level in [
            Level::Local(v1::read_level::Local {}),
            Level::AsOf(3),
            Level::Session(token(2).encode().into()),
        ] {
            let asked = Some(v1::ReadLevel { level: Some(level) });
            assert_eq!(seen.level(asked.clone()), asked);
        }
    }

    /// A newer server's token cannot be compared: reads get stronger, never weaker.
    #[test]
    fn after_a_token_of_another_version_reads_are_linearizable() {
        let seen = Seen::default();
        seen.saw(token(9));
        seen.note(Some(&answered(vec![2, 0])));
        seen.note(Some(&answered(token(10).encode())));
        assert_eq!(seen.level(None), None);
    }
}
