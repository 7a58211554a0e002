//! Muniment: a replicated store for issued invoices that can prove itself.

pub mod wire;
