//! A key ring as text: one key a line, the first one in use, `#` begins a note.
//!
//! A note behind a key says what it is and since when, in Unix seconds:
//!
//! ```text
//! bW9yZSB0aGFuIDMyIGJ5dGVzIG9mIHJhbmRvbSBkYXRh  # first since 1795000000
//! b2xkZXIgdGhhbiB0aGUgb3RoZXIsIGFuZCBzdGlsbCBnb29k  # old since 1795000000
//! ```
//!
//! Keys that were given without notes are told by their place alone.

use std::{fmt, time::Duration};

use jwt_issuer::{KeyRing, MasterKey, sha256_base64url};
use kv_storage::Fernet;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// The length of an id of a storage key; those of signing keys are as long.
const ID_LENGTH: usize = 12;

/// Which of the two rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Which {
    /// What signs and seals.
    Signing,
    /// What encrypts the storage.
    Storage,
}

impl Which {
    /// A new key, as it is written.
    pub(crate) fn generate(self) -> SecretString {
        match self {
            Self::Signing => MasterKey::generate().to_base64url(),
            Self::Storage => Fernet::generate_key(),
        }
    }

    /// Names a key and tells nothing of it. That of a signing key stands in tokens.
    fn id(self, key: &SecretString) -> Result<String, String> {
        match self {
            Self::Signing => MasterKey::from_base64url(key)
                .map(|key| key.id().to_string())
                .map_err(|error| error.to_string()),
            Self::Storage => {
                let mut id = sha256_base64url(key.expose_secret().as_bytes());
                id.truncate(ID_LENGTH);
                Ok(id)
            }
        }
    }

    /// What the first key does and the others do not.
    fn verb(self) -> &'static str {
        match self {
            Self::Signing => "signs",
            Self::Storage => "encrypts",
        }
    }

    /// What the others still do.
    fn lesser_verb(self) -> &'static str {
        match self {
            Self::Signing => "verifies",
            Self::Storage => "decrypts",
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Signing => "signing",
            Self::Storage => "storage",
        })
    }
}

/// What a key is for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    First,
    /// Added, and never first so far.
    New,
    /// Was the first.
    Old,
    /// Not the first; nothing says which of the two.
    Other,
}

impl State {
    fn word(self) -> Option<&'static str> {
        match self {
            Self::First => Some("first"),
            Self::New => Some("new"),
            Self::Old => Some("old"),
            Self::Other => None,
        }
    }
}

/// One key of a ring.
#[derive(Clone)]
struct Key {
    text: SecretString,
    id: String,
    state: State,
    /// Unix seconds.
    since: Option<u64>,
}

/// All keys of a ring, the first one first.
#[derive(Clone)]
pub(crate) struct Ring {
    which: Which,
    keys: Vec<Key>,
    /// The lines before the first key.
    head: String,
}

impl Ring {
    /// Reads a ring.
    ///
    /// # Errors
    ///
    /// A sentence without the key, if one is not usable or there is none.
    pub(crate) fn parse(which: Which, text: &str) -> Result<Self, String> {
        let (mut keys, mut head) = (Vec::<Key>::new(), String::new());
        for line in text.lines() {
            let (before, note) = line.split_once('#').unwrap_or((line, ""));
            if before.trim().is_empty() && keys.is_empty() {
                head.push_str(line);
                head.push('\n');
            }
            for text in before.split([' ', '\t', ',']).filter(|text| !text.is_empty()) {
                let text = SecretString::from(text);
                let id = which
                    .id(&text)
                    .map_err(|why| format!("{which} key {}: {why}", keys.len() + 1))?;
                let (noted, since) = noted(note);
                // The place counts; a note that says otherwise is of another time.
                let state = match noted {
                    _ if keys.is_empty() => State::First,
                    State::First => State::Other,
                    noted => noted,
                };
                let since = since.filter(|_| state == noted);
                keys.push(Key { text, id, state, since });
            }
        }
        if keys.is_empty() {
            return Err(format!("there is no {which} key"));
        }
        Ok(Self { which, keys, head })
    }

    /// The signing keys, to derive others from.
    ///
    /// # Errors
    ///
    /// If these are no signing keys.
    pub(crate) fn key_ring(&self) -> Result<KeyRing, String> {
        let mut keys = self
            .keys
            .iter()
            .map(|key| MasterKey::from_base64url(&key.text).map_err(|e| e.to_string()));
        let first = keys.next().ok_or("there is no key")??;
        keys.try_fold(KeyRing::new(first), |ring, key| Ok(ring.with_older(key?)))
    }

    /// With notes, one key a line.
    pub(crate) fn to_file(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(self.head.clone());
        for key in &self.keys {
            text.push_str(key.text.expose_secret());
            if let (Some(word), Some(since)) = (key.state.word(), key.since) {
                for part in ["  # ", word, " since ", &since.to_string()] {
                    text.push_str(part);
                }
            }
            text.push('\n');
        }
        text
    }

    /// Without notes, in one line.
    pub(crate) fn to_value(&self) -> Zeroizing<String> {
        let keys: Vec<&str> = self.keys.iter().map(|key| key.text.expose_secret()).collect();
        Zeroizing::new(keys.join(","))
    }

