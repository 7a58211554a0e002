//! Who links the client must not link a server with it.

/// The lines of `[dependencies]` in this crate's manifest, as name and the rest.
fn dependencies() -> Vec<(&'static str, &'static str)> {
    let manifest = include_str!("../Cargo.toml");
    let (_, rest) = manifest
        .split_once("\n[dependencies]\n")
        .expect("it has dependencies");
    let section = rest.split("\n[").next().unwrap_or_default();
    let lines = section.lines().filter_map(|line| line.split_once('='));
    lines
        .map(|(name, rest)| (name.trim(), rest.trim()))
        .collect()
}

#[test]
fn of_our_crates_the_client_has_the_protocol_and_the_evidence_alone() {
    let ours: Vec<&str> = dependencies()
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("muniment"))
        .collect();
    assert_eq!(ours, ["muniment-evidence", "muniment-proto"]);
}

#[test]
fn neither_a_server_nor_an_engine_is_linked() {
    for (name, rest) in dependencies() {
        let refused = ["axum", "hyper", "openraft", "rocksdb", "tonic-reflection"];
        assert!(!refused.contains(&name), "{name}");
        assert!(!rest.contains("\"server\""), "{name} with its server");
        assert!(!rest.contains("\"transport\""), "{name} with its server");
    }
    let tonic = dependencies()
        .into_iter()
        .find(|(name, _)| *name == "tonic");
    let (_, features) = tonic.expect("it speaks gRPC");
    assert!(features.contains("default-features = false"), "{features}");
}
