//! Scopes: ordered, without repetition, in the syntax of RFC 6749 §3.3.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most scopes that one set holds; what a request names beyond that is not granted.
pub(crate) const MAX_SCOPES: usize = 100;

/// The longest scope in bytes; a longer one is not granted.
pub(crate) const MAX_SCOPE_BYTES: usize = 256;

/// The scope that asks for a refresh token (OpenID Connect Core §11).
///
/// The authorization server lists it, protected resources do not: it says nothing about a resource.
pub(crate) const OFFLINE_ACCESS: &str = "offline_access";

/// A set of scopes, in the order in which they were named.
///
/// Reading is lenient: whatever is not a scope token, and whatever is beyond [`MAX_SCOPES`] and
/// [`MAX_SCOPE_BYTES`], is left out. Less is granted then, never more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ScopeSet(Vec<String>);

impl ScopeSet {
    /// Reads a space-delimited list.
    pub(crate) fn parse(text: &str) -> Self {
        text.split_ascii_whitespace().collect()
    }

    pub(crate) fn contains(&self, scope: &str) -> bool {
        self.0.iter().any(|known| known == scope)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is in both, in our order.
    pub(crate) fn intersect(&self, other: &Self) -> Self {
        self.iter().filter(|scope| other.contains(scope)).collect()
    }

    /// Everything but `scope`.
    pub(crate) fn without(&self, scope: &str) -> Self {
        self.iter().filter(|&known| known != scope).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// `scope-token = 1*( %x21 / %x23-5B / %x5D-7E )`
fn is_scope_token(scope: &str) -> bool {
    !scope.is_empty()
        && scope.len() <= MAX_SCOPE_BYTES
        && scope.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

impl<S: AsRef<str>> FromIterator<S> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = S>>(scopes: I) -> Self {
        let mut set = Self::default();
        for scope in scopes {
            if set.0.len() == MAX_SCOPES {
                break;
            }
            let scope = scope.as_ref();
            if is_scope_token(scope) && !set.contains(scope) {
                set.0.push(scope.to_owned());
            }
        }
        set
    }
}

/// Space-delimited, as it stands on the wire.
impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

impl Serialize for ScopeSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ScopeSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::parse(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_and_repetition_is_not() {
        let scopes = ScopeSet::parse("  write read\twrite  admin ");
        assert_eq!(scopes.to_string(), "write read admin");
        assert_eq!(ScopeSet::parse("").to_string(), "");
        assert!(ScopeSet::parse(" ").is_empty());
    }

    #[test]
    fn what_is_not_a_scope_is_left_out() {
        let scopes = ScopeSet::parse("read qu\"ote back\\slash ümlaut bell\u{7} https://x/y.z");
        assert_eq!(scopes.to_string(), "read https://x/y.z");
        assert_eq!(["a b", "", "c"].into_iter().collect::<ScopeSet>().to_string(), "c");
    }

    #[test]
    fn limits_hold() {
        let many = (0..=MAX_SCOPES).map(|n| format!("s{n}")).collect::<ScopeSet>();
        assert_eq!(many.iter().count(), MAX_SCOPES);
        assert!(!ScopeSet::parse(&"a".repeat(MAX_SCOPE_BYTES)).is_empty());
        assert!(ScopeSet::parse(&"a".repeat(MAX_SCOPE_BYTES + 1)).is_empty());
    }

    #[test]
    fn sets_relate_as_sets_do() {
        let all = ScopeSet::parse("a b c");
        let some = ScopeSet::parse("c a x");
        assert_eq!(some.intersect(&all), ScopeSet::parse("c a"));
        assert_eq!(some.without("x"), ScopeSet::parse("c a"));
        assert!(ScopeSet::default().intersect(&all).is_empty());
        assert!(all.contains("a") && !all.contains("A") && !all.contains("a b"));
    }

    #[test]
    fn a_set_is_a_string_in_json() {
        let scopes = ScopeSet::parse("b a");
        let json = serde_json::to_string(&scopes).unwrap();
        assert_eq!(json, r#""b a""#);
        assert_eq!(serde_json::from_str::<ScopeSet>(&json).unwrap(), scopes);
    }
}
