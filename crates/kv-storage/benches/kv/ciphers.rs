//! Sealing and opening alone, beside the bare call with a key that is ready.

use std::hint::black_box;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use criterion::{Criterion, Throughput};
use kv_storage::{Aes256Gcm, Cipher, Fernet};

use crate::{SIZES, values};

/// As long as what `Encrypted` binds: deployment, collection and a key of ours.
const BINDING: &[u8] = &[7; 100];

pub(crate) fn ciphers(criterion: &mut Criterion) {
    let key = Aes256Gcm::generate_key();
    let keys = std::slice::from_ref(&key);
    let ours: [(&str, Box<dyn Cipher>); 2] = [
        ("aes-gcm", Box::new(Aes256Gcm::new(keys).unwrap().for_deployment("https://issuer"))),
        ("fernet", Box::new(Fernet::new(keys).unwrap())),
    ];
    let bare = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap());
    let nonce = || Nonce::assume_unique_for_key([0; NONCE_LEN]);
    for bytes in SIZES {
        let values = values(bytes);
        let mut turn = (0..values.len()).cycle();
        let mut value = || &values[turn.next().unwrap_or_default()];

        let mut group = criterion.benchmark_group(format!("seal/{bytes}-1"));
        group.throughput(Throughput::Elements(1));
        for (name, cipher) in &ours {
            group.bench_function(*name, |bencher| {
                bencher.iter(|| cipher.seal(BINDING, black_box(value())).unwrap());
            });
        }
        let seal = |value: &[u8]| {
            let mut sealed = value.to_vec();
            bare.seal_in_place_append_tag(nonce(), Aad::from(BINDING), &mut sealed).unwrap();
            sealed
        };
        group.bench_function("raw aws-lc-rs", |bencher| bencher.iter(|| seal(black_box(value()))));
        group.finish();

        let mut group = criterion.benchmark_group(format!("open/{bytes}-1"));
        group.throughput(Throughput::Elements(1));
        for (name, cipher) in &ours {
            let sealed: Vec<_> =
                values.iter().map(|value| cipher.seal(BINDING, value).unwrap()).collect();
            let mut sealed = sealed.iter().cycle();
            group.bench_function(*name, |bencher| {
                bencher.iter(|| cipher.open(BINDING, black_box(sealed.next().unwrap())).unwrap());
            });
        }
        let sealed: Vec<_> = values.iter().map(|value| seal(value)).collect();
        let mut sealed = sealed.iter().cycle();
        group.bench_function("raw aws-lc-rs", |bencher| {
            bencher.iter(|| {
                let mut opened = black_box(sealed.next().unwrap()).clone();
                let length =
                    bare.open_in_place(nonce(), Aad::from(BINDING), &mut opened).unwrap().len();
                opened.truncate(length);
                opened
            });
        });
        group.finish();
    }
}
