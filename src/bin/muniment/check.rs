//! `check`: is this document issued here, and what is its status now?
//!
//! Promises: the file stays here, only its SHA-256 is sent; the exit code alone answers
//! the question. Leaves proof to receipts: this answer is the server's word.

use crate::document;
use crate::exit::{CommandFailure, Exit};
use crate::identity::TENANT_DEFAULT;
use crate::reach::Reach;
use crate::{measure, output};
use muniment_client::v1::{Invoice, InvoiceStatus, ReadLevel};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct CheckArgs {
    /// The document
    file: PathBuf,
    /// Tenant
    #[arg(long, value_name = "T", default_value = TENANT_DEFAULT)]
    tenant: String,
    /// How fresh the answer must be: linearizable, local, bounded:MS, session:TOKEN, as-of:INDEX
    #[arg(long, value_name = "LEVEL", value_parser = measure::read_level)]
    read: Option<ReadLevel>,
}

pub async fn run(args: CheckArgs, reach: &Reach) -> Result<Exit, CommandFailure> {
    let measure = document::read(&args.file).await?.1;
    let client = reach.client()?;
    let reply = client
        .check(&args.tenant, &measure.sha256, args.read)
        .await?;
    let exit = verdict(&reply.invoices);
    let answered = reply.answered.unwrap_or_default();
    if reach.json {
        output::say_json(&json!({
            "file": args.file.display().to_string(),
            "sha256": measure.sha256.to_hex(),
            "issued": !reply.invoices.is_empty(),
            "in_force": exit == Exit::Ok,
            "invoices": reply.invoices.iter().map(output::invoice_value).collect::<Vec<Value>>(),
            "answered": output::answered_value(&answered),
        }))?;
        return Ok(exit);
    }
    let says = match exit {
        Exit::Ok => "is issued and in force.",
        Exit::NotInForce => "was issued, but is reversed or void.",
        _ => "is not issued here.",
    };
    let file = args.file.display().to_string();
    output::say(&format!("{} {says}", output::shown(&file)))?;
    if !reply.invoices.is_empty() {
        output::say(&output::invoice_table(&reply.invoices))?;
    }
    let rows = [
        ("sha256", measure.sha256.to_hex()),
        output::answered_line(&answered),
    ];
    output::say(&output::lines(&rows))?;
    Ok(exit)
}

/// One invoice in force is enough; a part that is left still is in force.
fn verdict(invoices: &[Invoice]) -> Exit {
    let in_force = |invoice: &Invoice| {
        matches!(
            invoice.status(),
            InvoiceStatus::Issued | InvoiceStatus::PartlyReversed
        )
    };
    if invoices.is_empty() {
        Exit::NotIssued
    } else if invoices.iter().any(in_force) {
        Exit::Ok
    } else {
        Exit::NotInForce
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scripts branch on the code alone.
    #[test]
    fn the_code_says_issued_reversed_or_unknown() {
        let with = |status: InvoiceStatus| Invoice {
            status: status.into(),
            ..Invoice::default()
        };
        assert_eq!(verdict(&[]), Exit::NotIssued);
        assert_eq!(verdict(&[with(InvoiceStatus::Issued)]), Exit::Ok);
        assert_eq!(verdict(&[with(InvoiceStatus::Void)]), Exit::NotInForce);
        assert_eq!(
            verdict(&[
                with(InvoiceStatus::Reversed),
                with(InvoiceStatus::PartlyReversed)
            ]),
            Exit::Ok
        );
        // A status that this program does not know is not called in force.
        assert_eq!(
            verdict(&[with(InvoiceStatus::Unspecified)]),
            Exit::NotInForce
        );
    }
}
