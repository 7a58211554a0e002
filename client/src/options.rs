//! How to reach a ledger, and which one is meant.
//!
//! Promises: what this build cannot do (TLS) is refused, not left out. A token never shows
//! in debug output. Leaves where options come from to the caller.

use crate::ClientError;
use muniment_evidence::trust::Trust;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};

/// A bearer token is one header line; servers refuse longer ones.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// The time for a call where the caller names none.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(30);

/// How to reach a ledger, and which one is meant.
///
/// ```
/// use muniment_client::ClientOptions;
/// use std::time::Duration;
///
/// let options = ClientOptions {
///     deadline: Duration::from_secs(5),
///     zone: Some("zone-1".into()),
///     ..ClientOptions::new(["127.0.0.1:7401", "127.0.0.1:7402"])
/// };
/// assert_eq!(options.endpoints.len(), 2);
/// ```
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// `http://host:port` or `host:port`, tried in this order.
    pub endpoints: Vec<String>,
    /// The nodes' certificate authority; refused by this build.
    pub ca: Option<PathBuf>,
    /// The caller's certificate; refused by this build.
    pub cert: Option<PathBuf>,
    /// The caller's key; refused by this build.
    pub key: Option<PathBuf>,
    /// A file whose text is sent as the bearer token.
    pub token: Option<PathBuf>,
    /// Without a pin, receipts are checked in themselves, but may be of another ledger.
    pub trust: Option<Trust>,
    /// For one call with all its attempts; for streams the longest time without progress.
    pub deadline: Duration,
    /// Of the jitter between attempts: clients with different seeds spread out.
    pub seed: u64,
    /// The caller's own zone: reads begin at an endpoint there.
    pub zone: Option<String>,
}

impl ClientOptions {
    /// These endpoints, 30 s per call, nothing pinned and no credentials.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> ClientOptions {
        ClientOptions {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            ca: None,
            cert: None,
            key: None,
            token: None,
            trust: None,
            deadline: DEADLINE_DEFAULT,
            seed: 0,
            zone: None,
        }
    }

    /// Refuses what this build cannot do.
    pub(crate) fn check(&self) -> Result<(), ClientError> {
        for (option, path) in [("ca", &self.ca), ("cert", &self.cert), ("key", &self.key)] {
            if path.is_some() {
                let why = format!("TLS ({option}) is not supported by this build yet");
                return Err(ClientError::Usage(why));
            }
        }
        Ok(())
    }
}

/// The bearer token in a file, as the header's value.
pub(crate) fn read_token(path: &Path) -> Result<MetadataValue<Ascii>, ClientError> {
    let what = || format!("cannot read the token {}", path.display());
    let text = std::fs::read_to_string(path).map_err(|e| ClientError::local(what(), e))?;
    let token = text.trim();
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        let why = format!("{}: a token has 1 to {TOKEN_BYTES_MAX} bytes", what());
        return Err(ClientError::Usage(why));
    }
    let mut value: MetadataValue<_> = format!("Bearer {token}")
        .parse()
        .map_err(|_| ClientError::Usage(format!("{}: it is not one line of ASCII", what())))?;
    // Keeps it out of debug output.
    value.set_sensitive(true);
    Ok(value)
}
