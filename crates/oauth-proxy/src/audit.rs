//! What an auditor may ask for later: who did what with which client, from where, and how it ended.

use std::{fmt, net::IpAddr};

use serde::{Serialize, Serializer};

use crate::{
    app::App, context, measure, provider::Identity, record::grant::Grant,
    record::transaction::Authorization,
};

/// Takes the events that an auditor may ask for later.
///
/// A library writes no files: what becomes of an event, and what time it gets, is decided here.
pub trait AuditSink: Send + Sync + fmt::Debug + 'static {
    /// Takes one event, at the moment at which it happens.
    ///
    /// Called in the middle of requests: it must not block. An event that cannot be kept is the
    /// sink's to report; the request goes on.
    fn record(&self, event: &AuditEvent);
}

/// One event. It never holds a secret: no code, token, state, cookie or claim.
///
/// Serialized as one flat object without the members that are absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AuditEvent {
    /// What happened.
    #[serde(rename = "event")]
    pub action: AuditAction,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// Why it ended so, or what was the matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who: the provider's `sub` of the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The provider that vouched for the subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The id of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// What the client calls itself: a stranger's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// The resource that the client asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Joins the steps of one login, from the consent page to the redemption of its code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// Joins everything about one grant, from its making to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// The request in which it happened; the `X-Request-Id` of its response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// From where: the address of whoever sent that request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
}

macro_rules! actions {
    ($($(#[$doc:meta])* $action:ident = $name:literal, $outcome:ident, $says:literal;)*) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum AuditAction {
            $($(#[$doc])* $action,)*
        }

        impl AuditAction {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$action),*];

            /// Its name in logs, metrics and audit files.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$action => $name,)* }
            }

            /// How it ends, whenever it happens.
            pub fn outcome(self) -> AuditOutcome {
                match self { $(Self::$action => AuditOutcome::$outcome,)* }
            }

            /// It as a sentence.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$action => $says,)* }
            }
        }
    };
}

actions! {
    /// A client registered itself.
    ClientRegistered = "client_registered", Success, "a client registered itself";
    /// The person approved the client on the consent page.
    LoginApproved = "login_approved", Success, "a person approved a client";
    /// The person said no on the consent page.
    LoginDeclined = "login_declined", Denied, "a person did not approve a client";
    /// The rules do not let the person in (D10).
    LoginDenied = "login_denied", Denied, "the rules do not let this person in";
    /// The provider refused, its answer did not hold up, or another browser came back with it.
    LoginRefused = "login_refused", Denied, "a login came to nothing";
    /// The login succeeded and made a grant, which waits for its code to be redeemed.
    GrantCreated = "grant_created", Success, "a person logged in";
    /// The client redeemed its code: the grant is active.
    CodeRedeemed = "code_redeemed", Success, "a code was redeemed";
    /// A code was redeemed again: the grant is revoked (OAuth 2.1 §4.1.3).
    CodeReplayed = "code_replayed", Alarm, "a code was used twice";
    /// A refresh token was rotated.
    Refreshed = "refreshed", Success, "a refresh token was rotated";
    /// A refresh token that was rotated a moment ago led to its successor (D5).
    RefreshRepeated = "refresh_repeated", Success, "a rotated refresh token led to its successor";
    /// A refresh token that was rotated long ago was used: the grant is revoked (D5).
    RefreshReplayed = "refresh_replayed", Alarm, "a refresh token was used again";
    /// A genuine refresh token is newer than the store knows: the store lost a write (D5).
    RefreshAhead = "refresh_ahead", Alarm, "a refresh token is ahead of the store";
    /// The provider ended the session when it was asked to renew it.
    ProviderEnded = "provider_ended", Denied, "the provider ended a session";
    /// What the provider said at a renewal no longer lets the person in (D10).
    AccessWithdrawn = "access_withdrawn", Denied, "a person may no longer use a grant";
    /// The least recently used grant made room for a new one (D4).
    GrantEvicted = "grant_evicted", Success, "the least recently used grant made room";
    /// A grant and every token of it ended; the reason says at whose wish.
    GrantRevoked = "grant_revoked", Success, "a grant was revoked";
    /// An operator ends every grant of a person, of a client, or of everybody, and every login of
    /// theirs in flight.
    OperatorRevoked = "operator_revoked", Success, "an operator ends grants";
    /// A client was deleted, and its grants with it.
    ClientDeleted = "client_deleted", Success, "a client was deleted";
    /// A stored record did not open with our keys, or could not be read: it counts as absent (D8).
    RecordUnreadable = "record_unreadable", Alarm, "a stored record could not be read";
}

