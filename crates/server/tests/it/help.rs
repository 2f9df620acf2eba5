//! What somebody sees who does not know the program.

use crate::process::run;

#[test]
fn help_is_for_80_columns_and_names_the_way_in() {
    for arguments in [&["--help"][..], &["help", "demo"], &["demo", "--help"]] {
        let output = run(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{arguments:?}");
        assert!(text.contains("demo") && text.contains("OIDC"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}

#[test]
fn without_a_subcommand_the_usage_is_shown() {
    let output = run::<&str>([]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("Usage: oidc-proxy"));
}
