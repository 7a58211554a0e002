//! The border to protobuf: generated types and their translation to domain types.
//!
//! Promises: nothing generated goes further in than this floor, `rpc/` and `client/`;
//! what comes out of a translation towards the domain has been checked, and what is
//! missing or wrong is named by its field. Leaves transport to `rpc/`.

pub mod incoming;
pub mod outgoing;

/// Generated from `proto/muniment/v1`.
#[allow(clippy::all, clippy::pedantic, missing_docs)]
pub mod v1 {
    tonic::include_proto!("muniment.v1");
}

/// The compiled protocol, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/muniment.v1.bin"));
