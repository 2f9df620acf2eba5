//! The provider's public keys.

use serde_json::{Value, json};

/// A key set (RFC 7517 §5) as the provider publishes it.
///
/// The keys are not interpreted here: a key of an unknown type or with odd members is kept for
/// whoever can use it, and does not spoil the others. Members that are `null` are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct KeySet {
    json: String,
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a key set document.
    ///
    /// # Errors
    ///
    /// With the reason, when the text is not a JSON object with an array `keys`.
    pub fn from_json(json: &str) -> Result<Self, String> {
        let document: Value =
            serde_json::from_str(json).map_err(|error| format!("it is not JSON ({error})"))?;
        let Some(Value::Array(members)) = document.get("keys") else {
            return Err("it has no array \"keys\"".to_owned());
        };
        let keys: Vec<Value> = members
            .iter()
            .filter_map(Value::as_object)
            .map(|key| {
                let present = key.iter().filter(|(_, member)| !member.is_null());
                Value::Object(
                    present.map(|(name, member)| (name.clone(), member.clone())).collect(),
                )
            })
            .collect();
        Ok(Self { json: json!({ "keys": keys }).to_string(), keys })
    }

    /// The document, `{"keys":[…]}`.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Whether there is a key with this id.
    pub fn contains(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.get("kid").and_then(Value::as_str) == Some(kid))
    }

    /// The keys, each a JSON object.
    pub fn keys(&self) -> &[Value] {
        &self.keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_odd_key_does_not_spoil_the_set() {
        let set = KeySet::from_json(
            r#"{"keys": [
                {"kty": "RSA", "kid": "a", "use": "sig", "alg": null, "status": "active"},
                {"kty": "AKP", "kid": "b", "alg": "ML-DSA-44", "pub": "x"},
                {"kty": "RSA", "kid": 7},
                "not a key",
                null
            ], "extra": true}"#,
        )
        .expect("a key set");
        assert_eq!(set.keys().len(), 3);
        assert!(set.contains("a") && set.contains("b"));
        assert!(!set.contains("7") && !set.contains(""));
        assert!(!set.json().contains("null"), "{}", set.json());
        assert_eq!(KeySet::from_json(set.json()).as_ref(), Ok(&set));
    }

    #[test]
    fn an_empty_set_is_a_set() {
        let set = KeySet::from_json(r#"{"keys":[]}"#).expect("a key set");
        assert_eq!((set.json(), set.keys().len()), (r#"{"keys":[]}"#, 0));
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for text in ["", "<html>", "[]", "{}", r#"{"keys":null}"#, r#"{"keys":{}}"#] {
            assert!(KeySet::from_json(text).is_err(), "{text}");
        }
    }
}
