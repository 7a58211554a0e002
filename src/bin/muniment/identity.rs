//! Who an invoice is, where the command line leaves something out; and what a call is
//! called, so that the same command again is the same call.
//!
//! Promises: the same identity and bytes give the same request id on every machine.
//! Leaves the checking of identities to the ledger.

use muniment_client::v1::Identity;
use muniment_evidence::codec::Writer;
use muniment_evidence::digest::Digest;

pub const TENANT_DEFAULT: &str = "default";
pub const SCHEME_DEFAULT: &str = "generic";
pub const ISSUER_DEFAULT: &str = "local";

/// The flags that name a series of invoices.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Series {
    /// Tenant [default: default]
    #[arg(long, value_name = "T")]
    pub tenant: Option<String>,
    /// Numbering scheme [default: generic]
    #[arg(long, value_name = "S")]
    pub scheme: Option<String>,
    /// Issuer [default: local]
    #[arg(long, value_name = "I")]
    pub issuer: Option<String>,
    /// Period, where numbers are reused per period
    #[arg(long, value_name = "P")]
    pub period: Option<String>,
}

impl Series {
    pub fn tenant(&self) -> String {
        or(&self.tenant, TENANT_DEFAULT)
    }

    pub fn identity(&self, number: &str) -> Identity {
        Identity {
            tenant: self.tenant(),
            scheme: or(&self.scheme, SCHEME_DEFAULT),
            issuer: or(&self.issuer, ISSUER_DEFAULT),
            number: number.to_owned(),
            period: self.period.clone().unwrap_or_default(),
        }
    }

    /// Whether the caller said which series, so that no other one is meant.
    pub fn is_narrowed(&self) -> bool {
        self.scheme.is_some() || self.issuer.is_some() || self.period.is_some()
    }
}

fn or(given: &Option<String>, default: &str) -> String {
    given.clone().unwrap_or_else(|| default.to_owned())
}

/// A request id made of what the call is about.
pub fn request_id(verb: &str, about: &[&str], sha256: &Digest) -> String {
    let mut w = Writer::new();
    w.text(verb);
    w.list(about, |w, text| {
        w.text(text);
    });
    w.digest(sha256);
    format!("cli:{}", Digest::of(&[&w.finish()]))
}

/// For what is issued under an identity.
pub fn issue_request_id(verb: &str, identity: &Identity, sha256: &Digest) -> String {
    let about = [
        &identity.tenant,
        &identity.scheme,
        &identity.issuer,
        &identity.number,
        &identity.period,
    ]
    .map(String::as_str);
    request_id(verb, &about, sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_call_has_the_same_name_and_another_has_another() {
        let identity = Series::default().identity("a");
        let sha256 = Digest::of(&[b"bytes"]);
        let id = issue_request_id("issue", &identity, &sha256);
        assert_eq!(id, issue_request_id("issue", &identity, &sha256));
        assert!(id.starts_with("cli:") && id.len() == 68);
        let other = Series::default().identity("b");
        assert_ne!(id, issue_request_id("issue", &other, &sha256));
        assert_ne!(id, issue_request_id("issue", &identity, &Digest::ZERO));
        // Parts must not run into each other.
        assert_ne!(
            request_id("v", &["ab", "c"], &sha256),
            request_id("v", &["a", "bc"], &sha256)
        );
    }
}
