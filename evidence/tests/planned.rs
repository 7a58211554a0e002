//! Kinds whose features come later have one encoding now, and read back from it alone.

mod planning;

use muniment_evidence::digest::Digest;
use muniment_evidence::ids::{RecordIndex, TreeSize};
use muniment_evidence::limits::UnfitField;
use muniment_evidence::month::{self, MonthDocument};
use muniment_evidence::opening::Document;
use muniment_evidence::planned::PlannedDocument as Planned;
use muniment_evidence::retention::RetentionClock;
use muniment_evidence::statement::Kind;
use muniment_evidence::tree::{self, Frontier};
use planning::{month, planned, recovery, restore, tenant};

fn all() -> Vec<Planned> {
    let mut all = planned();
    all.extend([Planned::Restore(restore()), Planned::Recovery(recovery())]);
    all
}

#[test]
fn every_planned_kind_has_one_encoding_and_no_level_until_its_feature_comes() {
    let kinds: Vec<Kind> = all().iter().map(Planned::kind).collect();
    for kind in Kind::ALL {
        let first = match kind {
            Kind::BodyLost | Kind::Waiver => Some(1),
            Kind::Config => Some(2),
            Kind::Snapshot | Kind::Gap => None,
            kind => (!kinds.contains(&kind)).then_some(1),
        };
        assert_eq!(kind.first_level(), first, "{kind}");
    }
    for document in all() {
        let kind = document.kind();
        assert!(!document.named().is_empty(), "{kind}");
        let document = Document::Planned(document);
        assert_eq!(document.within_limits(), Ok(()), "{kind}");
        let bytes = document.encode();
        assert_eq!(Document::decode(&bytes), Ok(document), "{kind}");
        for length in 0..bytes.len() {
            assert!(Document::decode(&bytes[..length]).is_err(), "{kind}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(Document::decode(&longer).is_err(), "{kind}");
    }
}

/// Every tenant's auditor gets what is public: no customer, person or figure may be in it.
#[test]
fn what_tells_of_customers_and_people_is_not_public() {
    let public: Vec<Kind> = all()
        .iter()
        .map(Planned::kind)
        .filter(|kind| kind.is_system())
        .collect();
    let may = [Kind::Erased, Kind::Waiver, Kind::Restore, Kind::Recovery];
    assert_eq!(public, may);
}

fn refused(document: Planned) {
    let document = Document::Planned(document);
    assert!(
        Document::decode(&document.encode()).is_err(),
        "{document:?}"
    );
}

#[test]
fn what_contradicts_itself_does_not_decode() {
    let spoilt: [fn(&mut MonthDocument); 7] = [
        |month| month.count += 1,
        |month| month.number = 0,
        |month| month.previous = None,
        |month| month.sums.swap(1, 2),
        |month| month.sums[2].kind = 3,
        |month| month.sums[0].kind = 4,
        |month| month.sums[3].count = 0,
    ];
    for spoil in spoilt {
        let mut month = month();
        spoil(&mut month);
        refused(Planned::Month(month));
    }
    refused(Planned::Restore(recovery()));
    refused(Planned::Recovery(restore()));
    let mut smaller = restore();
    smaller.known_size = TreeSize::new(10);
    refused(Planned::Restore(smaller));
    for document in planned() {
        match document {
            Planned::Export(mut d) => {
                d.begun = None;
                refused(Planned::Export(d));
            }
            Planned::Retention(mut d) => {
                d.clock = RetentionClock::IssueDate;
                refused(Planned::Retention(d));
            }
            Planned::Erase(mut d) => {
                d.ranges[0].end = TreeSize::new(4);
                refused(Planned::Erase(d.clone()));
                (d.parts, d.ranges) = (8, Vec::new());
                refused(Planned::Erase(d));
            }
            _ => {}
        }
    }
}

#[test]
fn a_field_beyond_its_limit_is_named() {
    let with = |change: fn(&mut muniment_evidence::tenancy::TenantDocument)| {
        let mut tenant = tenant();
        change(&mut tenant);
        Document::Planned(Planned::Tenant(tenant)).within_limits()
    };
    let beyond = |field, limit| Err(UnfitField::Beyond { field, limit });
    assert_eq!(with(|d| d.reason = "x".repeat(1024)), Ok(()));
    assert_eq!(
        with(|d| d.reason = "x".repeat(1025)),
        beyond("reason", 1024)
    );
    let texts = with(|d| d.texts = vec![d.texts[0].clone(); 33]);
    assert_eq!(texts, beyond("texts", 32));
    let name = with(|d| d.tenant = "acme ".into()).unwrap_err();
    assert!(name.to_string().starts_with("tenant "), "{name}");
}

/// Whoever is shown some invoices of a month can tell whether they are all; and a later seal
/// of it goes on from the one before.
#[test]
fn the_tree_of_a_month_is_one_to_which_late_invoices_are_appended() {
    let leaf = |n: u64| month::leaf(RecordIndex::new(n), &Digest([n as u8; 32]));
    let at = [&7u64.to_be_bytes()[..], &[7; 32]].concat();
    assert_eq!(leaf(7), tree::leaf_hash(&at));
    let (mut frontier, mut rows) = (Frontier::new(), tree::MemoryRows::new());
    for n in [3, 7, 8] {
        rows.extend(frontier.append(leaf(n)));
    }
    let (before, sealed) = (frontier.size(), frontier.root());
    for n in [20, 31] {
        rows.extend(frontier.append(leaf(n)));
    }
    let Ok(path) = tree::consistency_proof(&rows, before, frontier.size());
    let goes_on =
        tree::verify_consistency(before, frontier.size(), &path, &sealed, &frontier.root());
    assert!(goes_on);
}
