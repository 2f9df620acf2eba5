//! The crate through its public API: one deployment before, during and after a key rotation.

use jwt_issuer::{AccessClaims, JwtIssuer, KeyRing, Mac, MasterKey, Sealer, TokenError};

const ISSUER: &str = "https://mcp.example.com";

struct Deployment {
    tokens: JwtIssuer,
    sealer: Sealer,
    mac: Mac,
}

impl Deployment {
    fn new(keys: &KeyRing) -> Self {
        Self {
            tokens: JwtIssuer::new(keys, ISSUER),
            sealer: Sealer::new(keys, "consent", ISSUER),
            mac: Mac::new(keys, "refresh-token", ISSUER),
        }
    }
}

fn claims() -> AccessClaims {
    AccessClaims {
        sub: "user".into(),
        aud: "https://mcp.example.com/mcp".into(),
        exp: 2_000,
        iat: 1_000,
        jti: "1".into(),
        client_id: "client".into(),
        scope: "openid".into(),
        grant: "grant".into(),
    }
}

#[test]
fn a_rotation_breaks_nothing_and_removal_ends_the_old_key() {
    let (old, new) = (MasterKey::generate(), MasterKey::generate());
    let before = Deployment::new(&KeyRing::new(old.clone()));
    let token = before.tokens.sign(&claims()).unwrap();
    let sealed = before.sealer.seal(b"request", b"browser");
    let tag = before.mac.tag(&[b"grant", b"1"]);

    // `rotate`: the new key is known everywhere, the old one still signs.
    let rotated = Deployment::new(&KeyRing::new(old.clone()).with_older(new.clone()));
    // `promote`: the new key signs.
    let promoted = Deployment::new(&KeyRing::new(new.clone()).with_older(old.clone()));
    for replica in [&rotated, &promoted] {
        assert_eq!(replica.tokens.verify(&token, 1_500), Ok(claims()));
        assert_eq!(replica.sealer.open(&sealed, b"browser").unwrap().as_slice(), b"request");
        assert!(replica.mac.verify(old.id().as_str(), &[b"grant", b"1"], &tag));
    }
    let from_promoted = promoted.tokens.sign(&claims()).unwrap();
    assert_eq!(rotated.tokens.verify(&from_promoted, 1_500), Ok(claims()));

    let removed = Deployment::new(&KeyRing::new(new));
    assert_eq!(removed.tokens.verify(&token, 1_500), Err(TokenError::UnknownKey));
    assert!(removed.sealer.open(&sealed, b"browser").is_err());
    assert!(!removed.mac.verify(old.id().as_str(), &[b"grant", b"1"], &tag));
}

#[test]
fn a_kept_key_survives_its_base64url_form() {
    let key = MasterKey::generate();
    let kept = MasterKey::from_base64url(&key.to_base64url()).unwrap();
    let token = JwtIssuer::new(&KeyRing::new(key), ISSUER).sign(&claims()).unwrap();
    assert_eq!(JwtIssuer::new(&KeyRing::new(kept), ISSUER).verify(&token, 1_500), Ok(claims()));
}
