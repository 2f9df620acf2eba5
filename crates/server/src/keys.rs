//! `oidc-proxy keys`: what keys there are, and how one takes the place of another.
//!
//! Keys that the server keeps are changed where they lie. Keys that were given belong to whoever
//! gave them: what they must become is printed.

mod ring;

use std::{
    io::{self, Write},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{anyhow, bail};
use jwt_issuer::AssertionIssuer;
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use self::ring::Ring;
pub(crate) use self::ring::Which;
use crate::{
    config::{Config, KeyPlace, KeyPlaces, Sources},
    data_dir,
};

/// `oidc-proxy keys list`
pub(crate) fn list(sources: &Sources) -> anyhow::Result<()> {
    let places = KeyPlaces::load(sources)?;
    let rings = [Which::Signing, Which::Storage].map(|which| match opened(which, &places) {
        Ok((ring, _)) => ring.describe(unix_now()),
        Err(why) => format!("{which:<8} none: {why:#}"),
    });
    print(&format!("{}\n", rings.join("\n")))
}

/// `oidc-proxy keys rotate`
pub(crate) fn rotate(which: Which, sources: &Sources) -> anyhow::Result<()> {
    let places = KeyPlaces::load(sources)?;
    change(which, &places, |ring| {
        let id = ring.rotate(which.generate(), unix_now())?;
        Ok(format!(
            "The {which} key {id} is new: it is understood, and not used yet.\n\
             Restart every server that has these keys; then `oidc-proxy keys promote {which}`.\n"
        ))
    })
}

/// `oidc-proxy keys promote`
pub(crate) fn promote(which: Which, id: Option<&str>, sources: &Sources) -> anyhow::Result<()> {
    let places = KeyPlaces::load(sources)?;
    let days = places.longest(which).as_secs().div_ceil(24 * 60 * 60);
    change(which, &places, |ring| {
        let id = ring.promote(id, unix_now())?;
        Ok(format!(
            "The {which} key {id} is the first now.\n\
             Restart every server, one after the other; no sooner than {days} days after the last \
             one, `oidc-proxy keys retire {which}`.\n"
        ))
    })
}

/// `oidc-proxy keys retire`
pub(crate) fn retire(
    which: Which,
    id: Option<&str>,
    force: bool,
    sources: &Sources,
) -> anyhow::Result<()> {
    let places = KeyPlaces::load(sources)?;
    let longest = places.longest(which);
    change(which, &places, |ring| {
        let id = ring.retire(id, unix_now(), longest, force)?;
        Ok(format!(
            "The {which} key {id} is gone.\n\
             Restart every server, one after the other.\n"
        ))
    })
}

/// `oidc-proxy keys assertion-key`
pub(crate) fn assertion_key(sources: &Sources) -> anyhow::Result<()> {
    let config = Config::load(sources)?;
    if config.signing_algorithm.is_asymmetric() {
        bail!(
            "assertions are signed with {}; the backend verifies them with the keys at \
             {}/.well-known/jwks.json",
            config.signing_algorithm,
            config.base_url
        );
    }
    let (ring, _) = opened(Which::Signing, &KeyPlaces::load(sources)?)?;
    let keys = ring.key_ring().map_err(|why| anyhow!(why))?;
    let mut text = Zeroizing::new(String::new());
    for (id, key) in AssertionIssuer::shared_keys(&keys, &config.base_url, &config.backend) {
        for part in [id.as_str(), " ", key.expose_secret(), "\n"] {
            text.push_str(part);
        }
    }
    print(&text)
}

/// The ring, and where it lies if the server keeps it.
fn opened(which: Which, places: &KeyPlaces) -> anyhow::Result<(Ring, Option<&Path>)> {
    match places.of(which) {
        KeyPlace::Kept(path) => {
            let text = data_dir::read_keys(path)?;
            let ring =
                Ring::parse(which, &text).map_err(|why| anyhow!("{}: {why}", path.display()))?;
            Ok((ring, Some(path)))
        }
        KeyPlace::Given { name, text, .. } => {
            let ring =
                Ring::parse(which, text.expose_secret()).map_err(|why| anyhow!("{name}: {why}"))?;
            Ok((ring, None))
        }
        KeyPlace::Nowhere => bail!("they were not given, and this storage keeps none"),
    }
}

/// Changes the ring where it is kept, or prints what it must become.
fn change(
    which: Which,
    places: &KeyPlaces,
    change: impl FnOnce(&mut Ring) -> Result<String, String>,
) -> anyhow::Result<()> {
    let _lock = match places.of(which) {
        KeyPlace::Kept(path) => data_dir::lock_keys(path)?,
        _ => None,
    };
    let (mut ring, kept) = opened(which, places)?;
    let said = change(&mut ring).map_err(|why| anyhow!(why))?;
    match (kept, places.of(which)) {
        (Some(path), _) => {
            data_dir::replace_keys(path, ring.to_file().as_bytes())?;
            print(&said)
        }
        (None, KeyPlace::Given { name, is_file, .. }) => {
            let said = format!(
                "{said}These keys are yours to keep: give every server what is printed here, as \
                 {name}.\n"
            );
            // Not among the keys, which may go into a file.
            io::stderr().write_all(said.as_bytes())?;
            if *is_file {
                print(&ring.to_file())
            } else {
                print(&Zeroizing::new(format!("{}\n", *ring.to_value())))
            }
        }
        _ => unreachable!("what lies nowhere was not opened"),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

#[expect(clippy::disallowed_methods, reason = "the clock of the command line")]
fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
