//! Administration: which grants and clients there are, and ending them.
//!
//! For an operator, behind whatever keeps others out; nothing here asks who is calling.
//! Everything is read page by page, so that a hundred thousand grants need no more memory than a
//! hundred.

mod cursor;
mod summary;

use std::sync::Arc;

use axum::{Router, middleware::from_fn_with_state};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{
    app::App,
    audit::{AuditAction, AuditEvent},
    cimd,
    client::ClientRecord,
    context,
    error::{ErrorCode, OAuthError},
    grants::{
        self, index,
        not_before::{self, Whose},
    },
    record::{
        grant::Grant,
        mark::{ByClient, BySubject},
    },
    store::{Found, Record, Result as StoreResult, Stored},
};

pub use self::{
    cursor::PageCursor,
    summary::{ClientSummary, GrantState, GrantSummary},
};

/// The most entries of one page: a few hundred kilobytes as JSON.
pub const MAX_PAGE: usize = 1000;

/// Keys that are read at once while many grants are looked through.
const SCAN_PAGE: usize = 200;

/// Grants that are revoked at the same time: enough to hide a remote store's latency, few enough
/// to leave it to those who log in meanwhile.
const REVOCATIONS_AT_ONCE: usize = 16;

/// Which grants are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrantFilter {
    /// Every grant there is.
    All,
    /// Those of one person.
    User {
        /// The provider that vouches for the subject; any, if absent. With it, the grants are found
        /// by an index; without it, all grants are looked through.
        issuer: Option<String>,
        /// `sub`, exactly.
        subject: String,
    },
    /// Those of one client, by its id.
    Client(String),
}

/// Some of the grants that were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GrantPage {
    /// In no particular order; one that comes or goes meanwhile may be here or not.
    pub grants: Vec<GrantSummary>,
    /// Where to go on; `None` at the end. There may be more although `grants` is empty.
    pub next: Option<PageCursor>,
}

/// Some of the registered clients.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientPage {
    /// In no particular order; one that comes or goes meanwhile may be here or not.
    pub clients: Vec<ClientSummary>,
    /// Where to go on; `None` at the end. There may be more although `clients` is empty.
    pub next: Option<PageCursor>,
}

/// Lists and ends grants and clients.
///
/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Administration {
    app: Arc<App>,
}

