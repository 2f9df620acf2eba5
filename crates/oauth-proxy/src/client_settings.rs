//! What holds for some clients instead of for all (D5).

use std::{fmt, time::Duration};

use url::Url;

use crate::{
    config::{Config, Lifetimes},
    record::grant::Grant,
    redirect_uri,
};

/// Settings for one client, for those of one site, or for all that have a secret or a key.
///
/// What they do not say holds for these clients as for all others.
///
/// ```
/// use std::time::Duration;
///
/// use oauth_proxy::ClientSettings;
///
/// // A site that loses answers again and again.
/// let patient = ClientSettings::of_redirect_host("app.example.com")
///     .refresh_grace(Duration::from_mins(30));
/// // A program that cannot keep a new refresh token; it has a secret.
/// let fixed = ClientSettings::of_client("mcp_0123456789").without_rotation();
/// # let _ = (patient, fixed);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "settings do nothing until a builder has them"]
pub struct ClientSettings {
    whose: Whose,
    rotation: Rotation,
    refresh_grace: Option<Duration>,
    refresh_absolute: Option<Duration>,
}

/// Which clients.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Whose {
    Client(String),
    RedirectHost(String),
    Confidential,
}

/// Whose refresh tokens change at every use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rotation {
    Everybodys,
    PublicClients,
    Nobodys,
}

impl ClientSettings {
    /// The longest grace window of some clients, against
    /// [`Lifetimes::MAX_REFRESH_GRACE`] of all: a stolen refresh token works that much longer.
    pub const MAX_REFRESH_GRACE: Duration = Duration::from_hours(1);

    /// The longest life of a login whose refresh token neither rotates nor is bound to a secret:
    /// whoever steals it is noticed by nobody.
    pub const MAX_WITHOUT_ROTATION: Duration = Duration::from_hours(30 * 24);

    /// Of the client with this id.
    pub fn of_client(id: impl Into<String>) -> Self {
        Self::of(Whose::Client(id.into()))
    }

    /// Of the logins whose code went to an `https` redirect URI on this host and the default port,
    /// whichever client asked: only who answers there got it.
    ///
    /// A host name as URL parsers write it: lower case, no port. Loopback is refused: every program
    /// on a person's computer can listen there.
    pub fn of_redirect_host(host: impl Into<String>) -> Self {
        Self::of(Whose::RedirectHost(host.into()))
    }

    /// Of all clients that authenticate, with a secret or with a key.
    ///
    /// That says nothing about who they are: anybody can register for a secret, or serve a document
    /// with a key. Give them what a stolen token alone is no use for, and nothing that needs trust.
    pub fn of_confidential_clients() -> Self {
        Self::of(Whose::Confidential)
    }

    fn of(whose: Whose) -> Self {
        Self { whose, rotation: Rotation::Everybodys, refresh_grace: None, refresh_absolute: None }
    }

    /// For how long a just rotated refresh token still leads to its successor. At most
    /// [`MAX_REFRESH_GRACE`](Self::MAX_REFRESH_GRACE).
    pub fn refresh_grace(mut self, grace: Duration) -> Self {
        self.refresh_grace = Some(grace);
        self
    }

    /// When every login of these clients ends. At most what holds for all.
    pub fn refresh_absolute(mut self, absolute: Duration) -> Self {
        self.refresh_absolute = Some(absolute);
        self
    }

    /// A confidential client keeps its refresh token: it is bound to the secret. A public one
    /// rotates all the same.
    pub fn without_rotation(mut self) -> Self {
        self.rotation = Rotation::PublicClients;
        self
    }

    /// A public client keeps its refresh token as well.
    ///
    /// Whoever steals that token can use it beside its owner until the login ends, and nobody
    /// notices. So the login must end within
    /// [`MAX_WITHOUT_ROTATION`](Self::MAX_WITHOUT_ROTATION): say
    /// [`refresh_absolute`](Self::refresh_absolute), unless it does so for all clients.
    pub fn danger_public_without_rotation(mut self) -> Self {
        self.rotation = Rotation::Nobodys;
        self
    }

    /// Whether they give up what notices a thief: worth a line in the operator's log.
    pub fn is_dangerous(&self) -> bool {
        self.rotation == Rotation::Nobodys
    }

