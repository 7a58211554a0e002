//! gRPC: thin handlers, one status table, one access table, limits on everything.
//!
//! A handler translates, calls one verb, translates back. Promises: every call is
//! measured and traced, has a row in the access table, and ends in a status that says
//! what to do next. Leaves meaning to `service/`.
//!
//! * [`server`]: listeners with their limits; [`connections`]: how many, and for how long
//! * [`invoices`], [`evidence`], [`cluster`]: handlers; [`issue_many`]: the handler of a
//!   stream of issues
//! * [`incoming`], [`outgoing`]: translation between protobuf and the domain; what comes in
//!   has been checked, and what is missing or wrong is named by its field
//! * [`status`]: [`crate::service::Error`] to gRPC, in one place
//! * [`access`]: who may call what
//! * [`observe`]: one span and one measurement per call
//! * [`peers`], [`dial`]: nodes among each other

pub mod access;
pub mod cluster;
mod connections;
pub mod dial;
pub mod evidence;
pub mod incoming;
pub mod invoices;
pub mod issue_many;
pub mod observe;
pub mod outgoing;
pub mod peers;
pub mod server;
pub mod status;
