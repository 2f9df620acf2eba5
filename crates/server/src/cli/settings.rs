//! The flags of `serve`, made from the table of settings.

use std::{collections::BTreeMap, ffi::OsString, fmt};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, ValueHint};
use zeroize::Zeroizing;

use crate::config::{
    Sources,
    setting::{CONFIG, Fallback, Kind, Name, SETTINGS, Setting},
};

/// What was given as flags. Nothing is judged here: the complaints are to come all at once.
#[derive(Clone)]
pub(crate) struct SettingFlags(BTreeMap<&'static str, Vec<Zeroizing<String>>>);

impl SettingFlags {
    /// Together with the environment.
    pub(crate) fn into_sources(self, environment: Vec<(OsString, OsString)>) -> Sources {
        Sources { flags: self.0, environment }
    }
}

/// Values may be secrets.
impl fmt::Debug for SettingFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SettingFlags").field(&self.0.keys()).finish()
    }
}

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let arguments = [&CONFIG].into_iter().chain(SETTINGS);
        command.args(arguments.flat_map(|setting| {
            setting.names().map(|name| argument(setting, name)).collect::<Vec<_>>()
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let names = [CONFIG.own_name()].into_iter().chain(Name::all());
        let given = names.filter_map(|name| {
            let values = matches.get_many::<String>(name.0)?;
            Some((name.0, values.cloned().map(Zeroizing::new).collect()))
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn argument(setting: &Setting, name: Name) -> Arg {
    let is_file = name != setting.own_name();
    let own = setting.own_name().flag();
    let (value, help) = if is_file {
        ("FILE", format!("a file that holds what {own} would"))
    } else {
        (setting.value, setting.help.to_owned())
    };
    let fallback = match setting.fallback {
        Fallback::Is(value) => format!(" [default: {value}]"),
        Fallback::Required => " [required]".to_owned(),
        Fallback::Means(_) => String::new(),
    };
    let long = format!("{help}\n[env: {}]{fallback}", name.environment());
    let argument = Arg::new(name.0)
        .long(name.0)
        .value_name(value)
        .help_heading((setting.name != CONFIG.name).then(|| setting.group.heading()))
        .help(help)
        .long_help(long)
        // A key is base64url, of which any character may come first.
        .allow_hyphen_values(setting.is_secret() && !is_file);
    match setting.kind {
        Kind::Switch => argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .action(ArgAction::Set),
        Kind::List | Kind::Phrases | Kind::Items => argument.action(ArgAction::Append),
        _ if is_file || setting.name == CONFIG.name => {
            argument.value_hint(ValueHint::FilePath).action(ArgAction::Set)
        }
        _ => argument.action(ArgAction::Set),
    }
}
