//! What can be configured, and the checks that a configuration must pass.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use url::Url;

use crate::{
    Clock, DevIdp, Error, Inner, SigningKey, file, routes::Endpoints, stats::Counters, store::Store,
};

/// A client that the administrator registered by hand; there is no dynamic registration.
#[derive(Clone)]
pub struct ClientConfig {
    /// The `client_id`.
    pub client_id: String,
    /// With a secret the client is confidential (`client_secret_basic` or `client_secret_post`);
    /// without one it is public and must use PKCE.
    pub client_secret: Option<String>,
    /// Where codes may be sent: compared as exact strings.
    pub redirect_uris: Vec<String>,
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("client_id", &self.client_id)
            .field("confidential", &self.client_secret.is_some())
            .field("redirect_uris", &self.redirect_uris)
            .finish()
    }
}

/// Somebody who can log in.
#[derive(Clone)]
pub struct User {
    /// The `sub` claim: stable, opaque, not the name typed at the login page.
    pub sub: String,
    /// What is typed at the login page; also the `preferred_username` claim.
    pub username: String,
    /// What is typed beside it.
    pub password: String,
    /// The `email` claim (scope `email`).
    pub email: String,
    /// The `email_verified` claim (scope `email`).
    pub email_verified: bool,
    /// The `name` claim (scope `profile`).
    pub name: String,
    /// The `groups` claim (scope `profile` or `groups`).
    pub groups: Vec<String>,
}

impl User {
    /// The first default user: verified e-mail, two groups.
    pub fn alice() -> Self {
        Self {
            sub: "user-alice".to_owned(),
            username: "alice".to_owned(),
            password: "wonderland".to_owned(),
            email: "alice@example.com".to_owned(),
            email_verified: true,
            name: "Alice Liddell".to_owned(),
            groups: vec!["staff".to_owned(), "admins".to_owned()],
        }
    }

    /// The second default user: e-mail not verified, one group.
    pub fn bob() -> Self {
        Self {
            sub: "user-bob".to_owned(),
            username: "bob".to_owned(),
            password: "can-we-fix-it".to_owned(),
            email: "bob@example.com".to_owned(),
            email_verified: false,
            name: "Bob Baumeister".to_owned(),
            groups: vec!["staff".to_owned()],
        }
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("username", &self.username).finish_non_exhaustive()
    }
}

/// How long things live; whole seconds count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Authorization codes. Default: 1 minute.
    pub code: Duration,
    /// ID tokens. Default: 1 hour.
    pub id_token: Duration,
    /// Access tokens. Default: 1 hour.
    pub access_token: Duration,
    /// Refresh tokens, counted from the login and not extended by rotation. Default: 30 days.
    pub refresh_token: Duration,
    /// Single sign-on sessions, where [`Builder::single_sign_on`] is on. Default: 8 hours.
    pub session: Duration,
    /// A login page, from display to submission. Default: 15 minutes.
    pub login_page: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            code: Duration::from_mins(1),
            id_token: Duration::from_hours(1),
            access_token: Duration::from_hours(1),
            refresh_token: Duration::from_hours(30 * 24),
            session: Duration::from_hours(8),
            login_page: Duration::from_mins(15),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) issuer: String,
    pub(crate) clients: Vec<ClientConfig>,
    pub(crate) users: Vec<User>,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) access_token_audience: String,
    pub(crate) single_sign_on: bool,
    pub(crate) require_offline_access: bool,
    pub(crate) secure_cookies: bool,
}

impl Config {
    pub(crate) fn client(&self, client_id: &str) -> Option<&ClientConfig> {
        self.clients.iter().find(|client| client.client_id == client_id)
    }

    pub(crate) fn user(&self, sub: &str) -> Option<&User> {
        self.users.iter().find(|user| user.sub == sub)
    }
}

/// Configuration of a [`DevIdp`]: see [`DevIdp::builder`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder {
    issuer: String,
    clients: Vec<ClientConfig>,
    users: Vec<User>,
    lifetimes: Lifetimes,
    access_token_audience: Option<String>,
    single_sign_on: bool,
    require_offline_access: bool,
    state_dir: Option<PathBuf>,
    signing_key: Option<SigningKey>,
    clock: Clock,
}

impl Builder {
    #[expect(clippy::disallowed_methods, reason = "the default clock")]
    pub(crate) fn new() -> Self {
        Self {
            issuer: String::new(),
            clients: Vec::new(),
            users: Vec::new(),
            lifetimes: Lifetimes::default(),
            access_token_audience: None,
            single_sign_on: false,
            require_offline_access: false,
            state_dir: None,
            signing_key: None,
            clock: Arc::new(SystemTime::now),
        }
    }