impl Administration {
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    /// Gives each request of a router that administers its id and its place in the log, so that
    /// audit events say from where and by which request.
    ///
    /// For a listener of its own: who asks is who is connected (axum's `ConnectInfo`), whatever
    /// `X-Forwarded-For` says.
    pub fn in_context(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(Arc::clone(&self.app), context::direct_layer))
    }

    /// A page of about `limit` grants (1 to [`MAX_PAGE`]), logins in flight included.
    ///
    /// Begin without a cursor and go on with [`GrantPage::next`] until there is none.
    ///
    /// # Errors
    ///
    /// `invalid_request` for a cursor of something else, `temporarily_unavailable` if the storage
    /// does not answer.
    pub async fn grants(
        &self,
        filter: &GrantFilter,
        cursor: Option<&PageCursor>,
        limit: usize,
    ) -> Result<GrantPage, OAuthError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let mut place = self.source(filter).at(cursor)?;
        let mut grants = Vec::new();
        let sifts = matches!(filter, GrantFilter::User { issuer: None, .. });
        // Sifting may leave little of a page; a call looks through so much at most.
        for _ in 0..MAX_PAGE / SCAN_PAGE {
            let wanted = if sifts { SCAN_PAGE } else { limit - grants.len() };
            let found = place.next(&self.app, wanted).await?;
            grants.extend(
                found
                    .iter()
                    .filter(|stored| filter.fits(&stored.record))
                    .map(|stored| GrantSummary::of(&stored.record)),
            );
            if place.is_at_end() || grants.len() >= limit {
                break;
            }
        }
        Ok(GrantPage { grants, next: place.cursor() })
    }

    /// Ends the grants that `filter` means and every token of them, and says how many.
    ///
    /// Logins in flight end too: who approved one before this call has to begin again.
    ///
    /// # Errors
    ///
    /// `temporarily_unavailable` if the storage does not answer; some grants may be revoked by
    /// then, and calling again revokes the others.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the grants that were not reached; calling again goes on.
    pub async fn revoke(&self, filter: &GrantFilter) -> Result<u64, OAuthError> {
        // First, so that what is not listed yet finds the mark; see `not_before`.
        not_before::set(&self.app, filter.whose()).await?;
        let event = AuditEvent::new(AuditAction::OperatorRevoked);
        self.app.audit(&match filter {
            GrantFilter::All => event.reason("all grants"),
            GrantFilter::User { issuer, subject } => event.person(issuer.as_deref(), subject),
            GrantFilter::Client(id) => event.client(id, None),
        });
        self.revoke_each(filter, "an operator revoked it").await
    }

    async fn revoke_each(
        &self,
        filter: &GrantFilter,
        why: &'static str,
    ) -> Result<u64, OAuthError> {
        let mut place = self.source(filter).at(None)?;
        let mut revoked = 0;
        while !place.is_at_end() {
            let found = place.next(&self.app, SCAN_PAGE).await?;
            let meant = found.into_iter().filter(|stored| filter.fits(&stored.record));
            revoked += stream::iter(meant)
                .map(|stored| async move { grants::revoke(&self.app, stored, why).await })
                .buffer_unordered(REVOCATIONS_AT_ONCE)
                .try_fold(0, |sum, done| async move { Ok(sum + u64::from(done)) })
                .await?;
        }
        Ok(revoked)
    }

    /// Ends one grant and every token of it; `false` if there is none of this id.
    ///
    /// # Errors
    ///
    /// `temporarily_unavailable` if the storage does not answer.
    pub async fn revoke_grant(&self, id: &str) -> Result<bool, OAuthError> {
        if !is_key(id) {
            return Ok(false);
        }
        let Some(stored) = self.app.store.get::<Grant>(id).await? else { return Ok(false) };
        Ok(grants::revoke(&self.app, stored, "an operator revoked it").await?)
    }

    /// A page of about `limit` registered clients (1 to [`MAX_PAGE`]).
    ///
    /// Begin without a cursor and go on with [`ClientPage::next`] until there is none.
    ///
    /// # Errors
    ///
    /// As for [`grants`](Self::grants).
    pub async fn clients(
        &self,
        cursor: Option<&PageCursor>,
        limit: usize,
    ) -> Result<ClientPage, OAuthError> {
        let mut place = Source::Clients.at(cursor)?;
        let keys = place.keys(&self.app, limit.clamp(1, MAX_PAGE)).await?;
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let found = self.app.store.get_many::<ClientRecord>(&keys).await?;
        let clients = found.into_iter().filter_map(|found| match found {
            Found::Record(stored) => Some(ClientSummary::of(stored.record)),
            Found::Unreadable | Found::Absent => None,
        });
        Ok(ClientPage { clients: clients.collect(), next: place.cursor() })
    }

    /// Deletes a client and ends its grants; how many, or `None` if there is no such client.
    ///
    /// A client with a metadata document has no registration here: its grants and its logins in
    /// flight end, and it may begin a new one. [`ClientDocuments`](crate::ClientDocuments) says
    /// which of them may at all.
    ///
    /// The program will be told `invalid_client` and has to register anew. Grants are looked for
    /// even if the client is gone: a deletion that was interrupted is finished by the next one.
    ///
    /// # Errors
    ///
    /// `temporarily_unavailable` if the storage does not answer; calling again finishes the work.
    pub async fn delete_client(&self, id: &str) -> Result<Option<u64>, OAuthError> {
        if !is_key(id) {
            return Ok(None);
        }
        let deleted = delete_client(&self.app, id, "an operator deleted its client").await?;
        Ok((deleted.existed || deleted.grants > 0).then_some(deleted.grants))
    }

    fn source(&self, filter: &GrantFilter) -> Source {
        match filter {
            GrantFilter::User { issuer: Some(issuer), subject } => {
                Source::Subject(index::subject_prefixes(&self.app, issuer, subject))
            }
            GrantFilter::Client(id) => Source::Client(index::client_prefix(id)),
            GrantFilter::All | GrantFilter::User { issuer: None, .. } => Source::Grants,
        }
    }
}

/// What became of a client.
pub(crate) struct Deleted {
    pub(crate) existed: bool,
    pub(crate) grants: u64,
}

/// Ends the grants of a client and deletes it.
///
/// Grants first: who is interrupted can try again with the registration that is still there. And
/// once more afterwards: without a registration no login of it can be finished, so what came in
/// between is the last of them.
pub(crate) async fn delete_client(
    app: &Arc<App>,
    id: &str,
    why: &'static str,
) -> Result<Deleted, OAuthError> {
    let administration = Administration::new(Arc::clone(app));
    let filter = GrantFilter::Client(id.to_owned());
    if cimd::is_url(id) {
        // Nothing can be taken away that would keep its logins in flight from being finished.
        not_before::set(app, filter.whose()).await?;
        let grants = administration.revoke_each(&filter, why).await?;
        if grants > 0 {
            app.audit(&AuditEvent::new(AuditAction::ClientDeleted).client(id, None).reason(why));
        }
        return Ok(Deleted { existed: false, grants });
    }
    let mut grants = administration.revoke_each(&filter, why).await?;
    let existed = app.store.delete::<ClientRecord>(id).await?;
    if existed {
        app.audit(&AuditEvent::new(AuditAction::ClientDeleted).client(id, None).reason(why));
    }
    grants += administration.revoke_each(&filter, why).await?;
    Ok(Deleted { existed, grants })
}

