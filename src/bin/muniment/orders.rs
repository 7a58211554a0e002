//! Orders: what an operator signs before the members change.
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
use muniment_evidence::opening::{Document, ModeDocument};

/// How long an order holds: a change begins at once, or is asked for again.
const ORDER_VALID_MS: u64 = 10 * 60 * 1000;

/// The order of a change, as it is sent; empty where the ledger asks for none.
pub async fn order(
    client: &Client,
    change: &MemberChange,
    reach: &Reach,
) -> Result<Vec<u8>, CommandFailure> {
    let Some(wish) = change.wish() else {
        return Ok(Vec::new());
    };
    let draft = client.draft_order(wish).await?;
    match draft.needed {
        true => sign(&draft, reach),
        false => Ok(Vec::new()),
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
    let Ok(Document::Mode(document)) = Document::decode(&draft.document) else {
        return Err(unreadable());
    };
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
    order.sign(&ledger, &document, &key);
    let order = Some(order);
    Ok(Document::Mode(ModeDocument { order, ..document }).encode())
}

/// What he signs, in words.
fn said(document: &ModeDocument) -> String {
    let ModeDocument {
        reason,
        voters,
        sync_learners,
        async_learners,
        ..
    } = document;
    format!(
        "order: {reason}; then voters {voters:?}, sync learners {sync_learners:?}, async learners \
         {async_learners:?}"
    )
}
