//! What a caller may hand in: what it may leave out, and whether it is within the limits.
//!
//! The one place that fills what a caller leaves to its tenant's defaults
//! ([`TenantDefaults`]) and that checks drafts. Promises: metadata that was resolved is
//! complete, canonical (sorted, without repetition) and small enough for one statement
//! among many in a Raft entry. A refusal names the field. Leaves uniqueness and references
//! to apply, the limits themselves to [`muniment_evidence::limits`], and reading the caller's
//! bytes to `rpc/`.

use super::call_error::CallError;
use super::cause::{AnyError, Cause};
use super::currency;
use super::ids::Uid;
pub use muniment_evidence::limits::{
    EXPONENT_MAX, ID_BYTES_MAX, ITEMS_MAX, REQUEST_ID_BYTES_MAX, TEXT_BYTES_MAX,
};
use muniment_evidence::opening::{AlternativeId, Identity, Metadata, Money};
use std::fmt;

/// The tenant of a caller who names none.
pub const DEFAULT_TENANT: &str = "default";

/// A field that cannot be taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadField {
    pub field: String,
    pub why: Cause,
}

impl fmt::Display for BadField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.why)
    }
}

/// Builds a refusal.
pub fn bad(field: &str, why: impl Into<Box<AnyError>>) -> BadField {
    BadField {
        field: field.to_owned(),
        why: Cause::new(why),
    }
}

/// How an invoice may be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvoiceKey {
    Uid(Uid),
    Identity(Identity),
    AlternativeId { tenant: String, id: AlternativeId },
    RequestId { tenant: String, request_id: String },
}

/// In words.
impl fmt::Display for InvoiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvoiceKey::Uid(uid) => write!(f, "invoice {uid}"),
            InvoiceKey::Identity(id) => write!(
                f,
                "invoice {} of issuer {} (tenant {}, scheme {})",
                id.number, id.issuer, id.tenant, id.scheme
            ),
            InvoiceKey::AlternativeId { id, .. } => {
                write!(f, "invoice with {} {}", id.scheme, id.value)
            }
            InvoiceKey::RequestId { request_id, .. } => {
                write!(f, "invoice of request {request_id}")
            }
        }
    }
}

/// A tenant, and what its callers may leave out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantDefault {
    pub name: String,
    pub scheme: String,
    pub issuer: String,
}

/// Every tenant that this node is configured for.
#[derive(Clone, Debug, Default)]
pub struct TenantDefaults(pub Vec<TenantDefault>);

impl TenantDefaults {
    /// A tenant by its name; empty means [`DEFAULT_TENANT`].
    pub fn find(&self, name: &str) -> Result<&TenantDefault, CallError> {
        let name = tenant_name(name);
        let found = self.0.iter().find(|tenant| tenant.name == name);
        found.ok_or_else(|| CallError::not_found(format!("tenant {name:?}")))
    }

    /// Fills what the metadata leaves to the tenant, and checks it.
    pub fn resolve_metadata(&self, mut metadata: Metadata) -> Result<Metadata, CallError> {
        self.fill(&mut metadata.identity)?;
        Ok(check(metadata)?)
    }

    /// Checks a key, named `field` in the call, and fills what it leaves to the tenant.
    pub fn resolve_key(&self, field: &str, mut key: InvoiceKey) -> Result<InvoiceKey, CallError> {
        match &mut key {
            InvoiceKey::Uid(_) => {}
            InvoiceKey::Identity(identity) => {
                let field = format!("{field}.identity");
                name(&format!("{field}.number"), &identity.number)?;
                for (part, value) in [
                    ("tenant", &identity.tenant),
                    ("scheme", &identity.scheme),
                    ("issuer", &identity.issuer),
                    ("period", &identity.period),
                ] {
                    name_or_empty(&format!("{field}.{part}"), value)?;
                }
                self.fill(identity)?;
            }
            InvoiceKey::AlternativeId { tenant, id } => {
                name(&format!("{field}.alternative_id.scheme"), &id.scheme)?;
                name(&format!("{field}.alternative_id.value"), &id.value)?;
                fill_tenant(field, tenant)?;
            }
            InvoiceKey::RequestId {
                tenant,
                request_id: id,
            } => {
                request_id(&format!("{field}.request_id.request_id"), id)?;
                fill_tenant(field, tenant)?;
            }
        }
        Ok(key)
    }

