//! Refresh tokens, computed and never stored (D5).
//!
//! A token is `r1.<key id>.<grant id>.<generation>.<MAC>`. The MAC covers all of that, the issuer,
//! the client id and the grant's random seed, so neither a reader of the signing key alone nor a
//! reader of the store alone can make one.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jwt_issuer::Mac;
use secrecy::{ExposeSecret, SecretString};

use crate::record::grant::Grant;

const VERSION: &str = "r1";

/// Longer than any token that we make: the four parts, their dots, and a generous generation.
const MAX_LEN: usize = 256;

/// A refresh token as it was presented; nothing in it is believed before [`RefreshToken::is_genuine`].
pub(crate) struct RefreshToken<'a> {
    kid: &'a str,
    pub(crate) grant_id: &'a str,
    pub(crate) generation: u64,
    tag: Vec<u8>,
}

impl<'a> RefreshToken<'a> {
    /// Takes a token apart; `None` if it is not one of ours by its form.
    pub(crate) fn parse(token: &'a str) -> Option<Self> {
        if token.len() > MAX_LEN {
            return None;
        }
        let mut parts = token.split('.');
        let (version, kid, grant_id) = (parts.next()?, parts.next()?, parts.next()?);
        let (number, tag) = (parts.next()?, parts.next()?);
        let generation: u64 = number.parse().ok()?;
        // One spelling per number: `+1` and `01` parse as well.
        let canonical = generation.to_string() == number;
        if version != VERSION || grant_id.is_empty() || !canonical || parts.next().is_some() {
            return None;
        }
        let tag = BASE64_URL_SAFE_NO_PAD.decode(tag).ok()?;
        Some(Self { kid, grant_id, generation, tag })
    }

    /// Whether we made this token for this grant. Constant time.
    pub(crate) fn is_genuine(&self, mac: &Mac, issuer: &str, grant: &Grant) -> bool {
        let generation = self.generation.to_be_bytes();
        mac.verify(self.kid, &parts(self.kid, issuer, grant, &generation), &self.tag)
    }
}

/// The grant's refresh token of its current generation.
pub(crate) fn current(mac: &Mac, issuer: &str, grant: &Grant) -> SecretString {
    let kid = mac.current().as_str();
    let tag = mac.tag(&parts(kid, issuer, grant, &grant.generation.to_be_bytes()));
    let tag = BASE64_URL_SAFE_NO_PAD.encode(tag);
    SecretString::from(format!("{VERSION}.{kid}.{}.{}.{tag}", grant.id, grant.generation))
}

fn parts<'a>(
    kid: &'a str,
    issuer: &'a str,
    grant: &'a Grant,
    generation: &'a [u8; 8],
) -> [&'a [u8]; 7] {
    [
        VERSION.as_bytes(),
        kid.as_bytes(),
        grant.id.as_bytes(),
        generation,
        issuer.as_bytes(),
        grant.client.id.as_bytes(),
        grant.seed.expose_secret().as_bytes(),
    ]
}
