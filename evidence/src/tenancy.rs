//! What tenants are, who may do what, and what was disclosed: TENANT, GRANT, CONFIG, ADMIN, CHECK
//! and EXPORT.
//!
//! Promises one encoding each; none is public, for they tell of customers, people and machines.
//! The features come later: until then a ledger refuses these kinds ([`Kind::first_level`]), and
//! a verifier reads them. Leaves what is allowed to the ledger.
//!
//! [`Kind::first_level`]: crate::statement::Kind::first_level
//!
//! Tests: `evidence/tests/planned.rs`.

use crate::codes::coded;
use crate::digest::Digest;
use crate::endorsement::Endorsements;
use crate::fields::{coded_fields, fields};
use crate::ids::{RecordIndex, TreeSize};
use crate::limits::{
    ITEMS_MAX, LISTED_MAX, each, each_name, each_text, id, named, request_id, settings, text,
};

coded! {
    /// Whether a tenant may issue.
    pub enum TenantState {
        Open = 1 "OPEN",
        /// Nothing new is taken; what there is stays, and can be read.
        Closed = 2 "CLOSED",
    }
}

coded! {
    pub enum GrantAction {
        Grant = 1 "GRANT",
        Revoke = 2 "REVOKE",
    }
}

coded! {
    /// When a node took its configuration.
    pub enum ConfigMoment {
        Start = 1 "START",
        Reload = 2 "RELOAD",
    }
}

coded! {
    /// What became of an administrative call.
    pub enum AdminOutcome {
        Done = 1 "DONE",
        /// Who called was not allowed to, or asked for what cannot be.
        Refused = 2 "REFUSED",
        Failed = 3 "FAILED",
    }
}

coded! {
    /// By what an invoice was looked for.
    pub enum CheckBy {
        Uid = 1 "UID",
        Identity = 2 "IDENTITY",
        AlternativeId = 3 "ALTERNATIVE_ID",
        Sha256 = 4 "SHA256",
        /// Several of its fields, which were compared.
        Fields = 5 "FIELDS",
    }
}

coded! {
    pub enum CheckAnswer {
        InForce = 1 "IN_FORCE",
        /// Found, and reversed or void.
        NotInForce = 2 "NOT_IN_FORCE",
        NotFound = 3 "NOT_FOUND",
        /// Found, and another than the fields say.
        Differs = 4 "DIFFERS",
    }
}

coded! {
    pub enum InvoiceStatus {
        Issued = 1 "ISSUED",
        PartlyReversed = 2 "PARTLY_REVERSED",
        Reversed = 3 "REVERSED",
        Void = 4 "VOID",
    }
}

coded! {
    pub enum ExportPhase {
        /// Recorded before the first byte leaves.
        Begun = 1 "BEGUN",
        Ended = 2 "ENDED",
    }
}

coded_fields! {
    TenantState "the state of a tenant",
    GrantAction "an action on a grant",
    ConfigMoment "when a configuration was taken",
    AdminOutcome "the outcome of a call",
    CheckBy "what was looked for by",
    CheckAnswer "an answer",
    InvoiceStatus "the status of an invoice",
    ExportPhase "the phase of an export",
}

fields! {
    /// A setting whose value is a text.
    pub struct NamedText {
        pub name: String = id,
        pub value: String = text,
    }
}

fields! {
    /// What a tenant is from this record on, as a whole.
    pub struct TenantDocument {
        pub tenant: String = named,
        pub request_id: String = request_id,
        /// Counts the OK TENANT records of this tenant, from 0.
        pub number: u64,
        pub state: TenantState,
        /// What its calls get that do not say: the write level, as in `zones:2`, scheme, issuer.
        pub level: String = id,
        pub scheme: String = named,
        pub issuer: String = named,
        /// Limits and switches; what is not named has the value of the software.
        pub settings: Vec<crate::opening::Setting> = settings,
        pub texts: Vec<NamedText> = |f, v| each(f, v, ITEMS_MAX, NamedText::within_limits),
        pub reason: String = text,
        /// Of an operator, where the ledger has operator keys.
        pub order: Option<Endorsements>,
    }
}

fields! {
    /// A subject may do something from this record on, or may not any more.
    pub struct GrantDocument {
        pub request_id: String = request_id,
        pub action: GrantAction,
        /// Who vouches for the subject: the issuer of its tokens, or its certificates' authority.
        pub issuer: String = text,
        pub subject: String = text,
        /// How it must have been authenticated; empty where that does not matter.
        pub authenticated: String = id,
        pub roles: Vec<String> = |f, v| each_text(f, v, ITEMS_MAX),
        /// Where the roles hold; `everywhere` stands for all tenants there are and will be.
        pub tenants: Vec<String> = |f, v| each_name(f, v, ITEMS_MAX),
        pub everywhere: bool,
        /// By committed_at; absent where it does not end.
        pub expires_ms: Option<u64>,
        pub reason: String = text,
        /// Of an operator, where the ledger has operator keys.
        pub order: Option<Endorsements>,
    }
}

fields! {
    /// By what the node that says so is configured.
    pub struct ConfigDocument {
        pub moment: ConfigMoment,
        /// SHA-256 of its configuration, secrets left out, as its software writes it.
        pub digest: Digest,
        /// What is another than the default (START) or than before (RELOAD), as far as it is
        /// shown; secrets left out.
        pub changed: Vec<NamedText> = |f, v| each(f, v, LISTED_MAX, NamedText::within_limits),
    }
}

fields! {
    /// An administrative call, and what became of it.
    pub struct AdminDocument {
        pub request_id: String = request_id,
        /// The name of the method, or the path.
        pub call: String = id,
        /// Empty where it is of no tenant.
        pub tenant: String = named,
        pub target: String = text,
        pub outcome: AdminOutcome,
        /// The code that the caller got; empty when done.
        pub code: String = id,
        pub reason: String = text,
        pub arguments: Vec<NamedText> = |f, v| each(f, v, ITEMS_MAX, NamedText::within_limits),
    }
}

fields! {
    /// An invoice that a CHECK found.
    pub struct CheckFound {
        pub uid: [u8; 16],
        pub index: RecordIndex,
        pub status: InvoiceStatus,
    }
}

fields! {
    /// What somebody wanted to know of an invoice, and was told.
    pub struct CheckDocument {
        pub tenant: String = named,
        pub by: CheckBy,
        pub asked: String = text,
        pub answer: CheckAnswer,
        /// The answer is that of the first so many records.
        pub size: TreeSize,
        pub found: Vec<CheckFound> = |f, v| each(f, v, LISTED_MAX, CheckFound::within_limits),
    }
}

fields! {
    /// A disclosure of many records.
    pub struct ExportDocument {
        /// Empty where it is of all tenants.
        pub tenant: String = named,
        pub request_id: String = request_id,
        pub phase: ExportPhase,
        /// Index of the record that says BEGUN; absent in itself.
        pub begun: Option<RecordIndex>,
        pub purpose: String = text,
        /// As in a bundle: empty for a range.
        pub selection: String = text,
        pub first: RecordIndex,
        pub end: TreeSize,
        pub records: u64,
        pub openings: u64,
        pub bodies: u64,
        pub bytes: u64,
        /// What ends the bundle that was handed over.
        pub digest: Option<Digest>,
    }
}

impl ExportDocument {
    /// Only what ended names its beginning and its digest.
    pub(crate) fn is_sound(&self) -> bool {
        let ended = self.phase == ExportPhase::Ended;
        self.begun.is_some() == ended && (ended || self.digest.is_none())
    }
}