    fn fill(&self, identity: &mut Identity) -> Result<(), CallError> {
        let tenant = self.find(&identity.tenant)?;
        for (field, default) in [
            (&mut identity.tenant, &tenant.name),
            (&mut identity.scheme, &tenant.scheme),
            (&mut identity.issuer, &tenant.issuer),
        ] {
            if field.is_empty() {
                field.clone_from(default);
            }
        }
        Ok(())
    }
}

fn tenant_name(given: &str) -> &str {
    if given.is_empty() {
        DEFAULT_TENANT
    } else {
        given
    }
}

fn fill_tenant(field: &str, tenant: &mut String) -> Result<(), BadField> {
    if tenant.is_empty() {
        DEFAULT_TENANT.clone_into(tenant);
    }
    name(&format!("{field}.tenant"), tenant)
}

/// Empty, or the month `YYYY-MM`.
pub fn month(field: &str, month: &str) -> Result<(), BadField> {
    let plain = |c: &u8| c.is_ascii_digit() || *c == b'-';
    if !month.is_empty() && (month.len() != 7 || !month.as_bytes().iter().all(plain)) {
        return Err(bad(field, "is not YYYY-MM"));
    }
    Ok(())
}

/// Checks the limits and brings lists into canonical order.
fn check(mut metadata: Metadata) -> Result<Metadata, BadField> {
    let identity = &metadata.identity;
    name("metadata.identity.tenant", &identity.tenant)?;
    name("metadata.identity.scheme", &identity.scheme)?;
    name("metadata.identity.issuer", &identity.issuer)?;
    name("metadata.identity.number", &identity.number)?;
    name_or_empty("metadata.identity.period", &identity.period)?;
    text("metadata.type_code", &metadata.type_code, ID_BYTES_MAX)?;
    date("metadata.issue_date", &metadata.issue_date)?;
    date("metadata.retain_until", &metadata.retain_until)?;
    text(
        "metadata.residency_domain",
        &metadata.residency_domain,
        ID_BYTES_MAX,
    )?;
    for (field, party) in [
        ("metadata.seller", &metadata.seller),
        ("metadata.buyer", &metadata.buyer),
    ] {
        if let Some(party) = party {
            required(&format!("{field}.id"), &party.id)?;
            text(&format!("{field}.scheme"), &party.scheme, ID_BYTES_MAX)?;
            text(&format!("{field}.name"), &party.name, TEXT_BYTES_MAX)?;
        }
    }
    if let Some(total) = &metadata.total {
        money("metadata.total", total)?;
    }
    items("metadata.alternative_ids", metadata.alternative_ids.len())?;
    items("metadata.tax", metadata.tax.len())?;
    items("metadata.references", metadata.references.len())?;
    items("metadata.labels", metadata.labels.len())?;
    for id in &metadata.alternative_ids {
        name("metadata.alternative_ids.scheme", &id.scheme)?;
        name("metadata.alternative_ids.value", &id.value)?;
    }
    for tax in &metadata.tax {
        text("metadata.tax.category", &tax.category, ID_BYTES_MAX)?;
        money("metadata.tax.taxable", &tax.taxable)?;
        money("metadata.tax.tax", &tax.tax)?;
    }
    for reference in &metadata.references {
        required("metadata.references.relation", &reference.relation)?;
        text(
            "metadata.references.target",
            &reference.target,
            TEXT_BYTES_MAX,
        )?;
        if let Some(amount) = &reference.amount {
            money("metadata.references.amount", amount)?;
        }
    }
    for label in &metadata.labels {
        required("metadata.labels.key", &label.key)?;
        text("metadata.labels.value", &label.value, TEXT_BYTES_MAX)?;
    }
    metadata.alternative_ids.sort();
    metadata.alternative_ids.dedup();
    metadata.labels.sort();
    if metadata.labels.windows(2).any(|w| w[0].key == w[1].key) {
        return Err(bad("metadata.labels", "a key stands twice"));
    }
    Ok(metadata)
}

