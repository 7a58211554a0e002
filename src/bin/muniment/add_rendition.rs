//! `add-rendition`: a further form (OFD, XML, a translation) of an issued invoice.
//!
//! Promises: the same command again is the same addition. Leaves which roles may be added
//! to the ledger.

use crate::document::{EmptyDocuments, document};
use crate::exit::{CommandFailure, Exit};
use crate::lookup::{Which, key_of};
use crate::reach::Reach;
use crate::{files, identity, issue, measure, output};
use muniment_client::UploadRequest;
use muniment_client::v1::{Metadata, WriteLevel};

#[derive(clap::Args)]
pub struct AddRenditionArgs {
    /// Number of the invoice (left out with --uid)
    #[arg(value_name = "NUMBER")]
    target: String,
    /// The document
    #[arg(value_name = "FILE")]
    file: Option<String>,
    /// Uid of the invoice, in place of its number
    #[arg(long, value_name = "U")]
    uid: Option<String>,
    #[command(flatten)]
    series: identity::Series,
    /// What this form is called, such as xml
    #[arg(long, value_name = "R")]
    role: String,
    /// Media type [default: by the file's name]
    #[arg(long, value_name = "TYPE")]
    media_type: Option<String>,
    /// Where it must be durable before this returns: quorum, zones:K, regions:K or all
    #[arg(long, value_name = "LEVEL", value_parser = measure::write_level)]
    level: Option<WriteLevel>,
    /// Names this call [default: made of invoice, role and content]
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    #[command(flatten)]
    empty: EmptyDocuments,
}

pub async fn run(args: AddRenditionArgs, reach: &Reach) -> Result<Exit, CommandFailure> {
    let (which, file) = Which::with_file(args.target, args.file, args.uid, args.series)?;
    let (source, measure) = document(&file, args.empty).await?;
    let client = reach.client()?;
    let (invoice, _) = which.find(&client, None).await?;
    let request_id = args.request_id.unwrap_or_else(|| {
        identity::request_id(
            "add-rendition",
            &[&invoice.uid, &args.role],
            &measure.sha256,
        )
    });
    let media_type = args
        .media_type
        .unwrap_or_else(|| files::media_type(&file).to_owned());
    let upload = UploadRequest {
        request_id,
        metadata: Metadata::default(),
        role: args.role.clone(),
        media_type,
        level: args.level,
    };
    let added = client
        .add_rendition(&upload, &source, key_of(&invoice))
        .await?;
    if reach.json {
        output::say_json(&issue::issued_value(&added))?;
        return Ok(Exit::Ok);
    }
    let number = output::shown(&output::identity(&added.invoice).number);
    let role = output::shown(&args.role);
    let first = if added.repeated {
        format!("{number} had that rendition {role} before.\n")
    } else {
        format!("{number} has a further rendition, {role}.\n")
    };
    let mut rows = output::invoice_lines(&added.invoice);
    rows.push(output::durability_line(&added.durability));
    rows.push(output::proof_line(&added.proof));
    rows.push(output::answered_line(&added.answered));
    output::say(&(first + &output::lines(&rows)))?;
    Ok(Exit::Ok)
}
