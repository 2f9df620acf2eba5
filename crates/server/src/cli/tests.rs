use clap::CommandFactory;

use super::*;
use crate::config::setting::{CONFIG, Name};

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn help_fits_80_columns() {
    let mut command = Cli::command();
    command.build();
    check_width(&mut command);
}

fn check_width(command: &mut clap::Command) {
    for page in [command.render_help(), command.render_long_help()] {
        for line in page.to_string().lines() {
            assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
        }
    }
    command.get_subcommands_mut().for_each(check_width);
}

fn serve(arguments: &[&str]) -> crate::config::Sources {
    let all = ["oidc-proxy", "serve"].iter().chain(arguments);
    match Cli::try_parse_from(all).unwrap().command {
        Command::Serve(flags) => flags.into_sources(Vec::new()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn flags_are_taken_as_they_are() {
    let flags = serve(&[
        "--allow-any-user",
        "--production=false",
        "--allow-group",
        "a b",
        "--allow-group=c",
        "--listen=first",
        "--listen=last",
        "--client-secret-file=/x",
    ])
    .flags;
    let value = |name| -> Vec<&str> { flags[name].iter().map(|value| value.as_str()).collect() };
    assert_eq!(value("allow-any-user"), ["true"]);
    assert_eq!(value("production"), ["false"]);
    assert_eq!(value("allow-group"), ["a b", "c"]);
    assert_eq!(value("listen"), ["last"]);
    assert_eq!(value("client-secret-file"), ["/x"]);
    assert_eq!(flags.len(), 5);
}

#[test]
fn what_is_made_at_random_may_begin_with_a_hyphen() {
    let parse = |arguments: &[&str]| {
        let all = ["oidc-proxy"].iter().chain(arguments);
        Cli::try_parse_from(all).unwrap_or_else(|error| panic!("{arguments:?}: {error}")).command
    };
    let ended = parse(&["sessions", "revoke", "--id", "-e58fNG0", "--offline"]);
    assert!(format!("{ended:?}").contains("-e58fNG0"), "{ended:?}");
    parse(&["sessions", "revoke", "--user", "-e58fNG0", "--offline"]);
    parse(&["clients", "list", "--cursor", "-e58fNG0", "--json"]);
    let retired = parse(&["keys", "retire", "signing", "-e58fNG0", "--force"]);
    assert!(format!("{retired:?}").contains("force: true"), "{retired:?}");
    let promoted = parse(&["keys", "promote", "signing", "--config", "proxy.toml"]);
    assert!(format!("{promoted:?}").contains("id: None"), "{promoted:?}");
    let flags = serve(&["--jwt-signing-key", "-e58fNG0", "--production=false"]).flags;
    assert_eq!(flags["jwt-signing-key"][0].as_str(), "-e58fNG0");
    assert_eq!(flags["production"][0].as_str(), "false");
}

#[test]
fn secrets_among_the_flags_are_not_shown() {
    let arguments = ["oidc-proxy", "serve", "--client-secret", "hush"];
    let cli = Cli::try_parse_from(arguments).unwrap();
    assert!(!format!("{cli:?}").contains("hush"), "{cli:?}");
}

#[test]
fn every_setting_is_in_the_help_with_its_variable() {
    let mut command = Cli::command();
    let help = command.find_subcommand_mut("serve").unwrap().render_long_help().to_string();
    for name in Name::all().chain([CONFIG.own_name()]) {
        assert!(
            help.contains(&format!("{} <", name.flag()))
                || help.contains(&format!("{}[", name.flag())),
            "{help}"
        );
        assert!(help.contains(&format!("[env: {}]", name.environment())), "{help}");
    }
}

#[cfg(feature = "demo")]
mod demo {
    use std::time::Duration;

    use super::*;

    fn parse(arguments: &[&str]) -> DemoOptions {
        let all = ["oidc-proxy", "demo"].iter().chain(arguments);
        match Cli::try_parse_from(all).unwrap().command {
            Command::Demo(options) => *options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_needs_to_be_given() {
        let options = parse(&[]);
        assert_eq!((options.port, options.idp_port, options.mcp_port), (8000, 9000, 9001));
        assert_eq!(options.keep, None);
        assert_eq!(options.lifetimes.proxy(), oidc_proxy::Lifetimes::default());
        assert_eq!(options.lifetimes.provider(), dev_idp::Lifetimes::default());
    }

    #[test]
    fn lifetimes_can_be_given_and_are_not_in_the_help() {
        let options =
            parse(&["--access-token-lifetime", "2s", "--idp-access-token-lifetime", "3s"]);
        assert_eq!(options.lifetimes.proxy().access_token, Duration::from_secs(2));
        assert_eq!(options.lifetimes.provider().access_token, Duration::from_secs(3));

        let mut command = Cli::command();
        let help = command.find_subcommand_mut("demo").unwrap().render_long_help().to_string();
        assert!(help.contains("--keep") && !help.contains("lifetime"), "{help}");
    }
}
