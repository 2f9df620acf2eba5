//! Who may log in.

use insta::assert_snapshot;

use super::{complaints, load, load_file};
use crate::config::Config;

#[test]
fn a_group_may_have_a_space_in_its_name() {
    let who = |config: Config| config.access.who[1..].join("; ");
    let two = "everybody in the group \"Domain Admins\"; everybody in the group \"ops\"";
    for flags in [
        &[("allow-group", "Domain Admins"), ("allow-group", "ops")][..],
        &[("allow-group", r#"["Domain Admins", "ops"]"#)],
    ] {
        assert_eq!(who(load(flags).unwrap()), two);
    }
    // A comma never makes two rules out of one.
    for config in [
        load(&[("allow-group", "CN=Staff, OU=x")]).unwrap(),
        load_file("allow_group = 'CN=Staff, OU=x'").unwrap(),
        load_file("allow_group = ['CN=Staff, OU=x']").unwrap(),
    ] {
        assert_eq!(who(config), "everybody in the group \"CN=Staff, OU=x\"");
    }
}

#[test]
fn wrong_rules_about_who_may_log_in() {
    assert_snapshot!(complaints(&[
        ("allow-email", ""),
        ("allow-email", "alice"),
        ("allow-email-domain", "*.example.com"),
        ("allow-claim", "tid"),
        ("allow-any-user", "true"),
    ]), @r#"
    error: nobody could log in: give --allow-email (environment OIDC_PROXY_ALLOW_EMAIL, TOML allow_email), --allow-email-domain (environment OIDC_PROXY_ALLOW_EMAIL_DOMAIN, TOML allow_email_domain), --allow-group (environment OIDC_PROXY_ALLOW_GROUP, TOML allow_group), --allow-claim (environment OIDC_PROXY_ALLOW_CLAIM, TOML allow_claim), or --allow-any-user (environment OIDC_PROXY_ALLOW_ANY_USER, TOML allow_any_user) for everybody whom the provider lets in
    error: --allow-email (environment OIDC_PROXY_ALLOW_EMAIL, TOML allow_email): "alice" is not an e-mail address
    error: --allow-email-domain (environment OIDC_PROXY_ALLOW_EMAIL_DOMAIN, TOML allow_email_domain): "*.example.com" is not a domain like example.com; subdomains are listed one by one
    error: --allow-claim (environment OIDC_PROXY_ALLOW_CLAIM, TOML allow_claim): "tid" is not of the form NAME=VALUE
    error: --allow-any-user (environment OIDC_PROXY_ALLOW_ANY_USER, TOML allow_any_user): it lets in everybody, so that --allow-email (environment OIDC_PROXY_ALLOW_EMAIL, TOML allow_email) has no effect; give one of them
    "#);
}
