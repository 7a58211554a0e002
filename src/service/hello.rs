//! What nodes say when they greet each other, byte for byte.
//!
//! Promises one encoding per message, led by a version. Leaves when they are sent, and
//! what follows from them, to [`super::acquaintance`].

use crate::objective::timing::Profile;
use muniment_evidence::codec::{DecodeError, Reader, Writer};
use muniment_evidence::digest::Digest;
use std::time::Duration;

const VERSION: u8 = 1;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub node: u64,
    pub incarnation: [u8; 16],
    /// Of everything that must be equal on every node.
    pub digest: Digest,
    pub profile: Profile,
    pub software: String,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    pub hello: Hello,
    /// Of the syncs of its last window.
    pub fsync_p99: Option<Duration>,
    /// It says itself that its disk is slow.
    pub slow: bool,
}

impl Hello {
    fn write(&self, w: &mut Writer) {
        w.u64(self.node).raw(&self.incarnation).digest(&self.digest);
        w.text(&self.profile.to_string()).text(&self.software);
    }

    fn read(r: &mut Reader<'_>) -> Result<Hello, DecodeError> {
        Ok(Hello {
            node: r.u64()?,
            incarnation: r.array()?,
            digest: r.digest()?,
            profile: {
                let name = r.text()?;
                name.parse().map_err(|_| r.error("a timing profile"))?
            },
            software: r.text()?,
        })
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(VERSION);
        self.write(&mut w);
        w.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Hello, DecodeError> {
        let mut r = begin(bytes)?;
        let hello = Hello::read(&mut r)?;
        r.end()?;
        Ok(hello)
    }
}

impl Welcome {
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(VERSION);
        self.hello.write(&mut w);
        let micros = self.fsync_p99.map(|time| time.as_micros() as u64);
        w.option(micros.as_ref(), |w, micros| {
            w.u64(*micros);
        });
        w.u8(u8::from(self.slow));
        w.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Welcome, DecodeError> {
        let mut r = begin(bytes)?;
        let welcome = Welcome {
            hello: Hello::read(&mut r)?,
            fsync_p99: r.option(Reader::u64)?.map(Duration::from_micros),
            slow: r.u8()? == 1,
        };
        r.end()?;
        Ok(welcome)
    }
}

fn begin(bytes: &[u8]) -> Result<Reader<'_>, DecodeError> {
    let mut r = Reader::new(bytes);
    if r.u8()? != VERSION {
        return Err(r.error("a hello of version 1"));
    }
    Ok(r)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back_and_others_are_refused() {
        let hello = Hello {
            node: 7,
            incarnation: [3; 16],
            digest: Digest([1; 32]),
            profile: Profile::Wan,
            software: "muniment 0.1.0".into(),
        };
        assert_eq!(Hello::decode(&hello.encode()).unwrap(), hello);
        for fsync_p99 in [None, Some(Duration::from_micros(1234))] {
            let welcome = Welcome {
                hello: hello.clone(),
                fsync_p99,
                slow: true,
            };
            assert_eq!(Welcome::decode(&welcome.encode()).unwrap(), welcome);
        }
        let mut later = hello.encode();
        later[0] = 2;
        assert!(Hello::decode(&later).is_err());
        assert!(Hello::decode(&hello.encode()[..30]).is_err());
    }
}
