//! Codes, grants and sessions: who holds what, and until when.
//!
//! All of it lies in memory; with a state directory, grants and sessions are written to one
//! file at each change. That happens synchronously under the lock: a few kilobytes, in a
//! provider for development, are not worth a second copy of the truth.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, file};

const STATE_FILE: &str = "state.json";
const FORMAT: u32 = 1;

pub(crate) struct Store {
    codes: BTreeMap<String, Code>,
    kept: Kept,
    mac_key: hmac::Key,
    path: Option<PathBuf>,
}

/// What outlives the process.
#[derive(Serialize, Deserialize)]
struct Kept {
    format: u32,
    /// Makes refresh tokens and login pages unforgeable.
    mac_key: String,
    grants: BTreeMap<String, Grant>,
    sessions: BTreeMap<String, Session>,
}

/// An authorization code, kept after its redemption to recognize a second one.
#[derive(Clone)]
pub(crate) struct Code {
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    /// The S256 challenge of the request (RFC 7636 §4.2).
    pub(crate) challenge: Option<String>,
    pub(crate) nonce: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) sub: String,
    pub(crate) auth_time: u64,
    pub(crate) expires_at: u64,
    pub(crate) redeemed_as: Option<String>,
}

/// One authorization: what a refresh token stands for.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) client_id: String,
    pub(crate) sub: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) auth_time: u64,
    pub(crate) expires_at: u64,
    /// Counts the rotations: only the refresh token of this generation is good.
    pub(crate) generation: u32,
}

/// A browser in which somebody logged in.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) sub: String,
    pub(crate) auth_time: u64,
    pub(crate) expires_at: u64,
}

/// What became of a presented refresh token.
pub(crate) enum Presented {
    /// It is the present one of this grant.
    Current(String, Grant),
    /// It was rotated away; the grant is gone now.
    Reused,
    /// It is not one of ours, or its grant has ended.
    Unknown,
}

impl Store {
    pub(crate) fn in_memory() -> Self {
        Self::from_kept(Kept::new(), None)
    }

