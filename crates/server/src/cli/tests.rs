use std::time::Duration;

use clap::CommandFactory;

use super::*;

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn help_fits_80_columns() {
    let mut command = Cli::command();
    command.build();
    let mut pages = vec![command.render_help(), command.render_long_help()];
    for subcommand in command.get_subcommands_mut() {
        pages.push(subcommand.render_help());
        pages.push(subcommand.render_long_help());
    }
    for page in pages {
        for line in page.to_string().lines() {
            assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
        }
    }
}

#[cfg(feature = "demo")]
mod demo {
    use super::*;

    fn parse(arguments: &[&str]) -> DemoOptions {
        let all = ["oidc-proxy", "demo"].iter().chain(arguments);
        let Command::Demo(options) = Cli::try_parse_from(all).unwrap().command;
        options
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
