//! One request to a witness over HTTP/1.1, with or without TLS.
//!
//! Promises: an exchange ends within [`EXCHANGE_MAX`] and takes at most
//! [`ANSWER_BYTES_MAX`] of answer; `https` is spoken with a verified certificate or not at
//! all (by the machine's clock, which the TLS library reads itself). A connection serves
//! one exchange: they are seconds apart. Leaves what an answer means to the client.

use crate::domain::cause::{AnyError, Cause};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Name lookup, connection, handshake and answer together.
pub const EXCHANGE_MAX: Duration = Duration::from_secs(10);
/// A witness answers with a few lines; a note of this log has less.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where a witness takes requests.
#[derive(Clone)]
pub struct WitnessEndpoint {
    host: String,
    port: u16,
    /// `host` or `host:port`, as the URL has it.
    authority: String,
    /// Without a slash at the end.
    prefix: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// What came back.
#[derive(Debug)]
pub struct WitnessReply {
    pub status: u16,
    pub content_type: String,
    pub text: String,
}

impl WitnessEndpoint {
    /// `ca` is a PEM file with the authorities to trust in place of the public ones.
    pub fn new(url: &str, ca: Option<&Path>) -> Result<WitnessEndpoint, Cause> {
        let bad = |why: &str| Cause::at(url, why);
        let uri: Uri = url.parse().map_err(|_| bad("is not a URL"))?;
        let host = uri.host().ok_or_else(|| bad("has no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let authority = uri.authority().ok_or_else(|| bad("has no host"))?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(bad("has a user or a query, which are not sent"));
        }
        let (port, tls) = match uri.scheme_str() {
            Some("http") if ca.is_some() => return Err(bad("a ca without https")),
            Some("http") => (80, None),
            Some("https") => {
                let name = ServerName::try_from(host.to_owned());
                let name = name.map_err(|_| bad("the host is not a name that TLS verifies"))?;
                (443, Some((connector(ca)?, name)))
            }
            _ => return Err(bad("begins with neither http:// nor https://")),
        };
        Ok(WitnessEndpoint {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(port),
            authority: authority.to_string(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            tls,
        })
    }

    /// Posts to `path` below the target's own.
    pub async fn post(&self, path: &str, body: String) -> Result<WitnessReply, Cause> {
        tokio::time::timeout(EXCHANGE_MAX, self.exchange(path, body))
            .await
            .unwrap_or_else(|_| Err("no answer in time".into()))
    }

    async fn exchange(&self, path: &str, body: String) -> Result<WitnessReply, Cause> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|error| Cause::at("cannot connect", error))?;
        match &self.tls {
            None => self.speak(stream, path, body).await,
            Some((tls, name)) => {
                let secured = tls.connect(name.clone(), stream).await;
                let secured = secured.map_err(|error| Cause::at("TLS", error))?;
                self.speak(secured, path, body).await
            }
        }
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        path: &str,
        body: String,
    ) -> Result<WitnessReply, Cause> {
        let request = Request::post(format!("{}{path}", self.prefix))
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(Full::new(Bytes::from(body)))
            .map_err(Cause::new)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(Cause::new)?;
        let asking = async {
            let response = sender.send_request(request).await;
            let (head, body) = response.map_err(Cause::new)?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| Cause::at("the answer", error))?;
            let content_type = head.headers.get(CONTENT_TYPE);
            Ok(WitnessReply {
                status: head.status.as_u16(),
                content_type: content_type
                    .and_then(|value| value.to_str().ok())
                    .unwrap_or_default()
                    .to_owned(),
                text: String::from_utf8(body.to_bytes().into())
                    .map_err(|_| Cause::from("the answer is not UTF-8"))?,
            })
        };
        let mut connection = Box::pin(connection);
        tokio::pin!(asking);
        // The connection is driven here and not in a task, so that the limit of the
        // exchange ends it too. If it ends first, well or badly, the answer lies ready or
        // says what it lacks.
        tokio::select! {
            answer = &mut asking => return answer,
            _ = &mut connection => {}
        }
        drop(connection);
        asking.await
    }
}

