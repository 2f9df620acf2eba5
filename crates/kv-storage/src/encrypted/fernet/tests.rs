use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::Fernet;
use crate::{Cipher, ErrorKind};

// https://github.com/fernet/spec, as of 2013.
const GENERATE: &str = include_str!("../../../tests/vectors/fernet/generate.json");
const VERIFY: &str = include_str!("../../../tests/vectors/fernet/verify.json");
const INVALID: &str = include_str!("../../../tests/vectors/fernet/invalid.json");

fn vectors(json: &str) -> Vec<Value> {
    serde_json::from_str(json).unwrap()
}

fn open(vector: &Value) -> Option<Vec<u8>> {
    let secret = SecretString::from(vector["secret"].as_str().unwrap());
    let cipher = Fernet::new(&[secret]).unwrap();
    let token = vector["token"].as_str().unwrap();
    cipher.open(b"", token.as_bytes()).map(|payload| payload.to_vec())
}

#[test]
fn the_spec_s_tokens_open() {
    for vector in vectors(GENERATE).iter().chain(&vectors(VERIFY)) {
        let expected = vector["src"].as_str().unwrap().as_bytes().to_vec();
        assert_eq!(open(vector), Some(expected), "{vector}");
    }
}

#[test]
fn the_spec_s_invalid_tokens_do_not_open() {
    // A token's age is the envelope's business, so these two are as good as any.
    let judged_by_age = ["far-future TS (unacceptable clock skew)", "expired TTL"];
    let mut refused = 0;
    for vector in &vectors(INVALID) {
        let description = vector["desc"].as_str().unwrap();
        assert_eq!(open(vector).is_some(), judged_by_age.contains(&description), "{description}");
        refused += usize::from(open(vector).is_none());
    }
    assert_eq!(refused, 6);
}

#[test]
fn a_token_is_one_of_the_spec() {
    let key = Fernet::generate_key();
    let cipher = Fernet::new(std::slice::from_ref(&key)).unwrap();
    let token = String::from_utf8(cipher.seal(b"binding ", b"payload").unwrap()).unwrap();
    let other = fernet::Fernet::new(key.expose_secret()).unwrap();
    assert_eq!(other.decrypt(&token).unwrap(), b"binding payload");
}

#[test]
fn hostile_bytes_do_not_open_and_do_not_panic() {
    let cipher = Fernet::new(&[Fernet::generate_key()]).unwrap();
    let good = cipher.seal(b"b", b"p").unwrap();
    assert!(cipher.open(b"b", &good).is_some());
    for length in 0..good.len() - 1 {
        // The last character but the padding carries bits that no byte needs.
        let without_padding = good.iter().filter(|&&byte| byte != b'=').count();
        let whole = length >= without_padding;
        assert_eq!(cipher.open(b"b", &good[..length]).is_some(), whole, "cut to {length}");
    }
    for index in 0..good.len() {
        let mut changed = good.clone();
        changed[index] ^= 0x01;
        if changed[index] != b'=' && good[index] != b'=' {
            assert!(cipher.open(b"b", &changed).is_none(), "changed at {index}");
        }
    }
    // The timestamp that makes the library's `decrypt_with_ttl` overflow.
    let overflow = "gP__________".to_owned() + &"A".repeat(100);
    for hostile in [overflow.as_bytes(), b"\xff\xfe", b"", b"====", b"gA=="] {
        assert!(cipher.open(b"b", hostile).is_none());
    }
}

#[test]
fn a_clock_that_runs_ahead_hides_nothing() {
    let key = Fernet::generate_key();
    let next_century = || std::time::UNIX_EPOCH + std::time::Duration::from_secs(5_000_000_000);
    let ahead = Fernet::new(std::slice::from_ref(&key)).unwrap();
    let ahead = ahead.with_clock(std::sync::Arc::new(next_century));
    let sealed = ahead.seal(b"b", b"payload").unwrap();
    let payload = Fernet::new(&[key]).unwrap().open(b"b", &sealed).unwrap();
    assert_eq!(*payload, *b"payload");
}

#[test]
fn the_first_key_seals_and_all_open() {
    let (new, old) = (Fernet::generate_key(), Fernet::generate_key());
    let only_new = Fernet::new(std::slice::from_ref(&new)).unwrap();
    let only_old = Fernet::new(std::slice::from_ref(&old)).unwrap();
    let ring = Fernet::new(&[new, old]).unwrap();
    assert!(ring.open(b"b", &only_old.seal(b"b", b"p").unwrap()).is_some());
    let sealed = ring.seal(b"b", b"p").unwrap();
    assert!(only_new.open(b"b", &sealed).is_some());
    assert!(only_old.open(b"b", &sealed).is_none());
}

#[test]
fn bad_keys_are_refused_without_being_shown() {
    let good = Fernet::generate_key();
    for bad in ["", "short", "c2hvcnQ=", &"A".repeat(42), "not base64 but long enough, I'd say 43"]
    {
        let error = Fernet::new(&[good.clone(), bad.into()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert_eq!(error.to_string(), "storage key 2 is not 32 bytes in url-safe base64");
    }
    assert_eq!(Fernet::new(&[]).unwrap_err().kind(), ErrorKind::Misconfigured);
    let shown = format!("{:?}", Fernet::new(std::slice::from_ref(&good)).unwrap());
    assert!(!shown.contains(good.expose_secret()), "{shown}");
}
