//! The program that auditors run rests on the kernel that they read, and on nothing else.

#[test]
fn questions_and_reports_depend_on_the_kernel_alone() {
    let manifest = include_str!("../Cargo.toml");
    let (_, rest) = manifest.split_once("\n[dependencies]\n").unwrap();
    let (dependencies, _) = rest.split_once("\n[").unwrap();
    let names = dependencies.lines().filter_map(|line| line.split_once('='));
    let names: Vec<&str> = names.map(|(name, _)| name.trim()).collect();
    assert_eq!(names, ["muniment-evidence"]);
}
