//! The tenants that this node is configured for, and what each leaves to defaults.

use crate::config::Tenant;
use crate::domain::call_error::CallError;
use crate::domain::draft::{DEFAULT_TENANT, InvoiceKey, TenantDefault, TenantDefaults};
use crate::objective::layout::LayoutGuarantee;
use crate::objective::write::WriteLevel;
use muniment_evidence::drill::DRILL_TENANT;
use muniment_evidence::opening::Metadata;
use std::collections::BTreeMap;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Tenants {
    defaults: TenantDefaults,
    levels: BTreeMap<String, WriteLevel>,
}

impl Tenants {
    pub fn of(tenants: &[Tenant]) -> Tenants {
        let defaults = tenants.iter().map(|tenant| TenantDefault {
            name: tenant.name.clone(),
            scheme: tenant.scheme.clone(),
            issuer: tenant.issuer.clone(),
        });
        let levels = tenants.iter().map(|t| (t.name.clone(), t.level()));
        Tenants {
            defaults: TenantDefaults(defaults.collect()),
            levels: levels.collect(),
        }
    }

    /// The tenant's name, which may be left out; an error where there is no such tenant.
    pub fn name(&self, given: &str) -> Result<String, CallError> {
        Ok(self.defaults.find(given)?.name.clone())
    }

    /// The level of a tenant's write that asks for nothing.
    pub fn level(&self, given: &str) -> Result<WriteLevel, CallError> {
        let name = &self.defaults.find(given)?.name;
        Ok(self.levels.get(name).copied().unwrap_or_default())
    }

    /// The level of the tenant that nobody names.
    pub fn default_level(&self) -> WriteLevel {
        self.levels.get(DEFAULT_TENANT).copied().unwrap_or_default()
    }

    /// A key with what its caller left out.
    pub fn resolve_key(&self, field: &str, key: InvoiceKey) -> Result<InvoiceKey, CallError> {
        self.defaults.resolve_key(field, key)
    }

    /// Metadata with what their caller left out, checked.
    pub fn resolve_metadata(&self, metadata: Metadata) -> Result<Metadata, CallError> {
        self.defaults.resolve_metadata(metadata)
    }

    /// The levels that callers were promised, and who; drills were promised nothing.
    pub fn promised(&self) -> Vec<LayoutGuarantee> {
        let levels = self.levels.iter().filter(|(name, _)| *name != DRILL_TENANT);
        levels
            .map(|(name, level)| (format!("tenant {name}"), *level))
            .collect()
    }
}
