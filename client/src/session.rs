//! What the client has seen of its ledger, and the level that its reads ask for.
//!
//! Promises: the newest token of all answers is kept; a read that names no level misses
//! nothing that this client has seen, from whichever node it is answered. A token that is
//! lost stays, and each such read says so, until the caller lets go of it. Leaves tokens
//! to die with the process: who needs them longer keeps the text of [`SessionToken`].

use crate::token::SessionToken;
use muniment_proto::v1;
use std::sync::{Mutex, MutexGuard};
use v1::read_level::Level;

/// See the module.
#[derive(Default)]
pub(crate) struct SessionState(Mutex<Newest>);

#[derive(Clone, Copy, Default)]
enum Newest {
    #[default]
    Nothing,
    Token(SessionToken),
    /// A server gave a token of a later version: reads are linearizable from then on, since
    /// nothing weaker is sure to have it.
    Unreadable,
}

impl SessionState {
    fn lock(&self) -> MutexGuard<'_, Newest> {
        self.0.lock().expect("no code panics under this lock")
    }

    pub(crate) fn note(&self, answered: Option<&v1::Answered>) {
        let Some(bytes) = answered.map(|answered| &answered.session_token) else {
            return;
        };
        if bytes.is_empty() {
            return;
        }
        match SessionToken::decode(bytes) {
            Ok(token) => self.adopt(token),
            Err(_) => *self.lock() = Newest::Unreadable,
        }
    }

    pub(crate) fn adopt(&self, token: SessionToken) {
        let mut newest = self.lock();
        *newest = match *newest {
            Newest::Nothing => Newest::Token(token),
            Newest::Token(known) => Newest::Token(known.newest(token)),
            Newest::Unreadable => Newest::Unreadable,
        };
    }

    pub(crate) fn token(&self) -> Option<SessionToken> {
        match *self.lock() {
            Newest::Token(token) => Some(token),
            Newest::Nothing | Newest::Unreadable => None,
        }
    }

    pub(crate) fn forget(&self) {
        *self.lock() = Newest::Nothing;
    }

    /// What is sent: the level named; where none is, or a session without its token, the
    /// newest token. Without one, the server's default, which is linearizable.
    pub(crate) fn level(&self, asked: Option<v1::ReadLevel>) -> Option<v1::ReadLevel> {
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

/// A reply that says which node gave it.
pub(crate) trait AnsweredReply {
    fn answered(&self) -> Option<&v1::Answered>;
}

macro_rules! answers {
    ($($message:ident)*) => {
        $(impl AnsweredReply for v1::$message {
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
    use crate::token::tests::token as token_of;

    fn token(raft_index: u64) -> SessionToken {
        token_of(7, 0, raft_index)
    }

    fn answered(bytes: Vec<u8>) -> v1::Answered {
        v1::Answered {
            session_token: bytes.into(),
            ..v1::Answered::default()
        }
    }

    fn sent(session: &SessionState, asked: Option<v1::ReadLevel>) -> Option<SessionToken> {
        match session.level(asked)?.level? {
            Level::Session(bytes) => SessionToken::decode(&bytes).ok(),
            _ => None,
        }
    }

    #[test]
    fn a_read_without_a_level_carries_the_newest_token() {
        let session = SessionState::default();
        assert_eq!(session.level(None), None);
        session.note(None);
        session.note(Some(&answered(Vec::new())));
        assert_eq!(session.level(None), None);
        for index in [5, 9, 7] {
            session.note(Some(&answered(token(index).encode())));
        }
        assert_eq!(sent(&session, None), Some(token(9)));
        let own = v1::ReadLevel {
            level: Some(Level::Session(bytes::Bytes::new())),
        };
        assert_eq!(sent(&session, Some(own)), Some(token(9)));
        session.forget();
        assert_eq!(session.level(None), None);
    }

    #[test]
    fn a_level_that_is_named_is_sent_as_it_is() {
        let session = SessionState::default();
        session.adopt(token(9));
        for level in [
            Level::Local(v1::read_level::Local {}),
            Level::AsOf(3),
            Level::Session(token(2).encode().into()),
        ] {
            let asked = Some(v1::ReadLevel { level: Some(level) });
            assert_eq!(session.level(asked.clone()), asked);
        }
    }

    /// A newer server's token cannot be compared: reads get stronger, never weaker.
    #[test]
    fn after_a_token_of_another_version_reads_are_linearizable() {
        let session = SessionState::default();
        session.adopt(token(9));
        session.note(Some(&answered(vec![2, 0])));
        session.note(Some(&answered(token(10).encode())));
        assert_eq!(session.level(None), None);
    }
}