/// A request id: required, printable, bounded.
pub fn request_id(field: &str, id: &str) -> Result<(), BadField> {
    if id.is_empty() {
        return Err(bad(field, "is required: it makes the call safe to repeat"));
    }
    text(field, id, REQUEST_ID_BYTES_MAX)
}

/// A required identifier.
pub fn required(field: &str, value: &str) -> Result<(), BadField> {
    if value.is_empty() {
        return Err(bad(field, "is required"));
    }
    text(field, value, ID_BYTES_MAX)
}

/// A required identifier in the form of a name: nothing else looks like it but by case or width.
pub fn name(field: &str, value: &str) -> Result<(), BadField> {
    if value.is_empty() {
        return Err(bad(field, "is required"));
    }
    name_or_empty(field, value)
}

/// The same, and it may be left out.
pub fn name_or_empty(field: &str, value: &str) -> Result<(), BadField> {
    if value.len() > ID_BYTES_MAX {
        return Err(bad(field, format!("is longer than {ID_BYTES_MAX} bytes")));
    }
    muniment_evidence::name::check(value).map_err(|fault| bad(field, fault))
}

/// Text without control characters, of at most `bytes_max` bytes.
pub fn text(field: &str, value: &str, bytes_max: usize) -> Result<(), BadField> {
    if value.len() > bytes_max {
        return Err(bad(field, format!("is longer than {bytes_max} bytes")));
    }
    if value.chars().any(char::is_control) {
        return Err(bad(field, "holds a control character"));
    }
    Ok(())
}

fn items(field: &str, count: usize) -> Result<(), BadField> {
    if count > ITEMS_MAX {
        return Err(bad(field, format!("has more than {ITEMS_MAX} items")));
    }
    Ok(())
}

fn money(field: &str, money: &Money) -> Result<(), BadField> {
    let code = money.currency.as_bytes();
    if code.len() != 3 || !code.iter().all(u8::is_ascii_uppercase) {
        return Err(bad(
            &format!("{field}.currency"),
            "is not a code of three capital letters (ISO 4217)",
        ));
    }
    if money.exponent > EXPONENT_MAX {
        return Err(bad(
            &format!("{field}.exponent"),
            format!("is above {EXPONENT_MAX}"),
        ));
    }
    if let Some(exponent) = currency::exponent(&money.currency)
        && money.exponent != exponent
    {
        // Ten times or a tenth of the sum, for everybody who goes by the standard.
        return Err(bad(
            &format!("{field}.exponent"),
            format!(
                "is {}, {} has {exponent} (ISO 4217)",
                money.exponent, money.currency
            ),
        ));
    }
    Ok(())
}