    pub(crate) fn open(directory: &Path, now: SystemTime) -> Result<Self, Error> {
        let path = directory.join(STATE_FILE);
        let mut kept = match file::read(&path)? {
            None => Kept::new(),
            Some(json) => serde_json::from_slice::<Kept>(&json)
                .ok()
                .filter(|kept| kept.format == FORMAT)
                .ok_or_else(|| Error::State { path: path.clone() })?,
        };
        kept.prune(now.duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs()));
        let store = Self::from_kept(kept, Some(path));
        // Writing at once tells of an unusable directory before the first login does.
        store.save()?;
        Ok(store)
    }

    fn from_kept(kept: Kept, path: Option<PathBuf>) -> Self {
        let mac_key = hmac::Key::new(hmac::HMAC_SHA256, kept.mac_key.as_bytes());
        Self { codes: BTreeMap::new(), kept, mac_key, path }
    }

    fn save(&self) -> Result<(), Error> {
        let Some(path) = &self.path else { return Ok(()) };
        let json = serde_json::to_vec(&self.kept).expect("strings and numbers are JSON");
        file::write(path, &json)
    }

    /// A MAC by the key of this store, over parts that cannot be shifted into each other.
    pub(crate) fn tag(&self, parts: &[&str]) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.mac_key, &joined(parts)))
    }

    /// Whether `tag` is the MAC of these parts; takes the same time for every wrong one.
    pub(crate) fn tag_is_good(&self, parts: &[&str], tag: &str) -> bool {
        URL_SAFE_NO_PAD
            .decode(tag)
            .is_ok_and(|tag| hmac::verify(&self.mac_key, &joined(parts), &tag).is_ok())
    }

    pub(crate) fn add_code(&mut self, code: Code, now: u64) -> String {
        // Redeemed codes stay as long as unredeemed ones: a replay after that is just unknown.
        self.codes.retain(|_, code| code.expires_at > now);
        let value = random();
        self.codes.insert(hash(&value), code);
        value
    }

    /// The code of this value, expired or redeemed ones included.
    pub(crate) fn code(&self, value: &str) -> Option<&Code> {
        self.codes.get(&hash(value))
    }

    /// Makes a grant of a code.
    pub(crate) fn redeem(&mut self, value: &str, grant: Grant, now: u64) -> Result<String, Error> {
        let id = random();
        if let Some(code) = self.codes.get_mut(&hash(value)) {
            code.redeemed_as = Some(id.clone());
        }
        self.kept.prune(now);
        self.kept.grants.insert(id.clone(), grant);
        self.save()?;
        Ok(id)
    }

    pub(crate) fn grant(&self, id: &str, now: u64) -> Option<&Grant> {
        self.kept.grants.get(id).filter(|grant| grant.expires_at > now)
    }

    /// Ends a grant; tells whether there was one.
    pub(crate) fn revoke(&mut self, id: &str) -> Result<bool, Error> {
        let was_there = self.kept.grants.remove(id).is_some();
        if was_there {
            self.save()?;
        }
        Ok(was_there)
    }

    /// The refresh token of a grant: id, generation and a MAC over both, so that a rotated one
    /// is recognized without a list of them.
    pub(crate) fn refresh_token(&self, id: &str, generation: u32) -> String {
        let generation = generation.to_string();
        let tag = self.tag(&["refresh token", id, &generation]);
        format!("{id}.{generation}.{tag}")
    }

    /// The grant id that a genuine refresh token names, and its generation.
    pub(crate) fn parse_refresh_token(&self, token: &str) -> Option<(String, u32)> {
        let (id, rest) = token.split_once('.')?;
        let (generation, tag) = rest.split_once('.')?;
        if !self.tag_is_good(&["refresh token", id, generation], tag) {
            return None;
        }
        Some((id.to_owned(), generation.parse().ok()?))
    }

    /// Looks a refresh token up for this client. A rotated one ends its grant (RFC 9700 §4.14).
    pub(crate) fn present(
        &mut self,
        token: &str,
        client_id: &str,
        now: u64,
    ) -> Result<Presented, Error> {
        let Some((id, generation)) = self.parse_refresh_token(token) else {
            return Ok(Presented::Unknown);
        };
        let Some(grant) = self.grant(&id, now).filter(|grant| grant.client_id == client_id) else {
            return Ok(Presented::Unknown);
        };
        if grant.generation == generation {
            return Ok(Presented::Current(id, grant.clone()));
        }
        self.revoke(&id)?;
        Ok(Presented::Reused)
    }

    /// Retires the present refresh token of a grant and returns the next one.
    pub(crate) fn rotate(&mut self, id: &str) -> Result<Option<String>, Error> {
        let Some(grant) = self.kept.grants.get_mut(id) else { return Ok(None) };
        grant.generation += 1;
        let generation = grant.generation;
        self.save()?;
        Ok(Some(self.refresh_token(id, generation)))
    }

    pub(crate) fn add_session(&mut self, session: Session) -> Result<String, Error> {
        let value = random();
        self.kept.sessions.insert(hash(&value), session);
        self.save()?;
        Ok(value)
    }

    pub(crate) fn session(&self, value: &str, now: u64) -> Option<&Session> {
        self.kept.sessions.get(&hash(value)).filter(|session| session.expires_at > now)
    }
}

impl Kept {
    fn new() -> Self {
        Self {
            format: FORMAT,
            mac_key: random(),
            grants: BTreeMap::new(),
            sessions: BTreeMap::new(),
        }
    }

    fn prune(&mut self, now: u64) {
        self.grants.retain(|_, grant| grant.expires_at > now);
        self.sessions.retain(|_, session| session.expires_at > now);
    }
}

/// 256 random bits in base64url.
pub(crate) fn random() -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the system gives randomness");
    URL_SAFE_NO_PAD.encode(bytes)
}

fn hash(value: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(value))
}

fn joined(parts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend((part.len() as u64).to_be_bytes());
        bytes.extend(part.as_bytes());
    }
    bytes
}
