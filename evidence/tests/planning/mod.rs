//! A document of each kind that is planned, with every field filled in.

use muniment_evidence::digest::Digest;
use muniment_evidence::endorsement::{Endorsement, Endorsements};
use muniment_evidence::ids::{BodyId, NodeId, RecordIndex, RecoveryEpoch, TreeSize};
use muniment_evidence::key::{PublicKey, Signature};
use muniment_evidence::keychange::{Action, KeyChange, Role};
use muniment_evidence::losses::{BodyLostDocument, EpochDocument, WaiverDocument};
use muniment_evidence::month::{MonthDocument, MonthSum};
use muniment_evidence::opening::Setting;
use muniment_evidence::planned::PlannedDocument as Planned;
use muniment_evidence::retention::{
    Approval, EraseDocument, EraseReason, ErasedDocument, ErasedFrom, HoldAction, HoldDocument,
    RecordRange, RetentionAction, RetentionClock, RetentionDocument,
};
use muniment_evidence::tenancy::{
    AdminDocument, AdminOutcome, CheckAnswer, CheckBy, CheckDocument, CheckFound, ConfigDocument,
    ConfigMoment, ExportDocument, ExportPhase, GrantAction, GrantDocument, InvoiceStatus,
    NamedText, TenantDocument, TenantState,
};

pub fn endorsements() -> Endorsements {
    Endorsements {
        after: RecordIndex::new(4),
        leaf: Digest([4; 32]),
        expires_ms: 1_900_000_000_000,
        list: vec![Endorsement {
            key: PublicKey([7; 32]),
            signature: Signature([8; 64]),
        }],
    }
}

fn approvals() -> Vec<Approval> {
    vec![Approval {
        issuer: "https://id.example".into(),
        subject: "second.person".into(),
        at_ms: 1_795_000_000_000,
        reason: "agreed".into(),
    }]
}

fn named(name: &str, value: &str) -> Vec<NamedText> {
    vec![NamedText {
        name: name.into(),
        value: value.into(),
    }]
}

pub fn restore() -> EpochDocument {
    EpochDocument {
        epoch: RecoveryEpoch::new(1),
        origin: "ledger.example/0".into(),
        size: TreeSize::new(11),
        root: Digest([1; 32]),
        known_size: TreeSize::new(14),
        backup: Some(Digest([2; 32])),
        fenced: vec![NodeId::new(1), NodeId::new(2)],
        changes: vec![KeyChange {
            action: Action::Add,
            role: Role::Log,
            node: NodeId::NONE,
            region: String::new(),
            zone: String::new(),
            key: PublicKey([9; 32]),
        }],
        threshold: 1,
        reason: "the zones z1 and z2 are gone".into(),
        endorsements: endorsements(),
    }
}

pub fn recovery() -> EpochDocument {
    EpochDocument {
        backup: None,
        ..restore()
    }
}

pub fn month() -> MonthDocument {
    let sum = |currency: &str, kind, count, minor_units| MonthSum {
        currency: currency.into(),
        exponent: if currency.is_empty() { 0 } else { 2 },
        kind,
        count,
        minor_units,
    };
    MonthDocument {
        tenant: "default".into(),
        month: "2026-11".into(),
        number: 1,
        previous: Some(RecordIndex::new(3)),
        end: TreeSize::new(11),
        count: 4,
        root: Digest([6; 32]),
        sums: vec![
            sum("", 3, 1, 0),
            sum("EUR", 3, 2, 1 << 70),
            sum("EUR", 7, 1, -1234),
            sum("EUR", 8, 1, 1234),
        ],
    }
}

pub fn tenant() -> TenantDocument {
    TenantDocument {
        tenant: "acme".into(),
        request_id: "t-1".into(),
        number: 2,
        state: TenantState::Open,
        level: "zones:2".into(),
        scheme: "generic".into(),
        issuer: "DE123456789".into(),
        settings: vec![Setting {
            name: "deferred_evidence".into(),
            value: 1,
        }],
        texts: named("residency_domain", "eu"),
        reason: "contract 17".into(),
        order: Some(endorsements()),
    }
}