impl GrantFilter {
    fn fits(&self, grant: &Grant) -> bool {
        match self {
            Self::All => true,
            Self::User { issuer, subject } => {
                grant.subject == *subject
                    && issuer.as_ref().is_none_or(|issuer| grant.issuer == *issuer)
            }
            Self::Client(id) => grant.client.id == *id,
        }
    }

    fn whose(&self) -> Whose<'_> {
        match self {
            Self::All => Whose::Everybody,
            Self::User { issuer, subject } => Whose::Person { issuer: issuer.as_deref(), subject },
            Self::Client(id) => Whose::Client(id),
        }
    }
}

/// Where entries are found.
enum Source {
    Grants,
    Subject(Vec<String>),
    Client(String),
    Clients,
}

impl Source {
    /// Beginning at a cursor that an earlier page gave.
    fn at(self, cursor: Option<&PageCursor>) -> Result<Place, OAuthError> {
        let position = match cursor {
            None => Some((0, None)),
            Some(cursor) => cursor.position(),
        };
        match position {
            Some((part, cursor)) if part < self.parts() => {
                Ok(Place { source: self, part, cursor, ended: false })
            }
            _ => Err(OAuthError::new(
                ErrorCode::InvalidRequest,
                "the cursor is not one of this list; begin without a cursor",
            )),
        }
    }

    fn parts(&self) -> usize {
        match self {
            Self::Subject(prefixes) => prefixes.len(),
            Self::Grants | Self::Client(_) | Self::Clients => 1,
        }
    }
}

/// How far a list was read.
struct Place {
    source: Source,
    /// Which of several prefixes.
    part: usize,
    cursor: Option<kv_storage::Cursor>,
    ended: bool,
}

impl Place {
    /// The next grants, about `limit` of them, or none although more follow.
    async fn next(&mut self, app: &App, limit: usize) -> StoreResult<Vec<Stored<Grant>>> {
        let keys = self.keys(app, limit.min(SCAN_PAGE)).await?;
        match &self.source {
            Source::Subject(_) => index::grants_of::<BySubject>(app, &keys).await,
            Source::Client(_) => index::grants_of::<ByClient>(app, &keys).await,
            Source::Grants | Source::Clients => {
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                let found = app.store.get_many::<Grant>(&keys).await?.into_iter();
                Ok(found
                    .filter_map(|found| match found {
                        Found::Record(stored) => Some(stored),
                        Found::Unreadable | Found::Absent => None,
                    })
                    .collect())
            }
        }
    }

    async fn keys(&mut self, app: &App, limit: usize) -> StoreResult<Vec<String>> {
        let cursor = self.cursor.take();
        let page = match &self.source {
            Source::Grants => page::<Grant>(app, "", cursor, limit).await,
            Source::Clients => page::<ClientRecord>(app, "", cursor, limit).await,
            Source::Client(prefix) => page::<ByClient>(app, prefix, cursor, limit).await,
            Source::Subject(prefixes) => {
                page::<BySubject>(app, &prefixes[self.part], cursor, limit).await
            }
        }?;
        match page.next {
            Some(next) => self.cursor = Some(next),
            None => self.part += 1,
        }
        self.ended = self.part == self.source.parts();
        Ok(page.keys)
    }

    fn is_at_end(&self) -> bool {
        self.ended
    }

    fn cursor(&self) -> Option<PageCursor> {
        (!self.ended).then(|| PageCursor::new(self.part, self.cursor.as_ref()))
    }
}

async fn page<R: Record>(
    app: &App,
    prefix: &str,
    cursor: Option<kv_storage::Cursor>,
    limit: usize,
) -> StoreResult<kv_storage::Page> {
    app.store.page::<R>(prefix, cursor, limit).await
}

/// Whether the text could be an id of ours, which is short: a longer one is no key for the store.
/// A client's URL is never one.
fn is_key(id: &str) -> bool {
    const LONGEST: usize = 256;
    !id.is_empty() && (id.len() <= LONGEST || cimd::is_url(id))
}
