//! `void`: declares that an unreversed invoice counts for nothing.
//!
//! Promises: the same command again is the same declaration. Leaves what may be void to
//! the ledger.

use crate::exit::{CommandFailure, Exit};
use crate::lookup::{Which, key_of};
use crate::reach::Reach;
use crate::{identity, output};
use muniment_client::v1::VoidRequest;
use muniment_evidence::digest::Digest;
use serde_json::json;

#[derive(clap::Args)]
pub struct VoidArgs {
    #[command(flatten)]
    which: Which,
    /// Why: stays in the evidence
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Names this call [default: made of the invoice and the reason]
    #[arg(long, value_name = "R")]
    request_id: Option<String>,
}

pub async fn run(args: VoidArgs, reach: &Reach) -> Result<Exit, CommandFailure> {
    let client = reach.client()?;
    let (invoice, _) = args.which.find(&client, None).await?;
    let request_id = args.request_id.unwrap_or_else(|| {
        identity::request_id("void", &[&invoice.uid, &args.reason], &Digest::ZERO)
    });
    let request = VoidRequest {
        request_id,
        key: Some(key_of(&invoice)),
        reason: args.reason,
    };
    let (reply, proof) = client.void(request).await?;
    let invoice = reply.invoice.unwrap_or(invoice);
    let answered = reply.answered.unwrap_or_default();
    if reach.json {
        output::say_json(&json!({
            "invoice": output::invoice_value(&invoice),
            "repeated": reply.repeated,
            "receipt": output::proof_value(&proof),
            "answered": output::answered_value(&answered),
        }))?;
    } else {
        let number = output::shown(&output::identity(&invoice).number);
        let how = if reply.repeated {
            "had been declared void before"
        } else {
            "is declared void"
        };
        let rows = [
            ("uid", invoice.uid.clone()),
            output::proof_line(&proof),
            output::answered_line(&answered),
        ];
        output::say(&format!("{number} {how}.\n{}", output::lines(&rows)))?;
    }
    Ok(Exit::Ok)
}