/// Empty, or `YYYY-MM-DD` of a day that exists, with an optional `Z` or `±hh:mm`.
fn date(field: &str, value: &str) -> Result<(), BadField> {
    if value.is_empty() {
        return Ok(());
    }
    let wrong = || bad(field, "is not YYYY-MM-DD with an optional offset");
    let (day, offset) = value.split_at_checked(10).ok_or_else(wrong)?;
    let format = time::macros::format_description!("[year]-[month]-[day]");
    time::Date::parse(day, format).map_err(|_| wrong())?;
    let good = match offset.as_bytes() {
        [] | [b'Z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => {
            [h1, h2, m1, m2].iter().all(|c| c.is_ascii_digit())
                && (*h1, *h2) <= (b'1', b'8')
                && *m1 < b'6'
        }
        _ => false,
    };
    if good { Ok(()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muniment_evidence::opening::{Identity, Label};

    fn minimal() -> Metadata {
        Metadata {
            identity: Identity {
                tenant: "default".into(),
                scheme: "generic".into(),
                issuer: "local".into(),
                number: "1".into(),
                period: String::new(),
            },
            ..Metadata::default()
        }
    }

    #[test]
    fn a_refusal_names_the_field() {
        assert!(check(minimal()).is_ok());
        let mut m = minimal();
        m.identity.number.clear();
        assert_eq!(check(m).unwrap_err().field, "metadata.identity.number");
        let mut m = minimal();
        m.identity.number = "INV-\u{200b}1".into();
        let refused = check(m).unwrap_err();
        assert_eq!(refused.field, "metadata.identity.number");
        assert!(refused.why.to_string().contains("U+200B at character 5"));
        let mut m = minimal();
        m.issue_date = "2026-02-30".into();
        assert_eq!(check(m).unwrap_err().field, "metadata.issue_date");
        let mut m = minimal();
        m.total = Some(Money {
            minor_units: 1,
            currency: "eur".into(),
            exponent: 2,
        });
        assert_eq!(check(m).unwrap_err().field, "metadata.total.currency");
        for (currency, exponent, is_good) in [
            ("EUR", 2, true),
            ("EUR", 3, false),
            ("JPY", 0, true),
            ("JPY", 2, false),
            ("KWD", 3, true),
            ("USD", 0, false),
            ("XAU", 4, true),
        ] {
            let mut m = minimal();
            m.total = Some(Money {
                minor_units: 1,
                currency: currency.into(),
                exponent,
            });
            let checked = check(m).map_err(|bad| bad.field);
            let expected = match is_good {
                true => None,
                false => Some("metadata.total.exponent".to_owned()),
            };
            assert_eq!(checked.err(), expected, "{currency} {exponent}");
        }
        let mut m = minimal();
        let label = |v: &str| Label {
            key: "k".into(),
            value: v.into(),
        };
        m.labels = vec![label("b"), label("a")];
        assert_eq!(check(m).unwrap_err().field, "metadata.labels");
    }

    fn tenants() -> TenantDefaults {
        TenantDefaults(vec![TenantDefault {
            name: "default".into(),
            scheme: "generic".into(),
            issuer: "local".into(),
        }])
    }

    #[test]
    fn what_a_caller_leaves_out_is_its_tenants() {
        let mut given = minimal();
        (given.identity.tenant, given.identity.scheme) = (String::new(), "own".into());
        given.identity.issuer.clear();
        let resolved = tenants().resolve_metadata(given.clone()).unwrap();
        let expected = Identity {
            scheme: "own".into(),
            ..minimal().identity
        };
        assert_eq!(resolved.identity, expected);
        let key = InvoiceKey::Identity(given.identity);
        let resolved = tenants().resolve_key("key", key);
        assert_eq!(resolved, Ok(InvoiceKey::Identity(expected)));
        let key = InvoiceKey::RequestId {
            tenant: String::new(),
            request_id: "r".into(),
        };
        let resolved = tenants().resolve_key("key", key).unwrap();
        assert!(matches!(resolved, InvoiceKey::RequestId { tenant, .. } if tenant == "default"));
    }

    #[test]
    fn a_key_that_cannot_be_is_refused_under_its_name() {
        let of_tenant = |tenant: &str, number: &str| {
            let identity = Identity {
                tenant: tenant.into(),
                number: number.into(),
                ..Identity::default()
            };
            tenants().resolve_key("target", InvoiceKey::Identity(identity))
        };
        let unknown = of_tenant("nobody", "1");
        assert!(
            matches!(unknown, Err(CallError::NotFound(_))),
            "{unknown:?}"
        );
        match of_tenant("", "") {
            Err(CallError::Invalid(bad)) => assert_eq!(bad.field, "target.identity.number"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn dates_exist_and_may_have_an_offset() {
        for good in ["", "2026-11-23", "2026-11-23Z", "2026-11-23+08:00"] {
            assert!(date("d", good).is_ok(), "{good}");
        }
        for bad in ["2026-13-01", "23.11.2026", "2026-11-23+8", "2026-11-23T"] {
            assert!(date("d", bad).is_err(), "{bad}");
        }
    }
}
