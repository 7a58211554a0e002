//! Who may call what: one row per RPC.
//!
//! Promises that an RPC without a row is refused, so that a new one cannot be forgotten.
//! Everyone is allowed everything until callers authenticate.

/// What a caller must be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Health and reflection: no secrets.
    Public,
    ReadInvoices,
    WriteInvoices,
    ReadEvidence,
    ReadCluster,
    Operate,
}

const TABLE: &[(&str, Right)] = &[
    ("/muniment.v1.InvoiceService/Issue", Right::WriteInvoices),
    (
        "/muniment.v1.InvoiceService/IssueMany",
        Right::WriteInvoices,
    ),
    ("/muniment.v1.InvoiceService/Get", Right::ReadInvoices),
    ("/muniment.v1.InvoiceService/List", Right::ReadInvoices),
    ("/muniment.v1.InvoiceService/Download", Right::ReadInvoices),
    ("/muniment.v1.InvoiceService/Check", Right::ReadInvoices),
    ("/muniment.v1.InvoiceService/Reverse", Right::WriteInvoices),
    ("/muniment.v1.InvoiceService/Void", Right::WriteInvoices),
    (
        "/muniment.v1.InvoiceService/AddRendition",
        Right::WriteInvoices,
    ),
    ("/muniment.v1.InvoiceService/Watch", Right::ReadInvoices),
    (
        "/muniment.v1.EvidenceService/GetCheckpoint",
        Right::ReadEvidence,
    ),
    (
        "/muniment.v1.EvidenceService/GetReceipt",
        Right::ReadEvidence,
    ),
    (
        "/muniment.v1.EvidenceService/ListRecords",
        Right::ReadEvidence,
    ),
    ("/muniment.v1.EvidenceService/Export", Right::ReadEvidence),
    ("/muniment.v1.EvidenceService/GetTrust", Right::ReadEvidence),
    (
        "/muniment.v1.EvidenceService/GetPolicy",
        Right::ReadEvidence,
    ),
    (
        "/muniment.v1.EvidenceService/GetConsistencyProof",
        Right::ReadEvidence,
    ),
    (
        "/muniment.v1.EvidenceService/WatchCheckpoints",
        Right::ReadEvidence,
    ),
    ("/muniment.v1.ClusterService/Init", Right::Operate),
    ("/muniment.v1.ClusterService/Status", Right::ReadCluster),
    ("/muniment.v1.ClusterService/Transfer", Right::Operate),
    ("/muniment.v1.ClusterService/GetKeys", Right::ReadCluster),
    ("/muniment.v1.ClusterService/ChangeKeys", Right::Operate),
    ("/muniment.v1.ClusterService/RecordDrill", Right::Operate),
    ("/muniment.v1.ClusterService/Scrub", Right::Operate),
    ("/muniment.v1.ClusterService/DraftOrder", Right::Operate),
    (
        "/muniment.v1.ClusterService/DraftDeclaration",
        Right::Operate,
    ),
    ("/muniment.v1.ClusterService/Declare", Right::Operate),
    ("/muniment.v1.ClusterService/AddMember", Right::Operate),
    ("/muniment.v1.ClusterService/Promote", Right::Operate),
    ("/muniment.v1.ClusterService/Remove", Right::Operate),
    ("/muniment.v1.ClusterService/Replace", Right::Operate),
    ("/muniment.v1.ClusterService/Drain", Right::Operate),
    ("/muniment.v1.ClusterService/Undrain", Right::Operate),
    ("/muniment.v1.ClusterService/MoveMember", Right::Operate),
    ("/grpc.health.v1.Health/Check", Right::Public),
    ("/grpc.health.v1.Health/Watch", Right::Public),
    (
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        Right::Public,
    ),
];

/// The right that a path needs; `None` for a path that is not in the table.
pub fn right(path: &str) -> Option<Right> {
    TABLE
        .iter()
        .find(|(known, _)| *known == path)
        .map(|(_, right)| *right)
}

/// Whether the caller has it.
pub fn allowed(_right: Right) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    #[test]
    fn every_rpc_of_the_protocol_has_a_row() {
        let set = prost_types::FileDescriptorSet::decode(muniment_proto::DESCRIPTORS).unwrap();
        let mut rows = 0;
        for file in set.file.iter().filter(|f| f.package() == "muniment.v1") {
            for service in file.service.iter().filter(|s| s.name() != "PeerService") {
                for method in &service.method {
                    let path = format!("/muniment.v1.{}/{}", service.name(), method.name());
                    assert!(right(&path).is_some(), "{path} has no row");
                    rows += 1;
                }
            }
        }
        assert_eq!(rows + 3, TABLE.len(), "a row names no RPC");
    }
}
