//! What the texts and lists of an opening may be: how long, each limit with its reason, and which
//! of them are names.
//!
//! A node holds its callers to them, a leader looks at them before it proposes, and apply
//! refuses by them as MALFORMED; so that no text reaches a table, a receipt or a bundle that
//! has no room for it. Promises: every text and every list of every kind has a limit, and the
//! field that breaks one is named. Leaves what the values mean to the ledger, and limits of
//! whole openings to [`crate::receipt`].
//!
//! Tests: `evidence/tests/documents.rs`.

use crate::endorsement::ENDORSEMENTS_MAX;
use crate::invoice::{Identity, Metadata, Money, Party, Rendition};
use crate::keychange::{CHANGES_MAX, KeyChange};
use crate::name::{self, NameFault};
use crate::opening::{Actor, Document, Holding, Setting};
use crate::system::{AnchoredBy, GenesisDocument};
use std::fmt;

/// Identifiers (tenant, scheme, issuer, number, party and alternative ids, roles): the longest
/// known is a Peppol id of 135 characters; keys hold several of them.
pub const ID_BYTES_MAX: usize = 256;
/// Names, label values, reasons, targets of references.
pub const TEXT_BYTES_MAX: usize = 1024;
/// Items in any list of metadata: an entry of 512 KiB must hold many statements.
pub const ITEMS_MAX: usize = 32;
/// Request ids: room for a UUID with a prefix, or a caller's own key.
pub const REQUEST_ID_BYTES_MAX: usize = 200;
/// Decimal digits of a minor unit (ISO 4217 knows up to 4; 6 leaves room for rates).
pub const EXPONENT_MAX: u8 = 6;
/// Members of a ledger, in any list of nodes: each of them is replicated to.
pub const NODES_MAX: usize = 64;
/// Holdings of one statement: each rendition's at each member, of a few renditions.
pub const HOLDINGS_MAX: usize = 4 * NODES_MAX;
/// The note of an ANCHOR, which is on record: lines of the log and of one witness.
pub const ANCHOR_NOTE_BYTES_MAX: usize = 64 * 1024;
/// Downloads that one DOWNLOAD_END ends.
pub const DELIVERED_MAX: usize = 1000;
/// Operator keys that a ledger is founded with: people, or machines that act for them.
pub const OPERATOR_KEYS_MAX: usize = 16;
/// Outboxes that one BOOT names: a node has one, and a lost one at times.
pub const OUTBOXES_MAX: usize = 16;
/// Time of the ledger that an upload epoch lasts at least: an upload that takes less cannot be
/// made to fail by a voter that asks for one epoch after the other.
pub const UPLOAD_EPOCH_MS_MIN: u64 = 5_000;
/// Renditions of one invoice, and invoices that reverse it: with metadata at its limits, all
/// of it still fits one answer, so that nobody can make an invoice that cannot be read.
pub const RENDITIONS_MAX: u64 = 256;
pub const REVERSALS_MAX: u64 = 10_000;
/// Items of a list that is drawn up for one record alone: invoices, sums, settings of a node.
pub const LISTED_MAX: usize = 256;
/// Persons that agree to one deed.
pub const APPROVALS_MAX: usize = 8;
/// Roles of one caller.
pub const ROLES_MAX: usize = 32;
/// A key, signature or token of another algorithm than ours, as it was presented.
pub const FOREIGN_BYTES_MAX: usize = 16 * 1024;
/// Sets of voters: two while they change.
const VOTER_SETS_MAX: usize = 2;

/// Why a field cannot stand on record; its name is such as `metadata.identity.number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnfitField {
    /// A text or a list is longer than its limit, or a number above it.
    Beyond { field: &'static str, limit: usize },
    /// A name is not in the form of one.
    Name {
        field: &'static str,
        fault: NameFault,
    },
}

impl fmt::Display for UnfitField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnfitField::Beyond { field, limit } => {
                write!(f, "{field} is beyond its limit of {limit}")
            }
            UnfitField::Name { field, fault } => write!(f, "{field} {fault}"),
        }
    }
}

impl std::error::Error for UnfitField {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            UnfitField::Beyond { .. } => None,
            UnfitField::Name { fault, .. } => Some(fault),
        }
    }
}

pub(crate) type Within = Result<(), UnfitField>;

