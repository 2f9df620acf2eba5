//! What an operator may see: names and times, never a secret.

use serde::Serialize;

use crate::{
    access::vouched_email,
    client::ClientRecord,
    record::grant::{Grant, Phase},
};

/// One grant: who let which client do what, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GrantSummary {
    /// Names the grant, and is no secret.
    pub id: String,
    /// Whether it can be used.
    pub state: GrantState,
    /// The provider that vouched for the person.
    pub issuer: String,
    /// `sub` at that provider.
    pub subject: String,
    /// The person's address, if the provider has verified it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The client that acts for the person.
    pub client_id: String,
    /// How it called itself when it registered: nobody verified that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// Separated by spaces.
    pub scopes: String,
    /// The resource that it may use.
    pub resource: String,
    /// The login, in Unix seconds.
    pub created_at: u64,
    /// The last redemption or rotation, in Unix seconds.
    pub used_at: u64,
    /// The grant ends here at the latest, in Unix seconds; sooner if it is not used.
    pub ends_at: u64,
}

/// Where a grant stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GrantState {
    /// The person has logged in; the client has not redeemed its code yet.
    Pending,
    /// The client has its tokens.
    Active,
}

/// One registered client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClientSummary {
    /// Its id.
    pub id: String,
    /// How it called itself: nobody verified that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it may be sent answers.
    pub redirect_uris: Vec<String>,
    /// Whether it has a secret.
    pub confidential: bool,
    /// When it registered, in Unix seconds.
    pub registered_at: u64,
    /// When it last got tokens, to the day, in Unix seconds; absent if it never did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_at: Option<u64>,
}

impl GrantSummary {
    pub(super) fn of(grant: &Grant) -> Self {
        Self {
            id: grant.id.clone(),
            state: match grant.phase {
                Phase::Pending => GrantState::Pending,
                Phase::Active { .. } => GrantState::Active,
            },
            issuer: grant.issuer.clone(),
            subject: grant.subject.clone(),
            email: vouched_email(&grant.claims).map(str::to_owned),
            client_id: grant.client.id.clone(),
            client_name: grant.client.name.clone(),
            scopes: grant.scopes.to_string(),
            resource: grant.resource.clone(),
            created_at: grant.created_at,
            used_at: grant.used_at,
            ends_at: grant.not_after,
        }
    }
}

impl ClientSummary {
    pub(super) fn of(client: ClientRecord) -> Self {
        Self {
            id: client.client_id,
            name: client.client_name,
            redirect_uris: client.redirect_uris,
            confidential: client.secret_hash.is_some(),
            registered_at: client.issued_at,
            used_at: client.used,
        }
    }
}
