//! The stream of a bundle: pieces of any size, truncation, additions, frames out of order.

use muniment_evidence::bundle::{
    BundleError, BundleParser, BundleWriter, CheckpointFrame, Fault, Frame, Manifest, RecordFrame,
};
use muniment_evidence::digest::Digest;
use muniment_evidence::genesis::Genesis;
use muniment_evidence::ids::{RecordIndex, TreeSize};
use muniment_evidence::opening::Opening;
use muniment_evidence::receipt::{KEYS_MAX, KeyRecord};
use muniment_evidence::record::Record;

fn frames() -> Vec<Frame> {
    let genesis = Genesis {
        record: vec![1; Record::LENGTH],
        opening: vec![2; 3],
    };
    vec![
        Frame::Manifest(Manifest {
            origin: "o/0".into(),
            ledger: Digest([3; 32]),
            first: RecordIndex::new(5),
            end: TreeSize::new(6),
            head: TreeSize::new(7),
            selection: String::new(),
            peaks: vec![Digest([4; 32]), Digest([5; 32])],
            genesis,
        }),
        Frame::Record(RecordFrame {
            record: vec![6; Record::LENGTH],
            document: None,
            actor: Some(Opening::public(vec![7])),
        }),
        Frame::Checkpoint(CheckpointFrame {
            note: "note\n".into(),
            consistency: vec![Digest([8; 32])],
        }),
    ]
}

fn bytes(frames: &[Frame]) -> Vec<u8> {
    let mut writer = BundleWriter::new();
    let mut bytes: Vec<u8> = frames.iter().flat_map(|f| writer.frame(f)).collect();
    bytes.extend(writer.finish());
    bytes
}

fn parse(bytes: &[u8], piece: usize) -> Result<Vec<Frame>, BundleError> {
    let mut parser = BundleParser::new();
    let mut frames = Vec::new();
    for piece in bytes.chunks(piece) {
        parser.push(piece);
        while let Some(frame) = parser.next()? {
            frames.push(frame);
        }
    }
    parser.finish()?;
    Ok(frames)
}

#[test]
fn frames_are_read_from_pieces_of_any_size() {
    let bytes = bytes(&frames());
    for piece in [1, 2, 7, 100, bytes.len()] {
        assert_eq!(parse(&bytes, piece), Ok(frames()));
    }
}

#[test]
fn truncation_additions_and_any_flipped_byte_are_noticed() {
    let bytes = bytes(&frames());
    for length in 0..bytes.len() {
        let fault = parse(&bytes[..length], 64).unwrap_err().fault;
        assert_eq!(fault, Fault::Truncated);
    }
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        assert!(parse(&flipped, 64).is_err(), "byte {at}");
    }
    let longer = [&bytes[..], b"x"].concat();
    for piece in [1, 64, longer.len()] {
        let fault = parse(&longer, piece).unwrap_err().fault;
        assert_eq!(fault, Fault::Trailing);
    }
}

#[test]
fn frames_out_of_order_are_refused() {
    let [manifest, record, checkpoint] = <[Frame; 3]>::try_from(frames()).unwrap();
    for order in [
        vec![],
        vec![record.clone()],
        vec![manifest.clone(), manifest.clone()],
        vec![manifest.clone(), checkpoint, record],
    ] {
        let fault = parse(&bytes(&order), 64).unwrap_err().fault;
        assert_eq!(fault, Fault::OutOfOrder);
    }
    assert!(parse(&bytes(&[manifest]), 64).is_ok());
}

/// Each is learned and kept, so their number is what bounds the verifier.
#[test]
fn no_more_key_records_are_taken_than_a_receipt_may_have() {
    let key = Frame::Key(KeyRecord {
        record: vec![1; Record::LENGTH],
        opening: vec![2],
        path: Vec::new(),
    });
    let mut frames = frames();
    frames.splice(1..1, std::iter::repeat_n(key.clone(), KEYS_MAX));
    assert!(parse(&bytes(&frames), 4096).is_ok());
    frames.insert(1, key);
    let fault = parse(&bytes(&frames), 4096).unwrap_err().fault;
    assert_eq!(fault, Fault::KeysTooMany);
}
