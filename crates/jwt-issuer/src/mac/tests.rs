use proptest::prelude::*;

use super::*;
use crate::{MasterKey, hex::unhex};

const ISSUER: &str = "https://mcp.example.com";

fn ring() -> KeyRing {
    KeyRing::new(MasterKey::new(&(0..32).collect::<Vec<u8>>()).unwrap())
}

fn mac() -> Mac {
    Mac::new(&ring(), "refresh-token", ISSUER)
}

#[test]
fn the_tag_is_pinned() {
    // Computed by an independent program, as were the other pinned values.
    assert_eq!(
        mac().tag(&[b"ab", b"c"]).as_slice(),
        unhex("076890f5236986e683507a4cddb4b99cb7514f526f0686e2b60c5973364c8847")
    );
}

#[test]
fn parts_cannot_be_moved() {
    let tag = mac().tag(&[b"ab", b"c"]);
    let kid = mac().current().to_string();
    assert!(mac().verify(&kid, &[b"ab", b"c"], &tag));
    for parts in [&[b"a".as_slice(), b"bc"] as &[&[u8]], &[b"abc"], &[b"ab", b"c", b""], &[]] {
        assert!(!mac().verify(&kid, parts, &tag), "{parts:?}");
    }
}

#[test]
fn other_purposes_issuers_and_key_ids_do_not_verify() {
    let tag = mac().tag(&[b"x"]);
    let kid = mac().current().to_string();
    assert!(!Mac::new(&ring(), "other", ISSUER).verify(&kid, &[b"x"], &tag));
    assert!(!Mac::new(&ring(), "refresh-token", "https://b").verify(&kid, &[b"x"], &tag));
    assert!(!mac().verify("unknown", &[b"x"], &tag));
    assert!(!mac().verify("", &[b"x"], &tag));
}

#[test]
fn tags_of_other_lengths_do_not_verify() {
    let tag = mac().tag(&[b"x"]);
    let kid = mac().current().to_string();
    assert!(!mac().verify(&kid, &[b"x"], &tag[..31]));
    assert!(!mac().verify(&kid, &[b"x"], &[]));
    assert!(!mac().verify(&kid, &[b"x"], &[tag.as_slice(), &[0]].concat()));
}

#[test]
fn older_keys_verify_and_the_current_one_tags() {
    let old = MasterKey::generate();
    let before = Mac::new(&KeyRing::new(old.clone()), "p", ISSUER);
    let tag = before.tag(&[b"x"]);
    let new = MasterKey::generate();
    let after = Mac::new(&KeyRing::new(new.clone()).with_older(old.clone()), "p", ISSUER);
    assert!(after.verify(old.id().as_str(), &[b"x"], &tag));
    assert!(!after.verify(new.id().as_str(), &[b"x"], &tag));
    assert_eq!(after.current(), new.id());
    let all: Vec<_> = after.tags_all(&[b"x"]).collect();
    assert_eq!(all, [(new.id().clone(), after.tag(&[b"x"])), (old.id().clone(), tag)]);
}

#[test]
fn debug_shows_ids_only() {
    assert_eq!(format!("{:?}", mac()), r#"Mac { keys: [KeyId("wbzjYAbTlTqj")] }"#);
}

proptest! {
    #[test]
    fn every_flipped_byte_fails(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..4),
        at in 0..32_usize,
        flip in 1..=255_u8,
    ) {
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let mac = mac();
        let mut tag = mac.tag(&parts);
        let kid = mac.current().to_string();
        prop_assert!(mac.verify(&kid, &parts, &tag));
        tag[at] ^= flip;
        prop_assert!(!mac.verify(&kid, &parts, &tag));
    }
}
