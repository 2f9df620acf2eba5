//! Sealing and opening alone, beside the bare call with a key that is ready.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::Bytes;
use kv_storage::{Aes256Gcm, Cipher, Fernet};

use crate::{Case, SIZES, measure::in_turns, values};

/// As long as what `Encrypted` binds: deployment, collection and a key of ours.
const BINDING: &[u8] = &[7; 100];

pub(crate) fn ciphers(wanted: Option<&str>) {
    let key = Aes256Gcm::generate_key();
    let keys = std::slice::from_ref(&key);
    let ours: [(&str, Box<dyn Cipher>); 2] = [
        ("aes-gcm", Box::new(Aes256Gcm::new(keys).unwrap().for_deployment("https://issuer"))),
        ("fernet", Box::new(Fernet::new(keys).unwrap())),
    ];
    let bare = Bare(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap()));
    for bytes in SIZES {
        let values = values(bytes);
        for (name, cipher) in &ours {
            let case = |operation| Case {
                kind: "cipher",
                store: name,
                beside: "aws-lc-rs",
                operation,
                bytes,
                tasks: 1,
            };
            case("seal").measure(wanted, || {
                in_turns(
                    |rounds| each(&values, rounds, |value| cipher.seal(BINDING, value).unwrap()),
                    |rounds| each(&values, rounds, |value| bare.seal(value)),
                )
            });
            let seal = |value: &Bytes| Bytes::from(cipher.seal(BINDING, value).unwrap());
            let sealed: Vec<Bytes> = values.iter().map(seal).collect();
            let bare_sealed: Vec<Bytes> =
                values.iter().map(|value| Bytes::from(bare.seal(value))).collect();
            case("open").measure(wanted, || {
                in_turns(
                    |rounds| each(&sealed, rounds, |value| cipher.open(BINDING, value).unwrap()),
                    |rounds| each(&bare_sealed, rounds, |value| bare.open(value)),
                )
            });
        }
    }
}

fn each<T>(values: &[Bytes], rounds: u64, work: impl Fn(&[u8]) -> T) -> Duration {
    let begun = Instant::now();
    for (_, value) in (0..rounds).zip(values.iter().cycle()) {
        black_box(work(black_box(value)));
    }
    begun.elapsed()
}

struct Bare(LessSafeKey);

impl Bare {
    fn nonce() -> Nonce {
        Nonce::assume_unique_for_key([0; NONCE_LEN])
    }

    fn seal(&self, value: &[u8]) -> Vec<u8> {
        let mut sealed = value.to_vec();
        let aad = Aad::from(BINDING);
        self.0.seal_in_place_append_tag(Self::nonce(), aad, &mut sealed).unwrap();
        sealed
    }

    fn open(&self, sealed: &[u8]) -> Vec<u8> {
        let mut opened = sealed.to_vec();
        let aad = Aad::from(BINDING);
        let length = self.0.open_in_place(Self::nonce(), aad, &mut opened).unwrap().len();
        opened.truncate(length);
        opened
    }
}