fn connector(ca: Option<&Path>) -> Result<TlsConnector, Cause> {
    let mut roots = RootCertStore::empty();
    match ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let failed = |error: Box<AnyError>| Cause::at(path.display(), error);
            let found =
                CertificateDer::pem_file_iter(path).map_err(|error| failed(error.into()))?;
            for certificate in found {
                let certificate = certificate.map_err(|error| failed(error.into()))?;
                roots
                    .add(certificate)
                    .map_err(|error| failed(error.into()))?;
            }
            if roots.is_empty() {
                return Err(failed("has no certificate".into()));
            }
        }
    }
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// Answers one request with these bytes, and then holds or closes the connection.
    async fn answering(bytes: Vec<u8>, hold: bool) -> WitnessEndpoint {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/w/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut piece = [0; 1024];
            let length = stream.read(&mut piece).await.unwrap();
            assert!(piece[..length].starts_with(b"POST /w/add-checkpoint HTTP/1.1\r\n"));
            // A client that has read enough may be gone already.
            let _ = stream.write_all(&bytes).await;
            if hold {
                std::future::pending::<()>().await;
            }
        });
        WitnessEndpoint::new(&url, None).unwrap()
    }

    #[tokio::test]
    async fn an_answer_is_taken_with_its_type() {
        let bytes = b"HTTP/1.1 409 Conflict\r\ncontent-type: text/x.tlog.size\r\n\
                      content-length: 2\r\n\r\n7\n";
        for hold in [false, true] {
            let target = answering(bytes.to_vec(), hold).await;
            let answer = target.post("/add-checkpoint", "x".into()).await.unwrap();
            assert_eq!((answer.status, answer.text.as_str()), (409, "7\n"));
            assert_eq!(answer.content_type, "text/x.tlog.size");
        }
    }

    #[tokio::test]
    async fn an_endless_answer_is_cut_off() {
        let mut bytes = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        bytes.resize(bytes.len() + ANSWER_BYTES_MAX + 1, b'a');
        let target = answering(bytes, true).await;
        let error = target.post("/add-checkpoint", "x".into()).await;
        assert!(error.unwrap_err().to_string().contains("the answer"));
    }

    /// The timer runs ahead as soon as nobody has anything to do.
    #[tokio::test(start_paused = true)]
    async fn silence_ends_in_time() {
        let target = answering(Vec::new(), true).await;
        let error = target.post("/add-checkpoint", "x".into()).await;
        assert_eq!(error.unwrap_err(), Cause::from("no answer in time"));
    }

    /// The certificate in `testdata/` is for `localhost`, made for this test alone by the
    /// authority beside it.
    #[tokio::test]
    async fn tls_is_spoken_with_a_verified_certificate_only() {
        use tokio_rustls::TlsAcceptor;
        use tokio_rustls::rustls::ServerConfig;
        use tokio_rustls::rustls::pki_types::PrivateKeyDer;
        let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/witness/testdata");
        let chain = CertificateDer::from_pem_file(testdata.join("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(testdata.join("server.key")).unwrap();
        let server = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // Who does not trust the certificate goes away in the handshake.
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut piece = [0; 1024];
                let _ = stream.read(&mut piece).await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhere\n";
                stream.write_all(answer).await.unwrap();
            }
        });
        let ca = testdata.join("ca.pem");
        let ask = async |host: &str, ca: Option<&Path>| {
            let target = WitnessEndpoint::new(&format!("https://{host}:{port}"), ca).unwrap();
            target.post("/add-checkpoint", "x".into()).await
        };
        let answer = ask("localhost", Some(&ca)).await.unwrap();
        assert_eq!((answer.status, answer.text.as_str()), (200, "here\n"));
        for (host, ca, why) in [
            ("localhost", None, "another authority"),
            ("127.0.0.1", Some(ca.as_path()), "another name"),
        ] {
            let refusal = ask(host, ca).await.unwrap_err().to_string();
            assert!(refusal.starts_with("TLS: "), "{why}: {refusal}");
        }
    }

    #[test]
    fn a_url_that_cannot_be_used_is_refused() {
        for (url, ca, said) in [
            ("ftp://w.example", None, "neither http"),
            ("w.example", None, "neither http"),
            ("http://", None, "not a URL"),
            ("http://me@w.example/", None, "a user"),
            ("http://w.example/?a=b", None, "a query"),
            ("http://w.example", Some("/ca.pem"), "without https"),
            (
                "https://w.example",
                Some("/no/such/ca.pem"),
                "/no/such/ca.pem",
            ),
        ] {
            let error = WitnessEndpoint::new(url, ca.map(Path::new)).err().unwrap();
            assert!(error.to_string().contains(said), "{said}: {error}");
        }
        let target = WitnessEndpoint::new("https://w.example", None).unwrap();
        assert_eq!((target.port, target.prefix.as_str()), (443, ""));
        let target = WitnessEndpoint::new("http://[::1]:7801/a/", None).unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 7801));
        assert_eq!(target.prefix, "/a");
    }
}