impl Document {
    /// Whether every text and list is within its limit, and every name in the form of one.
    pub fn within_limits(&self) -> Within {
        match self {
            Document::Genesis(d) => genesis(d),
            Document::Boot(d) => {
                text("software", &d.software)?;
                at_most("outboxes", d.outboxes.len(), OUTBOXES_MAX)
            }
            Document::Issue(d) | Document::Reverse(d) => {
                request_id("request_id", &d.request_id)?;
                metadata(&d.metadata)?;
                at_most("renditions", d.renditions.len(), ITEMS_MAX)?;
                d.renditions.iter().try_for_each(rendition)?;
                holdings(&d.holdings)
            }
            Document::AddRendition(d) => {
                named("tenant", &d.tenant)?;
                request_id("request_id", &d.request_id)?;
                rendition(&d.rendition)?;
                holdings(&d.holdings)
            }
            Document::Download(d) => {
                named("tenant", &d.tenant)?;
                id("role", &d.role)
            }
            Document::DownloadEnd(d) => {
                named("tenant", &d.tenant)?;
                at_most("downloads", d.downloads.len(), DELIVERED_MAX)
            }
            Document::Void(d) => {
                named("tenant", &d.tenant)?;
                request_id("request_id", &d.request_id)?;
                text("reason", &d.reason)
            }
            Document::Membership(d) => {
                at_most("voters", d.voters.len(), VOTER_SETS_MAX)?;
                let mut sets = d.voters.iter();
                sets.try_for_each(|set| at_most("voters", set.len(), NODES_MAX))?;
                at_most("learners", d.learners.len(), NODES_MAX)
            }
            Document::Leader(_) | Document::Scrub(_) => Ok(()),
            Document::Key(d) => {
                at_most("endorsements", d.endorsements.list.len(), ENDORSEMENTS_MAX)?;
                each("changes", &d.changes, CHANGES_MAX, change)
            }
            Document::Anchor(d) => {
                text("witness", d.by.who())?;
                if let AnchoredBy::TimeStamp { token, .. } = &d.by {
                    at_most("token", token.len(), ANCHOR_NOTE_BYTES_MAX)?;
                }
                at_most("note", d.note.len(), ANCHOR_NOTE_BYTES_MAX)
            }
            Document::Drill(d) => {
                id("target", &d.target)?;
                id("mode", &d.mode)?;
                id("write_level", &d.write_level)?;
                at_most("nodes", d.nodes.len(), NODES_MAX)?;
                at_most("reads", d.reads.len(), NODES_MAX)?;
                let mut reads = d.reads.iter();
                reads.try_for_each(|read| id("reads.level", &read.level))
            }
            Document::Policy(d) => settings("settings", &d.settings),
            Document::Planned(d) => d.within_limits(),
            Document::Mode(d) => {
                at_most("voters", d.voters.len(), NODES_MAX)?;
                at_most("sync_learners", d.sync_learners.len(), NODES_MAX)?;
                at_most("async_learners", d.async_learners.len(), NODES_MAX)?;
                text("reason", &d.reason)
            }
        }
    }
}

impl Actor {
    /// Whether every text and list is within its limit.
    pub fn within_limits(&self) -> Within {
        text("actor.issuer", &self.issuer)?;
        text("actor.subject", &self.subject)?;
        named("actor.tenant", &self.tenant)?;
        each_text("actor.roles", &self.roles, ROLES_MAX)?;
        id("actor.authenticated", &self.authenticated)?;
        id("actor.address", &self.address)?;
        text("actor.agent", &self.agent)?;
        text("actor.on_behalf_of", &self.on_behalf_of)?;
        id("actor.link", &self.link)?;
        self.signature.iter().try_for_each(|signed| {
            let limit = |field, length| at_most(field, length, FOREIGN_BYTES_MAX);
            limit("actor.signature.key", signed.key.len())?;
            limit("actor.signature.signature", signed.signature.len())
        })
    }
}

fn genesis(d: &GenesisDocument) -> Within {
    named("origin", &d.origin)?;
    at_most("members", d.members.len(), NODES_MAX)?;
    at_most("root_keys", d.root_keys.len(), NODES_MAX)?;
    at_most("operator_keys", d.operator_keys.len(), OPERATOR_KEYS_MAX)?;
    d.members.iter().try_for_each(|member| {
        named("members.region", &member.region)?;
        named("members.zone", &member.zone)
    })
}

