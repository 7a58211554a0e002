//! One request over plain HTTP/1.1, and its answer taken apart.
//!
//! Blocking, since stock readers of tiles are: asynchronous tests call it through
//! `tokio::task::block_in_place`. Promises that an answer is whole: as long as it says.

use crate::harness::SOON;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

pub struct Answer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header that is there at most once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.head.lines().skip(1).filter_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        let value = values.next();
        assert!(values.next().is_none(), "two of {name} in {}", self.head);
        value
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub fn get(port: u16, path: &str) -> Answer {
    ask(port, "GET", path)
}

pub fn ask(port: u16, method: &str, path: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let split = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..split].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let answer = Answer {
        status,
        head,
        body: answer[split + 4..].to_vec(),
    };
    if method != "HEAD"
        && let Some(length) = answer.header("content-length")
    {
        assert_eq!(length, answer.body.len().to_string(), "{path}");
    }
    answer
}
