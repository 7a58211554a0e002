//! The binary formats: whatever is read is written again as the same bytes.

use muniment_evidence::opening::{Actor, Document, Holding};
use muniment_evidence::record::Record;
use muniment_evidence::statement::Statement;

pub fn statement(data: &[u8]) {
    if let Ok(statement) = Statement::decode(data) {
        assert_eq!(statement.encode(), data);
        assert!(statement.signed_bytes().ends_with(data));
    }
}

pub fn record(data: &[u8]) {
    if let Ok(record) = Record::decode(data) {
        assert_eq!(record.encode(), data);
        let statement = record.statement.encode();
        assert_eq!(Statement::decode(&statement), Ok(record.statement));
    }
}

pub fn document(data: &[u8]) {
    if let Ok(document) = Document::decode(data) {
        assert_eq!(document.encode(), data);
    }
}

/// And a holding, which is as short.
pub fn actor(data: &[u8]) {
    if let Ok(actor) = Actor::decode(data) {
        assert_eq!(actor.encode(), data);
    }
    if let Ok(holding) = Holding::decode(data) {
        assert_eq!(holding.encode(), data);
    }
}
