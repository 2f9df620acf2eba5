//! One request for what stands at a stranger's URL.

use std::{error::Error as StdError, fmt, sync::OnceLock, time::Duration};

use http::{HeaderMap, Request, StatusCode, header};
use outbound_http::{AddressPolicy, Client, Error};

use super::{
    ClientUrl,
    budget::{Budget, Charge, Exhausted},
    cache::Standing,
    freshness::fresh_for,
    party::Party,
    slots::Slots,
};
use crate::error::chain;

/// The most that is read, in bytes: a key set with certificates has some ten thousand. Documents are
/// bounded further, where they are judged.
const MAX_BYTES: usize = 64 * 1024;

/// From the name lookup to the last byte: a person waits for it.
const TIMEOUT: Duration = Duration::from_secs(5);

/// When to try again if the host does not say.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The longest wait that a host may ask for; its trouble is over before that, or it is not.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(10);

/// What a host gave.
pub(super) struct Answer {
    pub(super) body: Vec<u8>,
    /// Seconds.
    pub(super) fresh_for: u64,
    charge: Charge,
}

/// Why there is no document.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// The host says that there is none, or one that makes no client.
    Withdrawn(String),
    /// What the host does cannot be used, which need not be about this document.
    Unusable(String),
    /// There is no answer at present. The cause is for the log: what is found out about the inside
    /// of a network must not reach whoever named the URL.
    Unavailable { retry_after: Duration, cause: String },
    /// Too much was asked for; nothing is known about the host.
    OutOfBudget { retry_after: Duration },
}

/// Fetches within bounds.
pub(super) struct Fetcher {
    budget: Budget,
    slots: Slots,
    guarded: OnceLock<Client>,
    loopback: OnceLock<Client>,
}

impl Fetcher {
    pub(super) fn new() -> Self {
        Self {
            budget: Budget::default(),
            slots: Slots::default(),
            guarded: OnceLock::new(),
            loopback: OnceLock::new(),
        }
    }

    /// Asks for what stands at `url` on the account of `parties`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the request; it counts all the same.
    pub(super) async fn fetch(
        &self,
        url: &ClientUrl,
        parties: &[Party],
        standing: Standing,
        now: u64,
    ) -> Result<Answer, Trouble> {
        let Some(_slot) = self.slots.take(url.host(), parties, standing) else {
            return Err(Trouble::OutOfBudget { retry_after: TIMEOUT });
        };
        let spent = |Exhausted(left)| Trouble::OutOfBudget { retry_after: left };
        let charge = self.budget.charge(url.host(), parties, standing, now).map_err(spent)?;
        let request = Request::get(url.as_str())
            .header(header::ACCEPT, "application/json")
            .body(Vec::new())
            .map_err(|error| unavailable(&error))?;
        let client = self.client(url).map_err(|error| unavailable(&error))?;
        let response = client.send(request).await.map_err(of_error)?;
        judge(response.status(), response.headers())?;
        let fresh_for = fresh_for(response.headers());
        Ok(Answer { body: response.into_body(), fresh_for, charge })
    }

    /// The answer was good.
    pub(super) fn succeeded(&self, answer: &Answer) {
        self.budget.succeeded(&answer.charge);
    }

    /// Made at the first fetch: most processes that embed this crate never see such a client.
    fn client(&self, url: &ClientUrl) -> Result<&Client, Error> {
        let (place, policy) = if url.is_loopback() {
            (&self.loopback, AddressPolicy::Any)
        } else {
            (&self.guarded, AddressPolicy::PublicOnly)
        };
        if let Some(client) = place.get() {
            return Ok(client);
        }
        let client = Client::builder()
            .address_policy(policy)
            .timeout(TIMEOUT)
            .max_body(MAX_BYTES)
            .build()?;
        Ok(place.get_or_init(|| client))
    }
}

/// Only 200 with JSON is a document (draft §5); no redirect is followed.
fn judge(status: StatusCode, headers: &HeaderMap) -> Result<(), Trouble> {
    match status {
        StatusCode::OK if is_json(headers) => Ok(()),
        StatusCode::OK => Err(Trouble::Unusable(
            "the client's metadata document must have the content type `application/json`"
                .to_owned(),
        )),
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(Trouble::Withdrawn(format!(
            "there is no metadata document at the URL that is the client id: its host answers \
             {status}"
        ))),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Err(busy(status, headers))
        }
        status if status.is_server_error() => Err(busy(status, headers)),
        status => Err(Trouble::Unusable(format!(
            "the host of the client's metadata document answers {status} instead of 200; \
             redirects are not followed"
        ))),
    }
}

fn busy(status: StatusCode, headers: &HeaderMap) -> Trouble {
    let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let asked = seconds.and_then(|value| value.trim().parse().ok()).map(Duration::from_secs);
    Trouble::Unavailable {
        retry_after: asked.unwrap_or(RETRY_AFTER).clamp(RETRY_AFTER, LONGEST_RETRY_AFTER),
        cause: format!("its host answers {status}"),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = value.unwrap_or_default().split(';').next().unwrap_or_default();
    let media_type = media_type.trim().to_ascii_lowercase();
    let Some(subtype) = media_type.strip_prefix("application/") else { return false };
    subtype == "json" || subtype.ends_with("+json")
}

/// A refused address is told like a host that is down: that a name leads into our network, or that
/// something there accepts connections, is nobody's business.
fn of_error(error: Error) -> Trouble {
    match error {
        Error::TooLarge { limit, .. } => Trouble::Unusable(format!(
            "the client's metadata document is longer than {limit} bytes"
        )),
        Error::Untrusted { .. } => Trouble::Unusable(
            "the certificate of the host of the client's metadata document is not trusted"
                .to_owned(),
        ),
        error => unavailable(&error),
    }
}

fn unavailable(error: &(dyn StdError + 'static)) -> Trouble {
    Trouble::Unavailable { retry_after: RETRY_AFTER, cause: chain(error) }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Withdrawn(why) | Self::Unusable(why) => f.write_str(why),
            Self::Unavailable { cause, .. } => f.write_str(cause),
            Self::OutOfBudget { .. } => f.write_str("the budget for fetches is spent"),
        }
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};

    fn url(id: &str) -> ClientUrl {
        match ClientDocuments::default().danger_loopback().read(id) {
            Named::Document(url) => url,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_refused_like_a_host_that_is_down() {
        let fetcher = Fetcher::new();
        // The client that fetches for strangers, given a name that they could not have named.
        let client = fetcher.client(&url("https://app.example/client")).unwrap();
        let request = Request::get("https://localhost/client").body(Vec::new()).unwrap();
        let error = client.send(request).await.unwrap_err();
        assert!(matches!(error, Error::Forbidden { .. }), "{error:?}");
        let trouble = of_error(error);
        assert!(matches!(trouble, Trouble::Unavailable { .. }), "{trouble:?}");
    }

    #[tokio::test]
    async fn fetches_at_a_time_are_bounded() {
        let fetcher = Fetcher::new();
        let url = url("http://127.0.0.1:9/client");
        let ask = || fetcher.fetch(&url, &[], Standing::Unknown, 0);
        let taken: Vec<_> =
            (0..).map_while(|_| fetcher.slots.take(url.host(), &[], Standing::Unknown)).collect();
        assert!(matches!(ask().await, Err(Trouble::OutOfBudget { retry_after: TIMEOUT })));
        drop(taken);
        assert!(matches!(ask().await, Err(Trouble::Unavailable { .. })), "nobody listens there");
        assert!(matches!(ask().await, Err(Trouble::Unavailable { .. })), "nor does it hold a slot");
    }
}
