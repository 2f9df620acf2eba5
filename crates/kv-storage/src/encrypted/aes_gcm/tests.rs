use std::collections::HashSet;

use proptest::prelude::*;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::{Aes256Gcm, CIPHERTEXT_OFFSET, KEY_ID_BYTES, TAG_BYTES, xaes::NONCE_BYTES};
use crate::{Cipher, ErrorKind};

const FORMAT_1: &str = include_str!("../../../tests/vectors/aes-gcm/format-1.json");
const FORMAT_2: &str = include_str!("../../../tests/vectors/aes-gcm/format-2.json");

const NONCE: std::ops::Range<usize> = 1 + KEY_ID_BYTES..CIPHERTEXT_OFFSET;

fn one_key() -> Aes256Gcm {
    Aes256Gcm::new(&[Aes256Gcm::generate_key()]).unwrap()
}

fn unhex(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    let byte = |index| u8::from_str_radix(&hex[index..index + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn cipher_of(vector: &Value) -> Aes256Gcm {
    let key = SecretString::from(vector["key"].as_str().unwrap());
    let deployment = vector["deployment"].as_str().unwrap();
    Aes256Gcm::new(&[key]).unwrap().for_deployment(deployment)
}

fn vectors(file: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(file).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    assert!(!vectors.is_empty());
    vectors.clone()
}

#[test]
fn another_implementation_seals_the_same_bytes() {
    for vector in vectors(FORMAT_2) {
        let cipher = cipher_of(&vector);
        let [binding, payload, nonce, sealed] =
            ["binding", "payload", "nonce", "sealed"].map(|part| unhex(&vector[part]));
        let nonce = nonce.try_into().unwrap();
        let made = cipher.seal_with_nonce(&nonce, &binding, &payload).unwrap();
        assert_eq!(made, sealed, "{}", vector["desc"]);
        assert_eq!(*cipher.open(&binding, &sealed).unwrap(), payload, "{}", vector["desc"]);
    }
}

/// What is no longer written opens all the same, for its binding and unchanged only.
#[test]
fn what_format_1_sealed_opens() {
    for vector in vectors(FORMAT_1) {
        let cipher = cipher_of(&vector);
        let [binding, payload, sealed] =
            ["binding", "payload", "sealed"].map(|part| unhex(&vector[part]));
        assert_eq!(*cipher.open(&binding, &sealed).unwrap(), payload, "{}", vector["desc"]);
        assert!(cipher.open(b"another", &sealed).is_none());
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(cipher.open(&binding, &changed).is_none(), "byte {index}");
            assert!(cipher.open(&binding, &sealed[..index]).is_none(), "cut to {index}");
        }
    }
}

#[test]
fn every_value_has_a_nonce_and_so_a_key_of_its_own() {
    let cipher = one_key();
    let sealed: Vec<_> = (0..1000).map(|_| cipher.seal(b"b", b"payload").unwrap()).collect();
    let nonces: HashSet<_> = sealed.iter().map(|sealed| &sealed[NONCE]).collect();
    let rests: HashSet<_> = sealed.iter().map(|sealed| &sealed[CIPHERTEXT_OFFSET..]).collect();
    assert_eq!((nonces.len(), rests.len()), (1000, 1000));
    // And every byte of it counts: the same value under two of them has nothing in common.
    let blocks = |nonce: &[u8; NONCE_BYTES]| -> HashSet<Vec<u8>> {
        let sealed = cipher.seal_with_nonce(nonce, b"b", &[0; 64]).unwrap();
        sealed[CIPHERTEXT_OFFSET..].chunks(16).map(<[u8]>::to_vec).collect()
    };
    let first = blocks(&[1; NONCE_BYTES]);
    for index in 0..NONCE_BYTES {
        let mut nonce = [1; NONCE_BYTES];
        nonce[index] = 2;
        assert!(blocks(&nonce).is_disjoint(&first), "byte {index}");
    }
}

#[test]
fn any_changed_bit_and_any_cut_is_refused() {
    let cipher = one_key();
    let good = cipher.seal(b"b", b"payload").unwrap();
    assert!(cipher.open(b"b", &good).is_some());
    for index in 0..good.len() {
        for bit in 0..8 {
            let mut changed = good.clone();
            changed[index] ^= 1 << bit;
            assert!(cipher.open(b"b", &changed).is_none(), "bit {bit} of byte {index}");
        }
        assert!(cipher.open(b"b", &good[..index]).is_none(), "cut to {index}");
        assert!(cipher.open(b"b", &good[index + 1..]).is_none(), "cut from {index}");
    }
    assert!(cipher.open(b"b", &[&good[..], b"\0"].concat()).is_none());
    assert!(cipher.open(b"", &good).is_none() && cipher.open(b"bb", &good).is_none());
}

#[test]
fn parts_of_two_values_do_not_mix() {
    let cipher = one_key();
    let [first, second] =
        [b"payload 1", b"payload 2"].map(|payload| cipher.seal(b"b", payload).unwrap());
    let tag = first.len() - TAG_BYTES;
    for border in [NONCE.start, NONCE.end, tag] {
        let mixed = [&first[..border], &second[border..]].concat();
        // With the same key id, everything behind it is just the second value.
        assert_eq!(cipher.open(b"b", &mixed).is_some(), border == NONCE.start, "{border}");
    }
}

#[test]
fn keys_are_the_deployment_s() {
    let key = Aes256Gcm::generate_key();
    let cipher = |deployment: &str| {
        Aes256Gcm::new(std::slice::from_ref(&key)).unwrap().for_deployment(deployment)
    };
    let sealed = cipher("https://a").seal(b"b", b"payload").unwrap();
    assert!(cipher("https://a").open(b"b", &sealed).is_some());
    for other in ["https://b", "https://", "https://aa", ""] {
        assert!(cipher(other).open(b"b", &sealed).is_none(), "{other}");
    }
    let twice = cipher("https://b").for_deployment("https://a");
    assert!(twice.open(b"b", &sealed).is_some(), "the last deployment counts, alone");
}

#[test]
fn the_key_id_finds_the_key_in_the_ring() {
    let keys: Vec<_> = (0..8).map(|_| Aes256Gcm::generate_key()).collect();
    let ring = Aes256Gcm::new(&keys).unwrap();
    let ids: HashSet<_> = ring.keys.iter().map(|key| key.id).collect();
    assert_eq!(ids.len(), keys.len());
    for key in &keys {
        let alone = Aes256Gcm::new(std::slice::from_ref(key)).unwrap();
        assert!(ring.open(b"b", &alone.seal(b"b", b"p").unwrap()).is_some());
    }
    let sealed = ring.seal(b"b", b"p").unwrap();
    assert_eq!(sealed[1..NONCE.start], ring.keys[0].id);
    assert!(Aes256Gcm::new(&keys[..1]).unwrap().open(b"b", &sealed).is_some());
    assert!(Aes256Gcm::new(&keys[1..]).unwrap().open(b"b", &sealed).is_none());
    // An id says which key to try, not that it is the right one.
    let mut claimed = sealed;
    claimed[1..NONCE.start].copy_from_slice(&ring.keys[1].id);
    assert!(ring.open(b"b", &claimed).is_none());
}

#[test]
fn bad_keys_are_refused_without_being_shown() {
    let good = Aes256Gcm::generate_key();
    let long = "A".repeat(46);
    for bad in
        ["", "short", "c2hvcnQ=", &"A".repeat(42), &long, "+/+/", "no base64, but 43 letters"]
    {
        let error = Aes256Gcm::new(&[good.clone(), bad.into()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert_eq!(error.to_string(), "storage key 2 is not 32 bytes in url-safe base64");
    }
    assert_eq!(Aes256Gcm::new(&[]).unwrap_err().kind(), ErrorKind::Misconfigured);
    let shown = format!("{:?}", Aes256Gcm::new(std::slice::from_ref(&good)).unwrap());
    assert!(!shown.contains(good.expose_secret()), "{shown}");
}

/// One string serves both ciphers: neither takes what the other refuses.
#[cfg(feature = "fernet")]
#[test]
fn key_strings_are_those_of_fernet() {
    use crate::Fernet;

    let good = Fernet::generate_key();
    let good = good.expose_secret();
    let without_padding = good.trim_end_matches('=');
    let variants = [
        good.to_owned(),
        without_padding.to_owned(),
        format!("{good}="),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{without_padding}A"),
        without_padding[1..].to_owned(),
        format!("{}_=", &without_padding[..42]),
        format!("{}/=", "A".repeat(42)),
        format!("{}B=", "A".repeat(42)),
        "A".repeat(43),
        "A".repeat(44),
        String::new(),
    ];
    let mut accepted = 0;
    for variant in variants.map(SecretString::from) {
        let fernet = Fernet::new(std::slice::from_ref(&variant)).is_ok();
        let aes_gcm = Aes256Gcm::new(std::slice::from_ref(&variant)).is_ok();
        assert_eq!(fernet, aes_gcm, "{:?}", variant.expose_secret());
        accepted += usize::from(aes_gcm);
    }
    assert_eq!(accepted, 4);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_sealed_opens_for_its_binding_only(
        payload: Vec<u8>,
        binding: Vec<u8>,
        other: Vec<u8>,
        deployment: String,
    ) {
        let cipher = one_key().for_deployment(&deployment);
        let sealed = cipher.seal(&binding, &payload).unwrap();
        let opened = cipher.open(&binding, &sealed);
        prop_assert_eq!(opened.as_deref(), Some(&payload[..]));
        prop_assert_eq!(cipher.open(&other, &sealed).is_some(), other == binding);
    }

    #[test]
    fn hostile_bytes_do_not_open_and_do_not_panic(
        sealed: Vec<u8>,
        format in 0..4_u8,
        claim_the_key: bool,
    ) {
        let cipher = one_key();
        let mut sealed = sealed;
        if claim_the_key {
            sealed.splice(..0, [&[format][..], &cipher.keys[0].id].concat());
        }
        prop_assert!(cipher.open(b"b", &sealed).is_none());
    }
}
