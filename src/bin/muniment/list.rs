//! `list`: invoices in the order of the log.
//!
//! Promises: the pages of one list belong to one index, however many there are. Leaves
//! filtering to the ledger.

use crate::exit::{CommandFailure, Exit};
use crate::identity::TENANT_DEFAULT;
use crate::reach::Reach;
use crate::{measure, output};
use clap::ValueEnum;
use muniment_client::v1::{InvoiceStatus, ListRequest, ReadLevel};
use serde_json::{Value, json};

/// The protocol's largest page.
const PAGE_SIZE_MAX: u32 = 1000;

#[derive(clap::Args)]
pub struct ListArgs {
    /// Tenant
    #[arg(long, value_name = "T", default_value = TENANT_DEFAULT)]
    tenant: String,
    /// Only this numbering scheme
    #[arg(long, value_name = "S")]
    scheme: Option<String>,
    /// Only this issuer
    #[arg(long, value_name = "I")]
    issuer: Option<String>,
    /// Only this buyer's id
    #[arg(long, value_name = "B")]
    buyer: Option<String>,
    /// Only this number, whatever the scheme and issuer
    #[arg(long, value_name = "N")]
    number: Option<String>,
    /// Only this month of the issue date
    #[arg(long, value_name = "YYYY-MM", value_parser = measure::month)]
    month: Option<String>,
    /// Only this status
    #[arg(long, value_enum)]
    status: Option<Status>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Go on where an earlier list ended (`cursor` of its JSON)
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// How fresh the answer must be: linearizable, local, bounded:MS, session:TOKEN, as-of:INDEX
    #[arg(long, value_name = "LEVEL", value_parser = measure::read_level)]
    read: Option<ReadLevel>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Status {
    Issued,
    PartlyReversed,
    Reversed,
    Void,
}

impl Status {
    fn to_wire(self) -> InvoiceStatus {
        match self {
            Status::Issued => InvoiceStatus::Issued,
            Status::PartlyReversed => InvoiceStatus::PartlyReversed,
            Status::Reversed => InvoiceStatus::Reversed,
            Status::Void => InvoiceStatus::Void,
        }
    }
}

pub async fn run(args: ListArgs, reach: &Reach) -> Result<Exit, CommandFailure> {
    let client = reach.client()?;
    let mut request = ListRequest {
        tenant: args.tenant,
        scheme: args.scheme.unwrap_or_default(),
        issuer: args.issuer.unwrap_or_default(),
        buyer: args.buyer.unwrap_or_default(),
        month: args.month.unwrap_or_default(),
        status: args
            .status
            .map_or(InvoiceStatus::Unspecified, Status::to_wire)
            .into(),
        number: args.number.unwrap_or_default(),
        cursor: args.cursor.unwrap_or_default(),
        read: args.read,
        ..ListRequest::default()
    };
    let mut invoices = Vec::new();
    let (mut complete_until, mut answered);
    loop {
        let wanted = args.limit - invoices.len();
        request.page_size = PAGE_SIZE_MAX
            .min(u32::try_from(wanted).unwrap_or(u32::MAX))
            .max(1);
        let page = client.list(request.clone()).await?;
        invoices.extend(page.invoices);
        (complete_until, answered) = (page.complete_until, page.answered.unwrap_or_default());
        request.cursor = page.cursor;
        if request.cursor.is_empty() || invoices.len() >= args.limit {
            break;
        }
    }
    if reach.json {
        output::say_json(&json!({
            "invoices": invoices.iter().map(output::invoice_value).collect::<Vec<Value>>(),
            "cursor": request.cursor,
            "complete_until": complete_until,
            "answered": output::answered_value(&answered),
        }))?;
        return Ok(Exit::Ok);
    }
    if invoices.is_empty() {
        output::say("No invoices.")?;
        return Ok(Exit::Ok);
    }
    output::say(&output::invoice_table(&invoices))?;
    let more = if request.cursor.is_empty() {
        ""
    } else {
        "; there are more (--limit)"
    };
    let shown = invoices.len();
    output::say(&format!(
        "{shown} shown, as of record {complete_until}{more}"
    ))?;
    Ok(Exit::Ok)
}