    fn complaint(&self, lifetimes: &Lifetimes) -> Option<String> {
        match &self.whose {
            Whose::Client(id) if id.is_empty() => return Some("its id is empty".to_owned()),
            Whose::RedirectHost(host) => {
                if let Some(why) = host_complaint(host) {
                    return Some(why.to_owned());
                }
            }
            Whose::Client(_) | Whose::Confidential => {}
        }
        if let Some(grace) = self.refresh_grace.filter(|grace| *grace > Self::MAX_REFRESH_GRACE) {
            let most = Self::MAX_REFRESH_GRACE;
            return Some(format!("its grace window is {grace:?}; it must be at most {most:?}"));
        }
        if let Some(absolute) = self.refresh_absolute {
            let most = lifetimes.refresh_absolute;
            if !(Duration::from_secs(1)..=most).contains(&absolute) {
                return Some(format!(
                    "its logins end after {absolute:?}; that must be between 1s and what holds \
                     for all clients, {most:?}"
                ));
            }
        }
        if self.rotation != Rotation::Nobodys {
            return None;
        }
        if self.whose == Whose::Confidential {
            return Some("they are not public; turn rotation off without danger".to_owned());
        }
        let absolute = self.refresh_absolute.unwrap_or(lifetimes.refresh_absolute);
        (absolute > Self::MAX_WITHOUT_ROTATION).then(|| {
            format!(
                "without rotation the logins of a public client must end after {:?} at most, not \
                 after {absolute:?}: give them an earlier absolute end",
                Self::MAX_WITHOUT_ROTATION
            )
        })
    }
}

/// What keeps a text from being the host of a redirect URI that only one party answers at.
fn host_complaint(host: &str) -> Option<&'static str> {
    let uri = format!("https://{host}/");
    if Url::parse(&uri).ok().as_ref().and_then(Url::host_str) != Some(host) {
        return Some("it is no host name like app.example.com, in lower case and without a port");
    }
    redirect_uri::is_loopback(&uri)
        .then_some("every program on a person's computer can listen on loopback")
}

/// Whose settings they are.
impl fmt::Display for ClientSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.whose.fmt(f)
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(id) => write!(f, "the client {id:?}"),
            Self::RedirectHost(host) => write!(f, "the redirect host {host:?}"),
            Self::Confidential => f.write_str("all confidential clients"),
        }
    }
}

/// Everything that holds for some clients, checked.
#[derive(Debug, Default)]
pub(crate) struct ClientRules(Vec<ClientSettings>);

/// How the refresh tokens of one grant behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RefreshRules {
    /// Whether each use brings a new one.
    pub(crate) rotates: bool,
    /// How long a retired one leads to its successor.
    pub(crate) grace: Duration,
    /// How long after the login all of it ends.
    pub(crate) absolute: Duration,
}

impl ClientRules {
    /// # Errors
    ///
    /// Whose settings cannot be used, and why.
    pub(crate) fn new(
        settings: Vec<ClientSettings>,
        lifetimes: &Lifetimes,
    ) -> Result<Self, (String, String)> {
        for (index, one) in settings.iter().enumerate() {
            let twice = settings[..index].iter().any(|other| other.whose == one.whose);
            let complaint = if twice {
                Some("they are given twice".to_owned())
            } else {
                one.complaint(lifetimes)
            };
            if let Some(why) = complaint {
                return Err((one.to_string(), why));
            }
        }
        Ok(Self(settings))
    }

    /// The most specific settings for this grant.
    fn find(&self, grant: &Grant, is_confidential: bool) -> Option<&ClientSettings> {
        let of = |fits: &dyn Fn(&Whose) -> bool| self.0.iter().find(|one| fits(&one.whose));
        of(&|whose| matches!(whose, Whose::Client(id) if *id == grant.client.id))
            .or_else(|| {
                let host = grant.redirect_host.as_ref()?;
                of(&|whose| matches!(whose, Whose::RedirectHost(known) if known == host))
            })
            .or_else(|| of(&|whose| is_confidential && *whose == Whose::Confidential))
    }
}

impl Config {
    /// How the refresh tokens of this grant behave, now that its client authenticates with a
    /// secret or does not.
    pub(crate) fn refresh_rules(&self, grant: &Grant, is_confidential: bool) -> RefreshRules {
        let settings = self.client_rules.find(grant, is_confidential);
        let rotation = settings.map_or(Rotation::Everybodys, |settings| settings.rotation);
        let lifetimes = &self.lifetimes;
        RefreshRules {
            rotates: match rotation {
                Rotation::Everybodys => true,
                Rotation::PublicClients => !is_confidential,
                Rotation::Nobodys => false,
            },
            grace: settings
                .and_then(|settings| settings.refresh_grace)
                .unwrap_or(lifetimes.refresh_grace),
            absolute: settings
                .and_then(|settings| settings.refresh_absolute)
                .unwrap_or(lifetimes.refresh_absolute),
        }
    }
}
