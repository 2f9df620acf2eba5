//! Who may log in (D10): somebody decides, and it is written down.

use serde_json::{Map, Value};

/// The operator's rules about who may log in.
///
/// A person gets in if any one rule holds. Checked at login and at every refresh of the provider's
/// tokens that brings an identity.
#[derive(Clone, Debug)]
pub struct AccessPolicy(Policy);

#[derive(Clone, Debug)]
enum Policy {
    AnyUser,
    Rules(Vec<Rule>),
}

#[derive(Clone, Debug)]
enum Rule {
    Email(String),
    EmailDomain(String),
    Group(String),
    Claim { name: String, value: String },
}

impl AccessPolicy {
    /// Everybody whom the provider lets log in; with a public provider that is everybody on earth.
    pub fn any_user() -> Self {
        Self(Policy::AnyUser)
    }

    /// Nobody yet; add rules with the `allow_…` methods.
    pub fn nobody() -> Self {
        Self(Policy::Rules(Vec::new()))
    }

    /// Lets in the person with this e-mail address, if the provider vouches for it.
    #[must_use]
    pub fn allow_email(self, email: impl Into<String>) -> Self {
        self.with(Rule::Email(email.into().to_ascii_lowercase()))
    }

    /// Lets in everybody with a verified address in exactly this domain (no subdomains).
    #[must_use]
    pub fn allow_email_domain(self, domain: impl Into<String>) -> Self {
        let domain = domain.into().trim_start_matches('@').to_ascii_lowercase();
        self.with(Rule::EmailDomain(domain))
    }

    /// Lets in everybody whose `groups` claim names this group, compared exactly.
    #[must_use]
    pub fn allow_group(self, group: impl Into<String>) -> Self {
        self.with(Rule::Group(group.into()))
    }

    /// Lets in everybody whose claim `name` is, or as an array contains, exactly `value`.
    #[must_use]
    pub fn allow_claim(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with(Rule::Claim { name: name.into(), value: value.into() })
    }

    fn with(self, rule: Rule) -> Self {
        let mut rules = match self.0 {
            Policy::AnyUser => return self,
            Policy::Rules(rules) => rules,
        };
        rules.push(rule);
        Self(Policy::Rules(rules))
    }

    /// Whether nobody at all could log in.
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Policy::Rules(rules) if rules.is_empty())
    }

    /// Whether the person with these claims may log in.
    #[must_use]
    pub fn allows(&self, claims: &Map<String, Value>) -> bool {
        match &self.0 {
            Policy::AnyUser => true,
            Policy::Rules(rules) => rules.iter().any(|rule| rule.allows(claims)),
        }
    }
}

impl Rule {
    fn allows(&self, claims: &Map<String, Value>) -> bool {
        match self {
            Self::Email(wanted) => {
                vouched_email(claims).is_some_and(|email| email.eq_ignore_ascii_case(wanted))
            }
            Self::EmailDomain(wanted) => vouched_email(claims)
                .and_then(|email| email.rsplit_once('@'))
                .is_some_and(|(_, domain)| domain.eq_ignore_ascii_case(wanted)),
            Self::Group(wanted) => {
                claims.get("groups").is_some_and(|groups| is_or_contains(groups, wanted))
            }
            Self::Claim { name, value } => {
                claims.get(name).is_some_and(|claim| is_or_contains(claim, value))
            }
        }
    }
}

/// The e-mail address, only if the provider says that it has verified it.
///
/// Some providers send the flag as text.
pub fn vouched_email(claims: &Map<String, Value>) -> Option<&str> {
    let verified = match claims.get("email_verified")? {
        Value::Bool(verified) => *verified,
        Value::String(text) => text == "true",
        _ => false,
    };
    if !verified {
        return None;
    }
    claims.get("email")?.as_str()
}

fn is_or_contains(claim: &Value, wanted: &str) -> bool {
    match claim {
        Value::String(text) => text == wanted,
        Value::Array(items) => items.iter().any(|item| item.as_str() == Some(wanted)),
        Value::Bool(value) => value.to_string() == wanted,
        Value::Number(number) => number.to_string() == wanted,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn person(claims: &Value) -> Map<String, Value> {
        claims.as_object().unwrap().clone()
    }

    #[test]
    fn an_email_counts_only_when_the_provider_vouches_for_it() {
        let policy = AccessPolicy::nobody().allow_email("Alice@Example.com");
        let cases = [
            (json!({"email": "alice@example.com", "email_verified": true}), true),
            (json!({"email": "ALICE@example.com", "email_verified": "true"}), true),
            (json!({"email": "alice@example.com", "email_verified": false}), false),
            (json!({"email": "alice@example.com"}), false),
            (json!({"email": ["alice@example.com"], "email_verified": true}), false),
            (json!({"email": "alice@example.com.evil.test", "email_verified": true}), false),
        ];
        for (claims, allowed) in cases {
            assert_eq!(policy.allows(&person(&claims)), allowed, "{claims}");
        }
    }

    #[test]
    fn a_domain_is_the_whole_part_after_the_last_at_sign() {
        let policy = AccessPolicy::nobody().allow_email_domain("@example.com");
        let cases = [
            ("alice@example.com", true),
            ("alice@sub.example.com", false),
            ("alice@notexample.com", false),
            ("\"alice@example.com\"@evil.test", false),
            ("example.com", false),
        ];
        for (email, allowed) in cases {
            let claims = json!({"email": email, "email_verified": true});
            assert_eq!(policy.allows(&person(&claims)), allowed, "{email}");
        }
    }

    #[test]
    fn groups_and_claims_match_exactly() {
        let policy = AccessPolicy::nobody().allow_group("ops").allow_claim("tenant", "7");
        assert!(policy.allows(&person(&json!({"groups": ["dev", "ops"]}))));
        assert!(policy.allows(&person(&json!({"groups": "ops"}))));
        assert!(policy.allows(&person(&json!({"tenant": 7}))));
        assert!(!policy.allows(&person(&json!({"groups": ["ops2"], "tenant": "77"}))));
    }

    #[test]
    fn no_rule_lets_nobody_in() {
        let policy = AccessPolicy::nobody();
        assert!(policy.is_empty());
        assert!(!policy.allows(&person(&json!({}))));
        assert!(AccessPolicy::any_user().allows(&person(&json!({}))));
    }
}
