use proptest::prelude::*;

use super::*;
use crate::{MasterKey, hex::unhex};

const ISSUER: &str = "https://mcp.example.com";

/// Under the key and zero nonce of the other pinned values, by an independent program.
const PINNED: &str = "1.wbzjYAbTlTqj.AAAAAAAAAAAAAAAAJurR3DbfUITJZchBEB4lC_FRYNY";

fn ring() -> KeyRing {
    KeyRing::new(MasterKey::new(&(0..32).collect::<Vec<u8>>()).unwrap())
}

fn sealer() -> Sealer {
    Sealer::new(&ring(), "session-id", ISSUER)
}

#[test]
fn aes_gcm_is_the_published_one() {
    // McGrew and Viega, "The Galois/Counter Mode of Operation", test case 16.
    let key = unhex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
    let key: &[u8; 32] = key.as_slice().try_into().unwrap();
    let nonce = unhex("cafebabefacedbaddecaf888").try_into().unwrap();
    let plaintext = unhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
         1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
    );
    let aad = unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let sealed = encrypt(key, &nonce, &plaintext, &aad);
    assert_eq!(
        sealed,
        unhex(
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662\
             76fc6ece0f4e1768cddf8853bb2d551b"
        )
    );
    assert_eq!(decrypt(key, &nonce, &sealed, &aad).unwrap().as_slice(), plaintext);
}

#[test]
fn the_format_is_pinned() {
    assert_eq!(sealer().open(PINNED, b"user").unwrap().as_slice(), b"text");
}

#[test]
fn sealed_texts_are_safe_everywhere_and_never_the_same() {
    let sealed = sealer().seal(b"text", b"user");
    assert!(sealed.starts_with("1.wbzjYAbTlTqj."));
    assert!(sealed.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)));
    assert_ne!(sealed, sealer().seal(b"text", b"user"));
}

#[test]
fn other_contexts_purposes_and_issuers_do_not_open() {
    let sealed = sealer().seal(b"text", b"user");
    assert!(sealer().open(&sealed, b"other").is_err());
    assert!(sealer().open(&sealed, b"").is_err());
    assert!(Sealer::new(&ring(), "other", ISSUER).open(&sealed, b"user").is_err());
    assert!(Sealer::new(&ring(), "session-id", "https://b").open(&sealed, b"user").is_err());
}

#[test]
fn older_keys_open_removed_ones_do_not() {
    let (old, new) = (MasterKey::generate(), MasterKey::generate());
    let sealed = Sealer::new(&KeyRing::new(old.clone()), "p", ISSUER).seal(b"text", b"");
    let rotated = KeyRing::new(new.clone()).with_older(old.clone());
    let rotated = Sealer::new(&rotated, "p", ISSUER);
    assert_eq!(rotated.open(&sealed, b"").unwrap().as_slice(), b"text");
    assert!(rotated.seal(b"text", b"").contains(new.id().as_str()));
    assert!(Sealer::new(&KeyRing::new(new.clone()), "p", ISSUER).open(&sealed, b"").is_err());

    // The key id is authenticated: naming another key of the ring does not open either.
    let renamed = sealed.replace(old.id().as_str(), new.id().as_str());
    assert!(rotated.open(&renamed, b"").is_err());
}

#[test]
fn the_key_id_and_format_are_authenticated() {
    // A text under the right key and nonce whose AAD leaves the key id or the format out.
    let sealer = sealer();
    let key = &sealer.keys[0];
    for aad in [
        length_prefixed(&[b"1", b"", b"user"]),
        length_prefixed(&[b"2", key.id.as_str().as_bytes(), b"user"]),
        b"user".to_vec(),
    ] {
        let body = [[0; NONCE_BYTES].to_vec(), encrypt(&key.key, &[0; 12], b"text", &aad)].concat();
        let sealed = format!("1.{}.{}", key.id, URL_SAFE_NO_PAD.encode(body));
        assert!(sealer.open(&sealed, b"user").is_err());
    }
}

#[test]
fn other_formats_do_not_open() {
    let sealed = sealer().seal(b"text", b"user");
    for altered in [
        sealed.replacen("1.", "2.", 1),
        sealed.replacen("1.", "", 1),
        format!("{sealed}."),
        format!("{sealed}="),
        format!(" {sealed}"),
        sealed[..sealed.len() - 1].into(),
        String::new(),
        "1.wbzjYAbTlTqj.".into(),
        "1.wbzjYAbTlTqj".into(),
        "..".into(),
    ] {
        assert!(sealer().open(&altered, b"user").is_err(), "{altered}");
    }
}

#[test]
fn every_altered_byte_fails() {
    let sealer = sealer();
    for at in 0..PINNED.len() {
        for byte in 0x20..0x7f {
            let mut altered = PINNED.as_bytes().to_vec();
            if altered[at] == byte {
                continue;
            }
            altered[at] = byte;
            let altered = String::from_utf8(altered).unwrap();
            assert!(sealer.open(&altered, b"user").is_err(), "{altered}");
        }
    }
}

#[test]
fn errors_and_debug_show_nothing() {
    let error = sealer().open("1.wbzjYAbTlTqj.AAAA", b"user").unwrap_err();
    assert_eq!(error.to_string(), "the sealed text does not open");
    assert_eq!(format!("{:?}", sealer()), r#"Sealer { keys: [KeyId("wbzjYAbTlTqj")] }"#);
}

proptest! {
    #[test]
    fn what_was_sealed_opens(
        plaintext in prop::collection::vec(any::<u8>(), 0..200),
        context in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let sealed = sealer().seal(&plaintext, &context);
        let opened = sealer().open(&sealed, &context).unwrap();
        prop_assert_eq!(opened.as_slice(), plaintext);
    }

    #[test]
    fn other_contexts_do_not_open(
        context in prop::collection::vec(any::<u8>(), 0..50),
        other in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        prop_assume!(context != other);
        prop_assert!(sealer().open(&sealer().seal(b"text", &context), &other).is_err());
    }

    #[test]
    fn anything_else_is_an_error(text in any::<String>()) {
        prop_assert!(sealer().open(&text, b"").is_err());
        let sealed = format!("1.wbzjYAbTlTqj.{text}");
        prop_assert!(sealer().open(&sealed, b"").is_err());
    }
}
