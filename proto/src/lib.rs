//! The protocol: messages, clients and (feature `server`) services, generated from
//! `proto/muniment/v1`.
//!
//! Promises: the code in `generated/` is what the .proto files of this checkout give, which
//! `tests/generated.rs` compares; so a build needs no compiler of protocols. After a change
//! of a .proto file, `make proto` writes it anew. Leaves every judgement of what a message
//! says to the caller.

#[allow(clippy::all, clippy::pedantic, missing_docs)]
pub mod v1 {
    include!("generated/muniment.v1.rs");
}

/// The compiled protocol (a `google.protobuf.FileDescriptorSet`), for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/muniment.v1.bin");
