//! The flags of `sessions` and `clients`.

use clap::{ArgGroup, ArgMatches, Args, Command, Error, FromArgMatches, Subcommand};

use super::SettingFlags;
use crate::config::setting::{ADMIN_LISTEN, ADMIN_TOKEN_FILE, CONFIG, STORAGE};

#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// List sessions: who is logged in with which client
    #[command(next_line_help = true)]
    List {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        paging: Paging,
        #[command(flatten)]
        place: Place,
    },

    /// End sessions and every token of them, and logins in flight
    #[command(next_line_help = true)]
    #[command(override_usage = "oidc-proxy sessions revoke <--user|--client|--id|--all> [OPTIONS]")]
    #[command(group = ArgGroup::new("which").required(true).args(["user", "client", "all", "id"]))]
    Revoke {
        #[command(flatten)]
        whose: Whose,
        /// All sessions of everybody
        #[arg(long)]
        all: bool,
        /// One session, by the id that `list` shows
        // Any character of base64url may come first.
        #[arg(long, value_name = "SESSION", allow_hyphen_values = true)]
        id: Option<String>,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClientsCommand {
    /// List registered clients
    #[command(next_line_help = true)]
    List {
        #[command(flatten)]
        paging: Paging,
        #[command(flatten)]
        place: Place,
    },

    /// Delete a client and end its sessions; the program has to register anew
    #[command(next_line_help = true)]
    Delete {
        /// The client's id
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

impl SessionsCommand {
    pub(crate) fn settings(&self) -> SettingFlags {
        let (Self::List { place, .. } | Self::Revoke { place, .. }) = self;
        place.settings.0.clone()
    }
}

impl ClientsCommand {
    pub(crate) fn settings(&self) -> SettingFlags {
        let (Self::List { place, .. } | Self::Delete { place, .. }) = self;
        place.settings.0.clone()
    }
}

/// Whose sessions are meant.
#[derive(Debug, Args)]
pub(crate) struct Whose {
    /// Those of one person: the provider's `sub`
    #[arg(long, value_name = "SUBJECT", conflicts_with = "client", allow_hyphen_values = true)]
    pub(crate) user: Option<String>,
    /// The provider of that person; with it they are found faster
    #[arg(long, value_name = "URL", requires = "user")]
    pub(crate) issuer: Option<String>,
    /// Those of one client, by its id
    #[arg(long, value_name = "CLIENT")]
    pub(crate) client: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Paging {
    /// Stop after so many, and say how to go on
    #[arg(long, value_name = "NUMBER")]
    pub(crate) limit: Option<usize>,
    /// Go on where an earlier list stopped
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) cursor: Option<String>,
}

/// Where the administration is, and how to answer.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Print JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// The server's admin listener; by default as the settings say
    #[arg(long, value_name = "URL", conflicts_with = "offline")]
    pub(crate) admin_url: Option<String>,
    /// Open the storage without a server, with all settings of `serve`
    #[arg(long)]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) settings: QuietSettings,
}

/// All settings of `serve`; the help shows only those that say where the administration is.
#[derive(Clone, Debug)]
pub(crate) struct QuietSettings(pub(crate) SettingFlags);

impl Args for QuietSettings {
    fn augment_args(command: Command) -> Command {
        let shown = [CONFIG.name, ADMIN_LISTEN.name, ADMIN_TOKEN_FILE.name, STORAGE.name];
        let own: Vec<_> = command.get_arguments().map(|arg| arg.get_id().clone()).collect();
        SettingFlags::augment_args(command).mut_args(|arg| {
            let id = arg.get_id();
            let quiet = !own.contains(id) && !shown.contains(&id.as_str());
            if quiet { arg.hide(true) } else { arg }
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for QuietSettings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        SettingFlags::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
