//! Who may log in (D10): the rules, and who that is in words.

use oidc_proxy::AccessPolicy;
use url::Url;

/// The operator's decision.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) policy: AccessPolicy,
    /// Who gets in, as phrases.
    pub(crate) who: Vec<String>,
}

impl Access {
    /// Nobody yet.
    pub(crate) fn nobody() -> Self {
        Self { policy: AccessPolicy::nobody(), who: Vec::new() }
    }

    /// Everybody whom the provider lets log in.
    pub(crate) fn any_user(config_url: &str) -> Self {
        let mut who = "everybody whom the provider lets log in".to_owned();
        if is_public(config_url) {
            who.push_str(", which with this provider is everybody on earth");
        }
        Self { policy: AccessPolicy::any_user(), who: vec![who] }
    }

    /// An address has one `@` with something on both sides.
    pub(crate) fn email(mut self, address: &str) -> Result<Self, String> {
        let sound = address
            .split_once('@')
            .is_some_and(|(name, domain)| !name.is_empty() && is_domain(domain));
        if !sound {
            return Err(format!("{address:?} is not an e-mail address"));
        }
        self.policy = self.policy.allow_email(address);
        self.who.push(format!("whoever has the verified e-mail address {address}"));
        Ok(self)
    }

    /// A domain is compared whole: there are no wildcards.
    pub(crate) fn email_domain(mut self, domain: &str) -> Result<Self, String> {
        let plain = domain.strip_prefix('@').unwrap_or(domain);
        if !is_domain(plain) {
            return Err(format!(
                "{domain:?} is not a domain like example.com; subdomains are listed one by one"
            ));
        }
        self.policy = self.policy.allow_email_domain(plain);
        let mut who = format!("everybody with a verified e-mail address at {plain}");
        if PUBLIC_MAIL.iter().any(|public| public.eq_ignore_ascii_case(plain)) {
            who.push_str(", which everybody on earth can have");
        }
        self.who.push(who);
        Ok(self)
    }

    pub(crate) fn group(mut self, group: &str) -> Self {
        self.policy = self.policy.allow_group(group);
        self.who.push(format!("everybody in the group {group:?}"));
        self
    }

    /// `NAME=VALUE`
    pub(crate) fn claim(mut self, claim: &str) -> Result<Self, String> {
        let (name, value) = pair(claim)?;
        self.policy = self.policy.allow_claim(name, value);
        self.who.push(format!("everybody whose claim {name:?} is {value:?}"));
        Ok(self)
    }
}

/// Splits `NAME=VALUE`; neither may be empty.
pub(crate) fn pair(text: &str) -> Result<(&str, &str), String> {
    text.split_once('=')
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
        .ok_or_else(|| format!("{text:?} is not of the form NAME=VALUE"))
}

fn is_domain(text: &str) -> bool {
    let label =
        |label: &str| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-');
    text.split('.').all(label)
}

/// Where everybody can have an address; the large ones, as a help and not a complete list.
const PUBLIC_MAIL: [&str; 16] = [
    "aol.com",
    "fastmail.com",
    "gmail.com",
    "gmx.com",
    "gmx.de",
    "googlemail.com",
    "hotmail.com",
    "icloud.com",
    "live.com",
    "mail.ru",
    "msn.com",
    "outlook.com",
    "proton.me",
    "protonmail.com",
    "web.de",
    "yahoo.com",
];

/// The tenant of personal Microsoft accounts, which is also named `consumers`.
const PERSONAL_TENANT: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// Providers with which everybody has, or can make, an account.
fn is_public(config_url: &str) -> bool {
    let Ok(url) = Url::parse(config_url) else { return false };
    let tenant = url.path_segments().and_then(|mut segments| segments.next()).unwrap_or_default();
    match url.host_str().unwrap_or_default() {
        "accounts.google.com"
        | "appleid.apple.com"
        | "gitlab.com"
        | "login.salesforce.com"
        | "slack.com"
        | "www.linkedin.com" => true,
        "login.microsoftonline.com" => ["common", "consumers", "organizations", PERSONAL_TENANT]
            .iter()
            .any(|public| public.eq_ignore_ascii_case(tenant)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_in_is_said_in_words() {
        let access = Access::nobody()
            .email("alice@example.com")
            .and_then(|access| access.email_domain("@example.org"))
            .map(|access| access.group("Domain Admins"))
            .and_then(|access| access.claim("tid=a=b"))
            .unwrap();
        assert_eq!(
            access.who,
            [
                "whoever has the verified e-mail address alice@example.com",
                "everybody with a verified e-mail address at example.org",
                "everybody in the group \"Domain Admins\"",
                "everybody whose claim \"tid\" is \"a=b\"",
            ]
        );
    }

    #[test]
    fn rules_that_can_never_hold_are_refused() {
        for address in ["alice", "@example.com", "alice@", "a@b@c", "alice@*", "a@b..c"] {
            assert!(Access::nobody().email(address).is_err(), "{address}");
        }
        for domain in ["", "@", "*.example.com", "alice@example.com", ".example.com", "a/b"] {
            assert!(Access::nobody().email_domain(domain).is_err(), "{domain}");
        }
        for claim in ["tid", "=7", "tid="] {
            assert!(Access::nobody().claim(claim).is_err(), "{claim}");
        }
    }

    #[test]
    fn everybody_on_earth_is_named_as_such() {
        let google = "https://accounts.google.com/.well-known/openid-configuration";
        let entra = "https://login.microsoftonline.com";
        for (url, public) in [
            (google.to_owned(), true),
            (format!("{entra}/common/v2.0"), true),
            (format!("{entra}/Common/v2.0"), true),
            (format!("{entra}/{PERSONAL_TENANT}/v2.0"), true),
            (format!("{entra}/9a95fd9e-0000-0000-0000-000000000000/v2.0"), false),
            ("https://example.eu.auth0.com".to_owned(), false),
            ("nonsense".to_owned(), false),
        ] {
            let who = Access::any_user(&url).who.join(" ");
            assert_eq!(who.contains("everybody on earth"), public, "{url}");
        }
        for (domain, public) in [("Gmail.com", true), ("example.com", false)] {
            let who = Access::nobody().email_domain(domain).unwrap().who.join(" ");
            assert_eq!(who.contains("everybody on earth"), public, "{domain}");
        }
    }
}