impl Serialize for AuditAction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AuditOutcome {
    /// As whoever began it wished.
    Success,
    /// Somebody was not let in, or no longer.
    Denied,
    /// Something that should not happen: a copied token, or storage that lost or changed something.
    Alarm,
}

impl AuditEvent {
    pub(crate) fn new(action: AuditAction) -> Self {
        Self {
            action,
            outcome: action.outcome(),
            reason: None,
            subject: None,
            issuer: None,
            client: None,
            client_name: None,
            resource: None,
            login: None,
            grant: None,
            request: context::request_id(),
            peer: context::peer(),
        }
    }

    /// A record in `collection` did not open; for whoever puts the storage together, which sees it
    /// first.
    pub fn record_unreadable(collection: &str) -> Self {
        Self::new(AuditAction::RecordUnreadable).reason(format!("in the collection `{collection}`"))
    }

    pub(crate) fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    pub(crate) fn client(mut self, id: &str, name: Option<&str>) -> Self {
        self.client = Some(id.to_owned());
        self.client_name = name.map(str::to_owned);
        self
    }

    pub(crate) fn authorization(mut self, authorization: &Authorization) -> Self {
        self.login = Some(authorization.login.clone());
        self.resource = Some(authorization.resource.clone());
        self.client(&authorization.client.id, authorization.client.name.as_deref())
    }

    pub(crate) fn identity(self, identity: &Identity) -> Self {
        self.person(Some(&identity.issuer), &identity.subject)
    }

    pub(crate) fn person(mut self, issuer: Option<&str>, subject: &str) -> Self {
        self.issuer = issuer.map(str::to_owned);
        self.subject = Some(subject.to_owned());
        self
    }

    pub(crate) fn login(mut self, login: &str) -> Self {
        self.login = Some(login.to_owned());
        self
    }

    pub(crate) fn grant(mut self, grant: &Grant) -> Self {
        self.grant = Some(grant.id.clone());
        self.subject = Some(grant.subject.clone());
        self.issuer = Some(grant.issuer.clone());
        self.resource = Some(grant.resource.clone());
        self.client(&grant.client.id, grant.client.name.as_deref())
    }

    /// Counts the event and says it in the log, without handing it to a sink.
    ///
    /// For whoever puts the storage together and has a sink of its own.
    pub fn announce(&self) {
        measure::event(self.action);
        let (event, reason) = (self.action.as_str(), self.reason.as_deref());
        let (subject, client) = (self.subject.as_deref(), self.client.as_deref());
        let (login, grant) = (self.login.as_deref(), self.grant.as_deref());
        let peer = self.peer.map(tracing::field::display);
        let sentence = self.action.sentence();
        if self.outcome == AuditOutcome::Alarm {
            tracing::warn!(
                target: "audit", event, subject, client, login, grant, reason, peer, "{sentence}"
            );
        } else {
            tracing::info!(
                target: "audit", event, subject, client, login, grant, reason, peer, "{sentence}"
            );
        }
    }
}

impl App {
    /// Counts an event, says it in the log and hands it to the sink.
    pub(crate) fn audit(&self, event: &AuditEvent) {
        tell(self.audit.as_deref(), event);
    }
}

/// Counts an event, says it in the log and hands it to the sink if there is one.
pub(crate) fn tell(sink: Option<&dyn AuditSink>, event: &AuditEvent) {
    event.announce();
    if let Some(sink) = sink {
        sink.record(event);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_action_has_a_name_of_its_own() {
        let names: HashSet<_> = AuditAction::ALL.iter().map(|action| action.as_str()).collect();
        assert_eq!(names.len(), AuditAction::ALL.len());
        let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(names.into_iter().all(plain));
    }

    #[test]
    fn an_event_is_one_flat_object_without_what_is_absent() {
        let event = AuditEvent::record_unreadable("grants");
        let json = r#"{"event":"record_unreadable","outcome":"alarm","reason":"in the collection `grants`"}"#;
        assert_eq!(serde_json::to_string(&event).unwrap(), json);
    }
}