/// All but those from which on a verifier understands nothing.
pub fn planned() -> Vec<Planned> {
    let mut all = kept();
    all.extend([
        Planned::Tenant(tenant()),
        Planned::Grant(GrantDocument {
            request_id: "g-1".into(),
            action: GrantAction::Grant,
            issuer: "https://id.example".into(),
            subject: "billing.service".into(),
            authenticated: "mtls".into(),
            roles: vec!["issuer".into(), "reader".into()],
            tenants: vec!["acme".into()],
            everywhere: false,
            expires_ms: Some(1_900_000_000_000),
            reason: "contract 17".into(),
            order: None,
        }),
        Planned::Config(ConfigDocument {
            moment: ConfigMoment::Reload,
            digest: Digest([3; 32]),
            changed: named("deferred.max_pending", "1000"),
        }),
        Planned::Admin(AdminDocument {
            request_id: "a-1".into(),
            call: "muniment.v1.Cluster/Remove".into(),
            tenant: String::new(),
            target: "node 3".into(),
            outcome: AdminOutcome::Refused,
            code: "PERMISSION_DENIED".into(),
            reason: "an auditor".into(),
            arguments: named("node", "3"),
        }),
        Planned::Check(CheckDocument {
            tenant: "acme".into(),
            by: CheckBy::Sha256,
            asked: "e3b0c442".into(),
            answer: CheckAnswer::NotInForce,
            size: TreeSize::new(11),
            found: vec![CheckFound {
                uid: [4; 16],
                index: RecordIndex::new(4),
                status: InvoiceStatus::Void,
            }],
        }),
        Planned::Export(ExportDocument {
            tenant: "acme".into(),
            request_id: "e-1".into(),
            phase: ExportPhase::Ended,
            begun: Some(RecordIndex::new(9)),
            purpose: "audit of 2026".into(),
            selection: "tenant=acme".into(),
            first: RecordIndex::FIRST,
            end: TreeSize::new(11),
            records: 11,
            openings: 20,
            bodies: 0,
            bytes: 20_000,
            digest: Some(Digest([5; 32])),
        }),
        Planned::Month(month()),
        Planned::Waiver(WaiverDocument {
            index: RecordIndex::new(7),
            leaf: Digest([7; 32]),
            check: "R4".into(),
            reason: "a leader with a broken disk".into(),
            endorsements: endorsements(),
        }),
        Planned::BodyLost(BodyLostDocument {
            tenant: "acme".into(),
            uid: [4; 16],
            role: "original".into(),
            body_id: BodyId::new([4; 16]),
            sha256: Digest([5; 32]),
            chunk_root: Digest([5; 32]),
            length: 22,
            asked: vec![NodeId::new(1), NodeId::new(2), NodeId::new(3)],
            reason: "three disks of one lot".into(),
            endorsements: endorsements(),
        }),
    ]);
    all
}

/// How long invoices are kept.
fn kept() -> Vec<Planned> {
    vec![
        Planned::Hold(HoldDocument {
            tenant: "acme".into(),
            request_id: "h-1".into(),
            action: HoldAction::Placed,
            matter: "case 7".into(),
            uids: vec![[4; 16]],
            reason: "by order".into(),
            approvals: approvals(),
        }),
        Planned::Retention(RetentionDocument {
            tenant: "acme".into(),
            request_id: "r-1".into(),
            policy: "de.invoices".into(),
            action: RetentionAction::Shortened,
            clock: RetentionClock::FiscalYear,
            fiscal_year_end: "06-30".into(),
            months: 96,
            scheme: "generic".into(),
            issuer: String::new(),
            type_code: "380".into(),
            reason: "the law is another".into(),
            approvals: approvals(),
        }),
        Planned::Erase(EraseDocument {
            tenant: "acme".into(),
            request_id: "x-1".into(),
            why: EraseReason::RetentionEnded,
            parts: 7,
            uids: vec![[4; 16]],
            ranges: vec![RecordRange {
                first: RecordIndex::new(5),
                end: TreeSize::new(7),
            }],
            reason: "ten years are over".into(),
            approvals: approvals(),
        }),
        Planned::Erased(ErasedDocument {
            erase: RecordIndex::new(8),
            from: ErasedFrom::Backup,
            number: 1,
            bodies: 1,
            openings: 3,
        }),
    ]
}
