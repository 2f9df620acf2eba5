use super::*;

const ISSUER: &str = "https://mcp.example.com";

fn master() -> MasterKey {
    MasterKey::new(&(0..32).collect::<Vec<u8>>()).unwrap()
}

fn big(low: u8) -> Zeroizing<[u8; 32]> {
    let mut scalar = Zeroizing::new(P256_ORDER);
    scalar[31] = low;
    scalar
}

#[test]
fn public_keys_are_pinned() {
    // Computed by an independent program: HKDF, curve arithmetic and thumbprints from their RFCs.
    let ring = KeyRing::new(master());
    assert_eq!(
        ring.public_keys(SigningAlgorithm::Es256, ISSUER),
        json!({"keys": [
            {
                "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig",
                "kid": "LL3BPXM15dW-dp936Ux-JV3L4GUT4x8wr6QjK0Qxd2A",
                "x": "_Ih97AI-Entj7HxX8Q_f-xcpfG2FJTEAFY8XTXBHduY",
                "y": "mUcXonCC3g3cDi-Qh3DbqfxWrjwqcqnSJr_1Lmxakiw",
            },
            {
                "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig",
                "kid": "-AAtr0X6zujKKcoWBGRHJb0dcRqvQx5VYZ-bD63LKXQ",
                "x": "703hYbKq1hncZe1vcdkecYwfsqT_HjHAHEi5zWeeH4k",
                "y": "1gYjCHma6-pXbhP8AwdkLv6mnGwH-DiFUfcLqAEJ6ZU",
            },
        ]})
    );
    assert_eq!(
        ring.public_keys(SigningAlgorithm::EdDsa, ISSUER),
        json!({"keys": [
            {
                "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
                "kid": "VSW7c0Ybaft1Z_31GxOpmie-uCM96Yma9kA0fQhuTu8",
                "x": "D3EjzkFsbeAQV4n_mowxZpOs9rRhM6xNEWpbpIozNQs",
            },
            {
                "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
                "kid": "1KUsj6Tix5bnxFrjo6TeJi1V8xoAJhT0q1hFH1ftpks",
                "x": "nmSKg4ftulnT5vt9Ma3WUq6hqWD0cWWI6bLZli0ZyYc",
            },
        ]})
    );
}

#[test]
fn what_only_we_can_verify_is_not_published() {
    let keys = KeyRing::new(master()).public_keys(SigningAlgorithm::Hs256, ISSUER);
    assert_eq!(keys, json!({"keys": []}));
}

#[test]
fn every_key_of_the_ring_is_published_once() {
    let ring =
        KeyRing::new(MasterKey::generate()).with_older(master()).with_older(MasterKey::generate());
    for algorithm in [SigningAlgorithm::Es256, SigningAlgorithm::EdDsa] {
        let set = ring.public_keys(algorithm, ISSUER);
        let mut kids: Vec<_> =
            set["keys"].as_array().unwrap().iter().map(|key| key["kid"].to_string()).collect();
        kids.sort();
        kids.dedup();
        assert_eq!(kids.len(), 6, "{algorithm}: access tokens and assertions");
        let alone = KeyRing::new(master()).public_keys(algorithm, ISSUER);
        for key in alone["keys"].as_array().unwrap() {
            assert!(set["keys"].as_array().unwrap().contains(key), "{algorithm}");
        }
        // Nothing of a private key is among the members.
        for key in set["keys"].as_array().unwrap() {
            assert!(key.get("d").is_none() && key.get("k").is_none(), "{key}");
        }
    }
}

#[test]
fn a_candidate_out_of_range_is_passed_over() {
    let n = P256_ORDER[31];
    for (candidates, chosen) in [
        (vec![big(n - 1)], big(n - 1)),
        (vec![big(n), big(n - 1)], big(n - 1)),
        (vec![big(n + 1), Zeroizing::new([0; 32]), big(0)], big(0)),
        (vec![Zeroizing::new([0xff; 32]), Zeroizing::new([1; 32])], Zeroizing::new([1; 32])),
    ] {
        let count = candidates.len();
        let mut candidates = candidates.into_iter();
        assert_eq!(p256_scalar(|_| candidates.next().unwrap()), chosen);
        assert_eq!(candidates.len(), 0, "{count} candidates");
    }
    // The largest and the smallest make key pairs, so the bounds are right.
    let mut one = Zeroizing::new([0; 32]);
    one[31] = 1;
    for scalar in [one, big(n - 1)] {
        let der = pkcs8(&P256_PKCS8, &scalar);
        SigningKey::asymmetric(SigningAlgorithm::Es256, EncodingKey::from_ec_der(&der));
    }
}

#[test]
fn candidates_differ() {
    let candidate =
        |attempt: u8| master().derive(Usage::AccessToken, &format!("ES256/{attempt}"), ISSUER);
    assert_ne!(candidate(0), candidate(1));
}

#[test]
fn ed25519_is_rfc_8032() {
    // §7.1, the first test.
    let seed =
        crate::hex::unhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
    let public =
        crate::hex::unhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    let der = pkcs8(&ED25519_PKCS8, seed.as_slice().try_into().unwrap());
    let key = SigningKey::asymmetric(SigningAlgorithm::EdDsa, EncodingKey::from_ed_der(&der));
    let set = serde_json::to_value(key.public).unwrap();
    assert_eq!(set["x"], URL_SAFE_NO_PAD.encode(public));
    // RFC 8037 A.3: the thumbprint of this very key.
    assert_eq!(set["kid"], "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}
