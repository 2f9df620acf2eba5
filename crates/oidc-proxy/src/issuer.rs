//! Comparing issuers, with the one provider whose issuer is a template.

use serde_json::{Map, Value};

/// Where Entra's shared tenants put the tenant of the person.
const TENANT: &str = "{tenantid}";

/// The issuer that a token must name: the provider's own, or, where that is a template, the one of
/// the tenant (`tid`) that the token claims.
///
/// Believing the token's own `tid` is safe because the whole token is verified afterwards; which
/// tenants may log in is for the access rules to say.
pub(crate) fn of_tenant(issuer: &str, claims: &Map<String, Value>) -> Option<String> {
    if !issuer.contains(TENANT) {
        return Some(issuer.to_owned());
    }
    let tenant = claims.get("tid")?.as_str().filter(|tenant| is_guid(tenant))?;
    Some(issuer.replacen(TENANT, tenant, 1))
}

/// Whether `given` is the provider's issuer, of whichever tenant.
pub(crate) fn matches(issuer: &str, given: &str) -> bool {
    match issuer.split_once(TENANT) {
        None => issuer == given,
        Some((before, after)) => given
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
            .is_some_and(is_guid),
    }
}

fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEMPLATE: &str = "https://login.example/{tenantid}/v2.0";
    const GUID: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

    fn expected(issuer: &str, claims: &Value) -> Option<String> {
        of_tenant(issuer, claims.as_object().unwrap())
    }

    #[test]
    fn a_plain_issuer_is_itself() {
        let claims = json!({"tid": GUID});
        assert_eq!(expected("https://idp.example", &claims).unwrap(), "https://idp.example");
        assert!(matches("https://idp.example", "https://idp.example"));
        assert!(!matches("https://idp.example", "https://idp.example/"));
    }

    #[test]
    fn a_template_takes_a_tenant_that_is_a_guid() {
        let own = format!("https://login.example/{GUID}/v2.0");
        assert_eq!(expected(TEMPLATE, &json!({"tid": GUID})).unwrap(), own);
        assert!(matches(TEMPLATE, &own));
        for tenant in ["", "common", "../evil", "9188040d-6c67-4c5b-b112-36a304b66da/"] {
            assert_eq!(expected(TEMPLATE, &json!({"tid": tenant})), None, "{tenant}");
            assert!(!matches(TEMPLATE, &TEMPLATE.replace(TENANT, tenant)), "{tenant}");
        }
        assert_eq!(expected(TEMPLATE, &json!({})), None);
        assert!(!matches(TEMPLATE, "https://evil.example"));
        assert!(!matches(TEMPLATE, TEMPLATE));
    }
}
