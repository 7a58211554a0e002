//! Issues an invoice, keeps its receipt, and downloads it again in another zone.
//!
//! cargo run --release -p muniment-client --example issue_and_download -- INV-7.pdf INV-7
//!
//! Promises what `docs/integrating.md` quotes it for: it compiles, and it shows which value
//! is kept where. Leaves the choice of a request id that outlives a crash to the caller.

use muniment_client::{BodySource, Client, ClientOptions, UploadRequest, v1};
use muniment_evidence::trust::Trust;
use std::error::Error;
use std::path::PathBuf;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "issue_and_download FILE NUMBER";
    let file = PathBuf::from(arguments.next().ok_or(usage)?);
    let number = arguments.next().ok_or(usage)?;

    // The file that says which ledger you mean. Get it from someone you trust.
    let trust = match std::env::var_os("MUNIMENT_TRUST") {
        Some(path) => Some(Trust::parse(&std::fs::read_to_string(path)?)?),
        None => None,
    };
    let client = Client::new(ClientOptions {
        trust,
        zone: Some("zone-c".to_owned()),
        ..ClientOptions::new(["127.0.0.1:7401", "127.0.0.1:7402", "127.0.0.1:7403"])
    })?;

    let upload = UploadRequest {
        // Store it with the order before the call: the same id again is the same invoice.
        request_id: format!("order-{number}"),
        metadata: v1::Metadata {
            identity: Some(v1::Identity {
                number: number.clone(),
                ..v1::Identity::default()
            }),
            issue_date: "2026-11-27".to_owned(),
            total: Some(v1::Money {
                minor_units: 1234,
                currency: "EUR".to_owned(),
                exponent: 2,
            }),
            ..v1::Metadata::default()
        },
        ..UploadRequest::default()
    };
    // Retries, other endpoints and the verification of the receipt happen inside.
    let issued = client.issue(&upload, &BodySource::File(file)).await?;
    std::fs::write(format!("{number}.receipt"), &issued.proof.receipt)?;
    println!(
        "{} {} at record {}, durable in {}",
        if issued.repeated { "found" } else { "issued" },
        issued.invoice.uid,
        issued.proof.record_index,
        issued.durability.zones.join(", "),
    );

    let mut document = Vec::new();
    let request = v1::DownloadRequest {
        key: Some(v1::InvoiceKey {
            key: Some(v1::invoice_key::Key::Uid(issued.invoice.uid)),
        }),
        ..v1::DownloadRequest::default()
    };
    let downloaded = client.download(request, &mut document).await?;
    println!(
        "downloaded {} bytes from node {}, its own record {}",
        document.len(),
        downloaded.body_from,
        downloaded.proofs[0].record_index,
    );
    Ok(())
}
