//! Names that look alike must not be two invoices.

use muniment_evidence::digest::Digest;
use muniment_evidence::name::{NameFaultKind, check, look};

fn refused(text: &str) -> Option<NameFaultKind> {
    check(text).err().map(|fault| fault.what)
}

#[test]
fn a_name_is_taken_as_it_is() {
    for name in [
        "",
        "INV-1",
        "Rechnung 7/2026 (a)",
        "Nr. 7\u{a0}b",
        "发票 0001",
        "فاتورة-١",
        "größe",
        "ＩＮＶ",
        "é",
    ] {
        assert_eq!(check(name), Ok(()), "{name:?}");
    }
}

/// Each of these was a second invoice with a number that looks like the first's.
#[test]
fn what_looks_like_another_name_is_none() {
    use NameFaultKind::{BlankAtEnd, BlankBesideBlank, NotComposed, Unassigned, Unseen};
    for (text, what) in [
        ("INV-1 ", BlankAtEnd),
        (" INV-1", BlankAtEnd),
        ("INV-1\u{a0}", BlankAtEnd),
        ("\u{3000}INV-1", BlankAtEnd),
        ("INV  1", BlankBesideBlank),
        ("INV \u{a0}1", BlankBesideBlank),
        ("INV-\u{200b}1", Unseen),
        ("INV\u{ad}-1", Unseen),
        ("\u{feff}INV-1", Unseen),
        ("\u{202e}INV-1", Unseen),
        ("INV-1\u{2066}", Unseen),
        ("INV\n1", Unseen),
        ("INV\t1", Unseen),
        ("INV\u{85}1", Unseen),
        ("INV\u{2028}1", Unseen),
        ("INV\u{fe0f}1", Unseen),
        ("INV\u{2800}1", Unseen),
        ("INV\u{3164}1", Unseen),
        ("INV\u{e0041}", Unseen),
        ("INV\u{378}", Unassigned),
        ("INV\u{ffff}", Unassigned),
        ("e\u{301}", NotComposed),
        ("\u{212b}", NotComposed),
        ("가\u{11a8}", NotComposed),
    ] {
        assert_eq!(refused(text), Some(what), "{text:?}");
    }
}

#[test]
fn a_refusal_names_the_character_and_its_place() {
    let told = check("INV-\u{200b}1").unwrap_err().to_string();
    assert_eq!(
        told,
        "has a character that is not seen, U+200B at character 5"
    );
    let told = check("Nr e\u{301}").unwrap_err().to_string();
    assert!(told.contains("U+0065 at character 4"), "{told}");
}

#[test]
fn case_and_width_are_told_and_nothing_else() {
    for other in ["inv-1", "ＩＮＶ-１", "Inv-１"] {
        assert_eq!(look(other), look("INV-1"), "{other}");
        assert_eq!(check(other), Ok(()));
    }
    for other in ["INV-2", "INV 1", "1NV-1", "INV1"] {
        assert_ne!(look(other), look("INV-1"), "{other}");
    }
    assert_eq!(look("ÉTÉ Σ Ж Ё ŁØ Ա"), look("été σ ж ё łø ա"));
    assert_eq!(look("ς"), look("Σ"));
}

/// Looks are rows of the replicated state: with a compiler that knew other letters, replicas
/// would write other rows. This fails before such a compiler is used.
#[test]
fn what_looks_alike_is_the_same_for_every_compiler() {
    let looks = ('\0'..'\u{3000}').map(|letter| look(&letter.to_string()));
    let looks: Vec<String> = looks.collect();
    let looks: Vec<&[u8]> = looks.iter().map(String::as_bytes).collect();
    assert_eq!(
        Digest::of(&looks).to_string(),
        "92ecd5f9e5e42ee005231dc81288c0ebe363c1625b2d4d940a5b8ba940852f1e"
    );
}