fn metadata(d: &Metadata) -> Within {
    identity(&d.identity)?;
    id("metadata.type_code", &d.type_code)?;
    id("metadata.issue_date", &d.issue_date)?;
    id("metadata.retain_until", &d.retain_until)?;
    id("metadata.residency_domain", &d.residency_domain)?;
    d.seller.iter().chain(&d.buyer).try_for_each(party)?;
    d.total.iter().try_for_each(money)?;
    at_most(
        "metadata.alternative_ids",
        d.alternative_ids.len(),
        ITEMS_MAX,
    )?;
    at_most("metadata.tax", d.tax.len(), ITEMS_MAX)?;
    at_most("metadata.references", d.references.len(), ITEMS_MAX)?;
    at_most("metadata.labels", d.labels.len(), ITEMS_MAX)?;
    for alternative in &d.alternative_ids {
        named("metadata.alternative_ids.scheme", &alternative.scheme)?;
        named("metadata.alternative_ids.value", &alternative.value)?;
    }
    for tax in &d.tax {
        id("metadata.tax.category", &tax.category)?;
        money(&tax.taxable)?;
        money(&tax.tax)?;
    }
    for reference in &d.references {
        id("metadata.references.relation", &reference.relation)?;
        text("metadata.references.target", &reference.target)?;
        reference.amount.iter().try_for_each(money)?;
    }
    at_most("metadata.dates", d.dates.len(), ITEMS_MAX)?;
    for date in &d.dates {
        id("metadata.dates.what", &date.what)?;
        id("metadata.dates.date", &date.date)?;
    }
    for label in &d.labels {
        id("metadata.labels.key", &label.key)?;
        text("metadata.labels.value", &label.value)?;
    }
    Ok(())
}

fn identity(d: &Identity) -> Within {
    named("metadata.identity.tenant", &d.tenant)?;
    named("metadata.identity.scheme", &d.scheme)?;
    named("metadata.identity.issuer", &d.issuer)?;
    named("metadata.identity.number", &d.number)?;
    named("metadata.identity.period", &d.period)
}

fn party(d: &Party) -> Within {
    id("party.scheme", &d.scheme)?;
    id("party.id", &d.id)?;
    text("party.name", &d.name)
}

fn money(d: &Money) -> Within {
    at_most("amount.currency", d.currency.len(), ID_BYTES_MAX)?;
    at_most(
        "amount.exponent",
        usize::from(d.exponent),
        usize::from(EXPONENT_MAX),
    )
}

fn rendition(d: &Rendition) -> Within {
    id("rendition.role", &d.role)?;
    id("rendition.media_type", &d.media_type)
}

fn holdings(list: &[Holding]) -> Within {
    at_most("holdings", list.len(), HOLDINGS_MAX)?;
    let mut list = list.iter();
    list.try_for_each(|holding| id("holdings.zone", &holding.zone))
}

pub(crate) fn request_id(field: &'static str, value: &str) -> Within {
    at_most(field, value.len(), REQUEST_ID_BYTES_MAX)
}

pub(crate) fn id(field: &'static str, value: &str) -> Within {
    at_most(field, value.len(), ID_BYTES_MAX)
}

/// A name ([`crate::name`]) of at most [`ID_BYTES_MAX`] bytes.
pub(crate) fn named(field: &'static str, value: &str) -> Within {
    id(field, value)?;
    name::check(value).map_err(|fault| UnfitField::Name { field, fault })
}

pub(crate) fn text(field: &'static str, value: &str) -> Within {
    at_most(field, value.len(), TEXT_BYTES_MAX)
}

/// A list, and each of its items.
pub(crate) fn each<T>(
    field: &'static str,
    items: &[T],
    limit: usize,
    within: impl Fn(&T) -> Within,
) -> Within {
    at_most(field, items.len(), limit)?;
    items.iter().try_for_each(within)
}

pub(crate) fn each_text(field: &'static str, items: &[String], limit: usize) -> Within {
    each(field, items, limit, |item| id(field, item))
}

pub(crate) fn each_name(field: &'static str, items: &[String], limit: usize) -> Within {
    each(field, items, limit, |item| named(field, item))
}

pub(crate) fn settings(field: &'static str, items: &[Setting]) -> Within {
    each(field, items, ITEMS_MAX, |item| {
        id("settings.name", &item.name)
    })
}

pub(crate) fn change(change: &KeyChange) -> Within {
    named("changes.region", &change.region)?;
    named("changes.zone", &change.zone)
}

pub(crate) fn at_most(field: &'static str, length: usize, limit: usize) -> Within {
    match length <= limit {
        true => Ok(()),
        false => Err(UnfitField::Beyond { field, limit }),
    }
}
