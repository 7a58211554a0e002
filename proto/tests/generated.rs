//! The generated code is what the .proto files give.
//!
//! Promises that a .proto file cannot change without the code beside it. Generates with
//! protox, so that no system `protoc` is needed. With `MUNIMENT_PROTO=write` (`make proto`)
//! it writes the code instead of comparing it.

use std::path::Path;

const FILES: [&str; 5] = ["types", "invoice", "evidence", "cluster", "peer"];
const CODE: &str = "muniment.v1.rs";
const DESCRIPTORS: &str = "muniment.v1.bin";

/// Code and descriptors, by the names of their files.
fn generate() -> [(&'static str, Vec<u8>); 2] {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = FILES.map(|name| crate_dir.join(format!("muniment/v1/{name}.proto")));
    let set = protox::compile(files, [crate_dir]).expect("the .proto files compile");
    let descriptors = prost::Message::encode_to_vec(&set);
    let out = tempfile::tempdir().expect("a temporary directory");
    tonic_prost_build::configure()
        .bytes(".")
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .out_dir(out.path())
        .compile_fds(set)
        .expect("code can be generated");
    let code = std::fs::read(out.path().join(CODE)).expect("the package's code");
    [(CODE, code), (DESCRIPTORS, descriptors)]
}

#[test]
fn what_is_checked_in_is_what_the_proto_files_give() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated");
    let write = std::env::var_os("MUNIMENT_PROTO").is_some_and(|wish| wish == "write");
    for (name, given) in generate() {
        let path = dir.join(name);
        if write {
            std::fs::write(&path, given).expect("the checkout can be written");
        } else {
            let there = std::fs::read(&path).unwrap_or_default();
            assert!(
                there == given,
                "{} is not what the .proto files give: run `make proto` and commit it",
                path.display()
            );
        }
    }
}