    /// One line for each key, without the key.
    pub(crate) fn describe(&self, now: u64) -> String {
        let which = self.which;
        let lines = self.keys.iter().map(|key| {
            let does = match key.state {
                State::First => which.verb().to_owned(),
                State::New => format!("{}, to be promoted", which.lesser_verb()),
                State::Old => format!("{}, to be retired", which.lesser_verb()),
                State::Other => which.lesser_verb().to_owned(),
            };
            let since = key.since.map(|since| format!(", since {}", ago(now, since)));
            format!("{which:<8} {} {does}{}", key.id, since.unwrap_or_default())
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Adds a key that is not the first; its id.
    ///
    /// # Errors
    ///
    /// If one is waiting to be promoted.
    pub(crate) fn rotate(&mut self, key: SecretString, now: u64) -> Result<String, String> {
        if let Some(waiting) = self.keys.iter().find(|key| key.state == State::New) {
            return Err(format!(
                "the {} key {} is new already; promote or retire it first",
                self.which, waiting.id
            ));
        }
        let id = self.which.id(&key)?;
        self.keys.push(Key { text: key, id: id.clone(), state: State::New, since: Some(now) });
        Ok(id)
    }

    /// Makes a key the first; its id. Without `id` it is the new one.
    ///
    /// # Errors
    ///
    /// If there is no such key, or several could be meant.
    pub(crate) fn promote(&mut self, id: Option<&str>, now: u64) -> Result<String, String> {
        let at = self.find(id, State::New, "promote")?;
        if at == 0 {
            return Err(format!("the {} key {} is the first already", self.which, self.keys[0].id));
        }
        let mut key = self.keys.remove(at);
        (key.state, key.since) = (State::First, Some(now));
        (self.keys[0].state, self.keys[0].since) = (State::Old, Some(now));
        self.keys.insert(0, key);
        Ok(self.keys[0].id.clone())
    }

    /// Removes a key; its id. Without `id` it is the old one.
    ///
    /// # Errors
    ///
    /// If there is no such key, if it is the first, or if something that it signed or encrypted
    /// may still live, unless `force`.
    pub(crate) fn retire(
        &mut self,
        id: Option<&str>,
        now: u64,
        longest: Duration,
        force: bool,
    ) -> Result<String, String> {
        let at = self.find(id, State::Old, "retire")?;
        let (which, key) = (self.which, &self.keys[at]);
        let id = key.id.clone();
        if at == 0 {
            return Err(format!(
                "the {which} key {id} {}; promote another one first",
                which.verb()
            ));
        }
        let days = longest.as_secs().div_ceil(24 * 60 * 60);
        match (key.state, key.since) {
            (State::New, _) => {}
            _ if force => {}
            (State::Old, Some(since)) if now.saturating_sub(since) >= longest.as_secs() => {}
            (State::Old, Some(since)) => {
                return Err(format!(
                    "the {which} key {id} was in use until {}; what it protects lives up to \
                     {days} days, and without the key those people are logged out; wait, or insist \
                     with --force",
                    ago(now, since)
                ));
            }
            _ => {
                return Err(format!(
                    "nothing says how long the {which} key {id} has not been in use; what it \
                     protects lives up to {days} days; insist with --force if that has passed"
                ));
            }
        }
        self.keys.remove(at);
        Ok(id)
    }

    /// The key with this id, or the only one that can be meant.
    fn find(&self, id: Option<&str>, state: State, verb: &str) -> Result<usize, String> {
        let which = self.which;
        if let Some(id) = id {
            let at = self.keys.iter().position(|key| key.id == id);
            return at.ok_or_else(|| {
                format!("there is no {which} key {id}; `oidc-proxy keys list` shows them")
            });
        }
        for wanted in [state, State::Other] {
            let mut candidates =
                self.keys.iter().enumerate().filter(|(_, key)| key.state == wanted);
            match (candidates.next(), candidates.next()) {
                (Some((at, _)), None) => return Ok(at),
                (Some(_), Some(_)) => {
                    return Err(format!(
                        "which {which} key? `oidc-proxy keys list` shows their ids"
                    ));
                }
                (None, _) => {}
            }
        }
        Err(format!("there is no {which} key to {verb}; `oidc-proxy keys list` shows them"))
    }
}

/// Shows ids only.
impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

/// What the note behind a key says; notes of others say nothing.
fn noted(note: &str) -> (State, Option<u64>) {
    let words: Vec<&str> = note.split_whitespace().collect();
    let [word, "since", since] = words[..] else { return (State::Other, None) };
    let state = match word {
        "first" => State::First,
        "new" => State::New,
        "old" => State::Old,
        _ => return (State::Other, None),
    };
    match since.parse() {
        Ok(since) => (state, Some(since)),
        Err(_) => (State::Other, None),
    }
}

fn ago(now: u64, since: u64) -> String {
    let seconds = now.saturating_sub(since);
    match (seconds / (24 * 60 * 60), seconds / (60 * 60)) {
        (0, 0) => "less than an hour ago".to_owned(),
        (0, 1) => "an hour ago".to_owned(),
        (0, hours) => format!("{hours} hours ago"),
        (1, _) => "yesterday".to_owned(),
        (days, _) => format!("{days} days ago"),
    }
}

#[cfg(test)]
mod tests;
