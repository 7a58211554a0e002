//! The endpoints that a client may call, and which of them answered last.
//!
//! Promises: one lazy connection per endpoint, made on its first call and kept; an address
//! that a server hints at gets one too, of which there are few. Leaves which endpoint is
//! tried when to `retry`.

use crate::ClientError;
use crate::services::{AuthChannel, AuthInterceptor};
use crate::zones::Zones;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{self, Channel};

/// Over the longest round trip between regions, TCP and HTTP/2 need below a second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer that vanished without a word shows within interval + timeout: 5 s.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes in flight per stream: 100 Mbit/s over 300 ms round trips.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Several such streams share a connection.
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Leaders hinted at outside of the endpoints; a ledger has few voters.
const HINTED_MAX: usize = 16;

/// One address, and the connection to it.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) url: String,
    channel: Channel,
}

/// See the module.
pub(crate) struct Endpoints {
    list: Vec<Endpoint>,
    /// Place in the list of the one that answered last.
    preferred: AtomicUsize,
    pub(crate) zones: Zones,
    hinted: Mutex<HashMap<String, Endpoint>>,
    token: Option<MetadataValue<Ascii>>,
    jitter: AtomicU64,
}

impl Endpoints {
    pub(crate) fn new(
        addresses: &[String],
        token: Option<MetadataValue<Ascii>>,
        seed: u64,
        zone: Option<String>,
    ) -> Result<Endpoints, ClientError> {
        if addresses.is_empty() {
            return Err(ClientError::Usage("no endpoint is given".into()));
        }
        let list = addresses.iter().map(|address| Endpoint::new(address));
        Ok(Endpoints {
            list: list.collect::<Result<_, _>>()?,
            preferred: AtomicUsize::new(0),
            zones: Zones::new(zone),
            hinted: Mutex::new(HashMap::new()),
            token,
            jitter: AtomicU64::new(seed),
        })
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        let urls = self.list.iter().map(|endpoint| endpoint.url.clone());
        urls.collect()
    }

    /// Never 0.
    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn at(&self, place: usize) -> &Endpoint {
        &self.list[place]
    }

    pub(crate) fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed)
    }

    pub(crate) fn prefer(&self, place: usize) {
        self.preferred.store(place, Ordering::Relaxed);
    }

    /// A channel to one address, whether or not it is among the endpoints.
    pub(crate) fn channel_to(
        &self,
        address: &str,
        timeout: Duration,
    ) -> Result<AuthChannel, ClientError> {
        Ok(self.channel(&self.endpoint(address)?, Some(timeout)))
    }

    pub(crate) fn channel(&self, endpoint: &Endpoint, timeout: Option<Duration>) -> AuthChannel {
        let token = self.token.clone();
        InterceptedService::new(endpoint.channel.clone(), AuthInterceptor { token, timeout })
    }

    /// The endpoint of an address; connections are shared by all who name the same one.
    pub(crate) fn endpoint(&self, address: &str) -> Result<Endpoint, ClientError> {
        let url = url(address)?;
        if let Some(known) = self.list.iter().find(|endpoint| endpoint.url == url) {
            return Ok(known.clone());
        }
        let mut hinted = self.hinted.lock().expect("no code panics under this lock");
        if let Some(known) = hinted.get(&url) {
            return Ok(known.clone());
        }
        if hinted.len() >= HINTED_MAX {
            hinted.clear();
        }
        let new = Endpoint::new(&url)?;
        hinted.insert(url, new.clone());
        Ok(new)
    }

    /// For jitter. SplitMix64 (Steele, Lea and Flood, 2014): the same seed gives the same
    /// waits.
    pub(crate) fn random(&self) -> u64 {
        let mut z = self
            .jitter
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Endpoint {
    fn new(address: &str) -> Result<Endpoint, ClientError> {
        let url = url(address)?;
        let wrong = |e| ClientError::Usage(format!("{address:?} is not an endpoint: {e}"));
        let settings = transport::Endpoint::from_shared(url.clone())
            .and_then(|it| it.user_agent(concat!("muniment/", env!("CARGO_PKG_VERSION"))))
            .map_err(wrong)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let channel = settings.connect_lazy();
        Ok(Endpoint { url, channel })
    }
}

/// `host:port` is short for `http://host:port`.
fn url(text: &str) -> Result<String, ClientError> {
    let text = text.trim().trim_end_matches('/');
    if text.is_empty() {
        return Err(ClientError::Usage("an endpoint is empty".into()));
    }
    if text.starts_with("https://") {
        let why = format!("{text}: TLS is not supported by this build yet");
        return Err(ClientError::Usage(why));
    }
    if text.starts_with("http://") {
        return Ok(text.to_owned());
    }
    if text.contains("://") {
        return Err(ClientError::Usage(format!("{text:?} is not an http URL")));
    }
    Ok(format!("http://{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_may_leave_out_the_scheme_but_not_ask_for_tls() {
        assert_eq!(url("127.0.0.1:7401").unwrap(), "http://127.0.0.1:7401");
        assert_eq!(url(" http://a:1/ ").unwrap(), "http://a:1");
        assert!(matches!(url("https://a:1"), Err(ClientError::Usage(_))));
        assert!(matches!(url("ftp://a:1"), Err(ClientError::Usage(_))));
        assert!(matches!(url(""), Err(ClientError::Usage(_))));
    }
}
