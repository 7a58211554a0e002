//! Finding the invoice that a command is about.
//!
//! Promises: a number alone is first looked up under the given or default tenant, scheme
//! and issuer; if nothing is there and no series was named, under every series of the
//! tenant; several matches are listed, never guessed. Leaves the answer to the command.

use crate::exit::{CommandFailure, Exit};
use crate::identity::Series;
use crate::output;
use muniment_client::v1::invoice_key::{Key, RequestIdKey};
use muniment_client::v1::{Answered, Invoice, InvoiceKey, ListRequest, ReadLevel};
use muniment_client::{Client, ClientError};
use serde_json::{Value, json};
use std::path::PathBuf;

/// More matches than this are not listed: the caller names a series anyway.
const MATCHES_MAX: u32 = 20;

/// The flags that name one invoice.
#[derive(clap::Args, Clone, Debug)]
pub struct Which {
    /// Number of the invoice (issue's default number is the file name)
    #[arg(required_unless_present_any = ["uid", "by_request_id"])]
    number: Option<String>,
    /// Uid of the invoice
    #[arg(long, value_name = "U", conflicts_with = "number")]
    uid: Option<String>,
    /// Request id of the call that issued it
    #[arg(long, value_name = "R", conflicts_with_all = ["number", "uid"])]
    by_request_id: Option<String>,
    #[command(flatten)]
    pub series: Series,
}

impl Which {
    /// For commands with a file behind the number: `NUMBER FILE`, or `FILE --uid U`.
    pub fn with_file(
        first: String,
        second: Option<String>,
        uid: Option<String>,
        series: Series,
    ) -> Result<(Which, PathBuf), CommandFailure> {
        let (number, file) = match (&uid, second) {
            (Some(_), None) => (None, first),
            (None, Some(file)) => (Some(first), file),
            (Some(_), Some(_)) => {
                return Err(CommandFailure::usage("with --uid give only the FILE"));
            }
            (None, None) => return Err(CommandFailure::usage("give the NUMBER and the FILE")),
        };
        Ok((Which::new(number, uid, series), PathBuf::from(file)))
    }

    /// One of number and uid is given.
    pub fn new(number: Option<String>, uid: Option<String>, series: Series) -> Which {
        Which {
            number,
            uid,
            by_request_id: None,
            series,
        }
    }

    fn key(&self) -> InvoiceKey {
        let key = match (&self.number, &self.uid, &self.by_request_id) {
            (_, Some(uid), _) => Key::Uid(uid.clone()),
            (_, None, Some(request_id)) => Key::RequestId(RequestIdKey {
                tenant: self.series.tenant(),
                request_id: request_id.clone(),
            }),
            (number, None, None) => {
                Key::Identity(self.series.identity(number.as_deref().unwrap_or_default()))
            }
        };
        InvoiceKey { key: Some(key) }
    }

    /// The invoice, and who answered.
    pub async fn find(
        &self,
        client: &Client,
        read: Option<ReadLevel>,
    ) -> Result<(Invoice, Answered), CommandFailure> {
        let not_found = match client.get(self.key(), read.clone()).await {
            Err(error @ ClientError::NotFound(_)) => error,
            result => return Ok(result?),
        };
        let Some(number) = self.number.as_ref().filter(|_| !self.series.is_narrowed()) else {
            return Err(not_found.into());
        };
        find_in_any_series(client, &self.series.tenant(), number, read).await
    }
}

async fn find_in_any_series(
    client: &Client,
    tenant: &str,
    number: &str,
    read: Option<ReadLevel>,
) -> Result<(Invoice, Answered), CommandFailure> {
    let request = ListRequest {
        tenant: tenant.to_owned(),
        number: number.to_owned(),
        page_size: MATCHES_MAX,
        read,
        ..ListRequest::default()
    };
    let mut page = client.list(request).await?;
    match page.invoices.len() {
        0 => Err(CommandFailure::new(
            Exit::NotFound,
            format!("no invoice {number:?} in tenant {tenant:?}"),
        )),
        1 => Ok((
            page.invoices.swap_remove(0),
            page.answered.unwrap_or_default(),
        )),
        _ => {
            let matches = page.invoices.iter().map(output::invoice_value);
            let message = format!(
                "several invoices have the number {number:?}; name one with --uid, or its \
                 series with --scheme and --issuer\n{}",
                output::invoice_table(&page.invoices)
            );
            let details = json!({ "matches": matches.collect::<Vec<Value>>() });
            Err(CommandFailure::new(Exit::Ambiguous, message).with(details))
        }
    }
}

/// Names an invoice that was found, whatever it was looked up by.
pub fn key_of(invoice: &Invoice) -> InvoiceKey {
    InvoiceKey {
        key: Some(Key::Uid(invoice.uid.clone())),
    }
}
