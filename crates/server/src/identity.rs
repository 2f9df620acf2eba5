//! Who asks, as the backend is told (D10, D12).

use forwarder::Identity;
use http::{Extensions, HeaderName};
use oidc_proxy::vouched_email;
use token_verifier::Principal;

/// `sub`: unique and never reassigned within [`ISSUER`].
const USER: HeaderName = HeaderName::from_static("x-forwarded-user");
/// Whose `sub` it is.
const ISSUER: HeaderName = HeaderName::from_static("x-forwarded-user-issuer");
/// The e-mail address, only if the provider vouches for it.
const EMAIL: HeaderName = HeaderName::from_static("x-forwarded-email");
/// Groups, separated by commas.
const GROUPS: HeaderName = HeaderName::from_static("x-forwarded-groups");
/// A name to show; people choose and change it.
const PREFERRED_USERNAME: HeaderName = HeaderName::from_static("x-forwarded-preferred-username");

/// The headers for the principal that the guard left with the request.
pub(crate) fn headers(extensions: &Extensions) -> Identity {
    let Some(principal) = extensions.get::<Principal>() else { return Identity::new() };
    let claims = principal.claims();
    let mut identity = Identity::new().claim(USER, principal.subject());
    if let Some(issuer) = principal.issuer() {
        identity = identity.claim(ISSUER, issuer);
    }
    if let Some(email) = vouched_email(claims) {
        identity = identity.claim(EMAIL, email);
    }
    if let Some(name) = principal.claim_str("preferred_username") {
        identity = identity.claim(PREFERRED_USERNAME, name);
    }
    if let Some(groups) = claims.get("groups").and_then(|groups| groups.as_array()) {
        identity = identity.list(GROUPS, groups.iter().filter_map(|group| group.as_str()));
    }
    identity
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(claims: &Value) -> Vec<String> {
        let claims = claims.as_object().unwrap().clone();
        let principal =
            Principal::builder("auth0|1, admin").issuer("https://idp.example").claims(claims);
        let mut extensions = Extensions::new();
        extensions.insert(principal.build());
        let headers = headers(&extensions).headers;
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn the_backend_is_told_who_asks() {
        let claims = json!({
            "email": "alice@example.com", "email_verified": true, "groups": ["staff", "a,b", 7],
            "preferred_username": "Zoë\r\nx-forwarded-groups: admins", "name": "Alice",
        });
        assert_eq!(
            told(&claims),
            [
                "x-forwarded-user: auth0|1%2C%20admin",
                "x-forwarded-user-issuer: https://idp.example",
                "x-forwarded-email: alice@example.com",
                "x-forwarded-preferred-username: \
                 Zo%C3%AB%0D%0Ax-forwarded-groups:%20admins",
                "x-forwarded-groups: staff,a%2Cb",
            ]
        );
    }

    #[test]
    fn an_email_that_nobody_vouches_for_is_not_told() {
        for claims in [
            json!({"email": "alice@example.com"}),
            json!({"email": "alice@example.com", "email_verified": false}),
            json!({"email": ["alice@example.com"], "email_verified": true}),
        ] {
            assert_eq!(told(&claims).len(), 2, "{claims}");
        }
    }

    #[test]
    fn without_a_principal_nothing_is_told() {
        assert_eq!(headers(&Extensions::new()), Identity::new());
    }
}