    /// The issuer: an `http` or `https` URL without trailing slash, query or fragment.
    /// Its path, if any, prefixes every route.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = issuer.into();
        self
    }

    /// Adds a client. At least one is needed.
    pub fn client(mut self, client: ClientConfig) -> Self {
        self.clients.push(client);
        self
    }

    /// Adds a user. Without any, [`User::alice`] and [`User::bob`] can log in.
    pub fn user(mut self, user: User) -> Self {
        self.users.push(user);
        self
    }

    /// How long codes, tokens and pages live.
    pub fn lifetimes(mut self, lifetimes: Lifetimes) -> Self {
        self.lifetimes = lifetimes;
        self
    }

    /// The `aud` claim of access tokens. Default: the issuer.
    pub fn access_token_audience(mut self, audience: impl Into<String>) -> Self {
        self.access_token_audience = Some(audience.into());
        self
    }

    /// Whether a login is remembered in a cookie, so that the next authorization request asks
    /// nothing. Default: no, every request asks.
    pub fn single_sign_on(mut self, on: bool) -> Self {
        self.single_sign_on = on;
        self
    }

    /// Whether refresh tokens are given only for the scope `offline_access`, as Auth0 and Okta
    /// do. Default: no, every code brings one.
    pub fn require_offline_access(mut self, on: bool) -> Self {
        self.require_offline_access = on;
        self
    }

    /// Keeps the signing key, refresh tokens and single sign-on sessions in this directory
    /// (created if absent; files of mode 0600). Without it all ends with the process.
    pub fn state_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(directory.into());
        self
    }

    /// Signs with this key, instead of the one in the state directory or a new one.
    pub fn signing_key(mut self, key: SigningKey) -> Self {
        self.signing_key = Some(key);
        self
    }

    /// Takes the time from this clock. Default: the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Checks the configuration, makes or loads the signing key and loads the state.
    ///
    /// Making a key blocks for some tenths of a second.
    ///
    /// # Errors
    /// [`Error::Config`] says what is wrong with the configuration; [`Error::File`] and
    /// [`Error::State`] tell of the state directory, [`Error::Key`] of the signing key.
    pub fn build(self) -> Result<DevIdp, Error> {
        let issuer = checked_issuer(&self.issuer)?;
        check_clients(&self.clients)?;
        let users =
            if self.users.is_empty() { vec![User::alice(), User::bob()] } else { self.users };
        check_users(&users)?;

        let signing_key = match (self.signing_key, &self.state_dir) {
            (Some(key), _) => key,
            (None, Some(directory)) => file::signing_key(directory)?,
            (None, None) => SigningKey::generate()?,
        };
        let now = (self.clock)();
        let store = match &self.state_dir {
            Some(directory) => Store::open(directory, now)?,
            None => Store::in_memory(),
        };
        let config = Config {
            access_token_audience: self
                .access_token_audience
                .unwrap_or_else(|| self.issuer.clone()),
            secure_cookies: issuer.scheme() == "https",
            issuer: self.issuer,
            clients: self.clients,
            users,
            lifetimes: self.lifetimes,
            single_sign_on: self.single_sign_on,
            require_offline_access: self.require_offline_access,
        };
        Ok(DevIdp {
            inner: Arc::new(Inner {
                endpoints: Endpoints::new(&config.issuer, &issuer),
                config,
                signing_key,
                store: Mutex::new(store),
                counters: Counters::default(),
                clock: self.clock,
                #[cfg(feature = "misbehave")]
                misbehave: crate::Misbehave::default(),
            }),
        })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("issuer", &self.issuer)
            .field("clients", &self.clients)
            .field("users", &self.users)
            .finish_non_exhaustive()
    }
}

fn checked_issuer(issuer: &str) -> Result<Url, Error> {
    let refuse = |why: &str| Err(Error::Config(format!("the issuer `{issuer}` {why}")));
    let Ok(url) = Url::parse(issuer) else { return refuse("is not a URL") };
    if !matches!(url.scheme(), "http" | "https") {
        return refuse("is neither http nor https");
    }
    if issuer.ends_with('/') {
        return refuse("ends with a slash");
    }
    if issuer.contains(['?', '#', '@', '{', '}']) {
        return refuse("has a query, a fragment, a user name or braces");
    }
    if url.path().contains([':', '*', ';']) {
        return refuse("has `:`, `*` or `;` in its path");
    }
    // Routes are made from the parsed path, published URLs from the string: both must agree.
    if url.as_str().trim_end_matches('/') != issuer {
        return refuse(&format!(
            "is not in its plain form, `{}`",
            url.as_str().trim_end_matches('/')
        ));
    }
    Ok(url)
}

fn check_clients(clients: &[ClientConfig]) -> Result<(), Error> {
    if clients.is_empty() {
        return Err(Error::Config("no client is configured".to_owned()));
    }
    for (index, client) in clients.iter().enumerate() {
        let id = &client.client_id;
        if id.is_empty() || clients[..index].iter().any(|other| other.client_id == *id) {
            return Err(Error::Config(format!("the client id `{id}` is empty or used twice")));
        }
        if client.client_secret.as_deref() == Some("") {
            return Err(Error::Config(format!("the secret of client `{id}` is empty")));
        }
        for uri in &client.redirect_uris {
            if Url::parse(uri).is_err() || uri.contains('#') {
                return Err(Error::Config(format!(
                    "the redirect URI `{uri}` of client `{id}` is not an absolute URL without fragment"
                )));
            }
        }
    }
    Ok(())
}

fn check_users(users: &[User]) -> Result<(), Error> {
    for (index, user) in users.iter().enumerate() {
        let earlier = &users[..index];
        if earlier.iter().any(|other| other.sub == user.sub || other.username == user.username) {
            return Err(Error::Config(format!(
                "the user name `{}` or its subject is used twice",
                user.username
            )));
        }
    }
    Ok(())
}
