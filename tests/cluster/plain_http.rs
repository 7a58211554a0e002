//! Asking a node's HTTP port, without a client.

use crate::harness::Node;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// One GET over plain HTTP/1.1 to a port here; status line and body.
pub async fn http_at(port: u16, path: &str) -> std::io::Result<(String, Vec<u8>)> {
    let address = ("127.0.0.1", port);
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let split = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..split]).into_owned();
    Ok((head, answer[split + 4..].to_vec()))
}

/// One GET to a node that is up.
pub async fn http(node: &Node, path: &str) -> (String, Vec<u8>) {
    http_at(node.ports[2], path).await.unwrap()
}

pub async fn metric(node: &Node, name: &str) -> f64 {
    let (_, text) = http(node, "/metrics").await;
    let text = String::from_utf8(text).unwrap();
    let line = text.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("{name} is not in {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}
