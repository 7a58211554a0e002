//! `watch`: changes as they are committed, until Ctrl-C.
//!
//! Promises: one line per change, in the order of the log; with `--json` one document per
//! line; it ends quietly when nobody reads on. Leaves reconnecting to the client.

use crate::exit::{CommandFailure, Exit};
use crate::identity::TENANT_DEFAULT;
use crate::output::{self, Audience};
use crate::reach::Reach;
use muniment_evidence::ids::RecordIndex;
use serde_json::json;

#[derive(clap::Args)]
pub struct WatchArgs {
    /// Tenant
    #[arg(long, value_name = "T", default_value = TENANT_DEFAULT)]
    tenant: String,
    /// First record of interest [default: what comes from now on]
    #[arg(long, value_name = "INDEX")]
    from: Option<u64>,
    /// End after so many changes
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

pub async fn run(args: WatchArgs, reach: &Reach) -> Result<Exit, CommandFailure> {
    let client = reach.client()?;
    let from = match args.from {
        Some(from) => from,
        None => {
            let reply = client.checkpoint(None, false).await?;
            reply.answered.unwrap_or_default().log_size
        }
    };
    let mut watch = client.watch(&args.tenant, RecordIndex::new(from));
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let change = tokio::select! {
            change = watch.next() => change?,
            // Ending a watch by hand is not a failure.
            _ = tokio::signal::ctrl_c() => break,
            // Nor is a reader who has read enough.
            () = output::reader_gone() => break,
        };
        left -= 1;
        let invoice = change.invoice.unwrap_or_default();
        let reader = if reach.json {
            let value = json!({
                "index": change.index,
                "kind": change.kind,
                "invoice": output::invoice_value(&invoice),
            });
            output::say(&value.to_string())?
        } else {
            output::say(&output::shown(&format!(
                "{:>8}  {}  {:<13}  {}  {}",
                change.index,
                output::utc(invoice.committed_at_ms),
                change.kind,
                output::identity(&invoice).number,
                output::status(&invoice),
            )))?
        };
        if reader == Audience::Gone {
            break;
        }
    }
    Ok(Exit::Ok)
}
