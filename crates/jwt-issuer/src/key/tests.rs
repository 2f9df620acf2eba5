use super::*;
use crate::hex::unhex;

/// 0, 1, 2 … 31: the key of all pinned values, which were computed by an independent program.
fn master() -> MasterKey {
    MasterKey::new(&(0..32).collect::<Vec<u8>>()).unwrap()
}

#[test]
fn hkdf_is_rfc_5869() {
    // Appendix A.3: SHA-256 with neither salt nor info.
    let mut output = [0; 42];
    hkdf_sha256(&[0x0b; 22], b"", &mut output);
    assert_eq!(
        output.as_slice(),
        unhex(
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
        )
    );
}

#[test]
fn derivation_is_pinned() {
    assert_eq!(master().id().as_str(), "wbzjYAbTlTqj");
    let key = master().derive(Usage::Seal, "session-id", "https://mcp.example.com");
    assert_eq!(
        key.as_slice(),
        unhex("b16ceca41e39df2599d0abc9bb836324b4faca1e870a384380e0d8c52101d522")
    );
}

#[test]
fn every_usage_purpose_issuer_and_master_has_its_own_key() {
    let derive = |key: &MasterKey, usage, purpose, issuer| *key.derive(usage, purpose, issuer);
    let other = MasterKey::generate();
    let keys = [
        derive(&master(), Usage::AccessToken, "a", "b"),
        derive(&master(), Usage::Seal, "a", "b"),
        derive(&master(), Usage::Mac, "a", "b"),
        derive(&master(), Usage::Mac, "ab", ""),
        derive(&master(), Usage::Mac, "", "ab"),
        derive(&master(), Usage::Mac, "b", "a"),
        derive(&other, Usage::Mac, "a", "b"),
    ];
    for (at, key) in keys.iter().enumerate() {
        assert!(!keys[..at].contains(key), "key {at} came up before");
    }
}

#[test]
fn short_secrets_are_refused() {
    assert!(matches!(MasterKey::new(&[7; 31]), Err(Error::KeyTooShort { bytes: 31 })));
    assert!(MasterKey::new(&[7; 32]).is_ok());
    assert!(MasterKey::new(&[7; 100]).is_ok());
}

#[test]
fn base64url_round_trip() {
    let key = MasterKey::generate();
    let text = key.to_base64url();
    assert_eq!(text.expose_secret().len(), 43);
    assert_eq!(MasterKey::from_base64url(&text).unwrap().id(), key.id());

    let padded = format!(" {}=\n", text.expose_secret());
    assert_eq!(MasterKey::from_base64url(&padded.into()).unwrap().id(), key.id());
}

#[test]
fn bad_base64url_is_refused_without_repeating_it() {
    let error = MasterKey::from_base64url(&"not+base64url/not+base64url".into()).unwrap_err();
    assert!(matches!(error, Error::KeyEncoding));
    assert!(!format!("{error} {error:?}").contains("not+"));
    assert!(matches!(
        MasterKey::from_base64url(&"c2hvcnQ".into()),
        Err(Error::KeyTooShort { bytes: 5 })
    ));
}

#[test]
fn generated_keys_differ() {
    assert_ne!(MasterKey::generate().id(), MasterKey::generate().id());
}

#[test]
fn debug_shows_the_id_and_no_secret() {
    let shown = format!("{:?}", KeyRing::new(master()));
    assert!(shown.contains("wbzjYAbTlTqj"), "{shown}");
    assert!(!shown.contains("AAECAw") && !shown.contains("0, 1, 2, 3"), "{shown}");
}

#[test]
fn a_ring_keeps_its_order_and_has_no_key_twice() {
    let (first, second) = (MasterKey::generate(), MasterKey::generate());
    let ring = KeyRing::new(first.clone()).with_older(second.clone()).with_older(first.clone());
    assert_eq!(ring.ids().collect::<Vec<_>>(), [first.id(), second.id()]);
    assert_eq!(ring.current().id(), first.id());
}
