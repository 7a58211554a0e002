//! `reverse`: an invoice that takes another back, in part or in full.
//!
//! Promises: the new invoice is of the target's tenant, scheme and issuer; the same command
//! again is the same reversal. Leaves the reference and the arithmetic to the ledger.

use crate::document::{EmptyDocuments, document};
use crate::exit::{CommandFailure, Exit};
use crate::issue::{issued_text, issued_value};
use crate::lookup::{Which, key_of};
use crate::reach::Reach;
use crate::{files, identity, measure, money, now, output};
use muniment_client::{UploadRequest, v1};

#[derive(clap::Args)]
pub struct ReverseArgs {
    /// Number of the invoice to be reversed (left out with --uid)
    #[arg(value_name = "NUMBER")]
    target: String,
    /// Document of the reversing invoice
    #[arg(value_name = "FILE")]
    file: Option<String>,
    /// Uid of the invoice to be reversed, in place of its number
    #[arg(long, value_name = "U")]
    uid: Option<String>,
    #[command(flatten)]
    series: identity::Series,
    /// Number of the reversing invoice
    #[arg(long = "number", value_name = "NEW")]
    new_number: String,
    /// How much is reversed, such as 12.34, in the target's currency [default: all]
    #[arg(long, value_name = "A")]
    amount: Option<String>,
    /// Issue date of the reversing invoice [default: today in UTC]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = measure::date)]
    date: Option<String>,
    /// Where it must be durable before this returns: quorum, zones:K, regions:K or all
    #[arg(long, value_name = "LEVEL", value_parser = measure::write_level)]
    level: Option<v1::WriteLevel>,
    /// Names this call [default: made of identity and content]
    #[arg(long, value_name = "R")]
    request_id: Option<String>,
    #[command(flatten)]
    empty: EmptyDocuments,
}

pub async fn run(args: ReverseArgs, reach: &Reach) -> Result<Exit, CommandFailure> {
    let (which, file) = Which::with_file(args.target, args.file, args.uid, args.series)?;
    let (source, measure) = document(&file, args.empty).await?;
    let client = reach.client()?;
    let (target, _) = which.find(&client, None).await?;
    let amount = amount(args.amount.as_deref(), &target)?;

    let identity = v1::Identity {
        number: args.new_number,
        ..output::identity(&target)
    };
    let request_id = args
        .request_id
        .unwrap_or_else(|| identity::issue_request_id("reverse", &identity, &measure.sha256));
    let upload = UploadRequest {
        request_id,
        metadata: v1::Metadata {
            identity: Some(identity),
            issue_date: args.date.unwrap_or_else(now::today),
            // Of what the caller said only: "all that is left" changes with every
            // reversal, and a repetition must say the same.
            total: amount.clone().map(|amount| v1::Money {
                minor_units: -amount.minor_units,
                ..amount
            }),
            ..v1::Metadata::default()
        },
        role: String::new(),
        media_type: files::media_type(&file).to_owned(),
        level: args.level,
    };
    let issued = client
        .reverse(&upload, &source, key_of(&target), amount)
        .await?;
    if reach.json {
        let mut value = issued_value(&issued);
        value["target_uid"] = target.uid.into();
        output::say_json(&value)?;
    } else {
        let number = output::shown(&output::identity(&target).number);
        let text = issued_text(&issued);
        output::say(&format!("{text}  It reverses {number} ({}).", target.uid))?;
    }
    Ok(Exit::Ok)
}

/// In the currency of the target; positive, since it says how much is taken back.
fn amount(text: Option<&str>, target: &v1::Invoice) -> Result<Option<v1::Money>, CommandFailure> {
    let Some(text) = text else {
        return Ok(None);
    };
    let metadata = target.metadata.as_ref();
    let Some(total) = metadata.and_then(|metadata| metadata.total.as_ref()) else {
        let why = "the target has no total, so it can be reversed only in full";
        return Err(CommandFailure::invalid(why));
    };
    let amount = money::parse(text, &total.currency).map_err(CommandFailure::invalid)?;
    if amount.minor_units <= 0 {
        return Err(CommandFailure::invalid(
            "--amount says how much is taken back: above 0",
        ));
    }
    Ok(Some(amount))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_of_the_targets_currency_and_above_zero() {
        let total = money::parse("100", "JPY").unwrap();
        let target = v1::Invoice {
            metadata: Some(v1::Metadata {
                total: Some(total),
                ..v1::Metadata::default()
            }),
            ..v1::Invoice::default()
        };
        let some = amount(Some("40"), &target).unwrap().unwrap();
        assert_eq!((some.minor_units, some.currency.as_str()), (40, "JPY"));
        assert_eq!(amount(None, &target).unwrap(), None);
        for bad in ["0", "-1", "1.5"] {
            assert!(amount(Some(bad), &target).is_err(), "{bad}");
        }
        assert!(amount(Some("1"), &v1::Invoice::default()).is_err());
    }
}
