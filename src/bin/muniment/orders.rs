//! Orders: what an operator signs before the members change, or something is declared.
//!
//! Promises: what is signed is shown first, and is of the ledger that is meant, if a trust file
//! names one; the key stays on this machine. Leaves what is to be signed to the leader, who
//! knows the members, and judging the order to the ledger.
//!
//! Tests: `tests/cluster/members.rs`.

use crate::exit::CommandFailure;
use crate::now;
use crate::output;
use crate::reach::Reach;
use muniment::keyring;
use muniment_client::v1::DraftOrderResponse;
use muniment_client::{Client, MemberChange};
use muniment_evidence::digest::Digest;
use muniment_evidence::endorsement::Endorsements;
use muniment_evidence::ids::RecordIndex;
use muniment_evidence::opening::Document;

/// How long an order holds: a change begins at once, or is asked for again.
const ORDER_VALID_MS: u64 = 10 * 60 * 1000;

/// The order of a change, as it is sent; empty where the ledger asks for none.
pub async fn order(
    client: &Client,
    change: &MemberChange,
    reach: &Reach,
) -> Result<Vec<u8>, CommandFailure> {
    let MemberChange::Ordered(wish) = change else {
        return Ok(Vec::new());
    };
    let draft = client.draft_order(wish.clone()).await?;
    match draft.needed {
        true => sign(&draft, reach),
        false => Ok(Vec::new()),
    }
}

/// The drafted document, with his order where the ledger asks for one.
pub fn ordered(draft: &DraftOrderResponse, reach: &Reach) -> Result<Vec<u8>, CommandFailure> {
    match draft.needed {
        true => sign(draft, reach),
        false => Ok(draft.document.to_vec()),
    }
}

fn sign(draft: &DraftOrderResponse, reach: &Reach) -> Result<Vec<u8>, CommandFailure> {
    let Some(file) = reach.operator()? else {
        let why = "this ledger asks for the order of an operator: name his key file with \
                   --operator, or a cluster.json that does";
        return Err(CommandFailure::usage(why));
    };
    let key = keyring::read_key(&file).map_err(|e| CommandFailure::invalid(e.to_string()))?;
    let unreadable = || CommandFailure::invalid("what is to be signed cannot be read");
    let digest = |bytes: &[u8]| bytes.try_into().map(Digest).map_err(|_| unreadable());
    let (ledger, leaf) = (digest(&draft.ledger)?, digest(&draft.leaf)?);
    let document = Document::decode(&draft.document).map_err(|_| unreadable())?;
    let what = document.ordered().ok_or_else(unreadable)?;
    if let Some(trust) = reach.trust()?
        && trust.genesis != ledger
    {
        return Err(CommandFailure::invalid(
            "what is to be signed is of another ledger than the trust file names",
        ));
    }
    if !reach.json {
        output::say(&output::shown(&said(&document)))?;
    }
    let expires_ms = now::ms().max(draft.committed_at_ms) + ORDER_VALID_MS;
    let mut order = Endorsements::new(RecordIndex::new(draft.after), leaf, expires_ms);
    order.sign(&ledger, what, &key);
    Ok(document.under(order).encode())
}

/// What he signs, in words.
fn said(document: &Document) -> String {
    match document {
        Document::Mode(d) => format!(
            "order: {}; then voters {:?}, sync learners {:?}, async learners {:?}",
            d.reason, d.voters, d.sync_learners, d.async_learners
        ),
        Document::Policy(d) => {
            let settings = d.settings.iter();
            let settings: Vec<String> = settings
                .map(|s| format!("{} {}", s.name, s.value))
                .collect();
            format!("order: from here on {}", settings.join(", "))
        }
        Document::Planned(d) => {
            let fields = d
                .named()
                .into_iter()
                .filter(|(name, _)| *name != "endorsements");
            let fields: Vec<String> = fields
                .map(|(name, value)| format!("{name} {value}"))
                .collect();
            format!("order: {}: {}", d.kind(), fields.join(", "))
        }
        other => format!("order: {}", other.kind()),
    }
}
