//! How long everything lives (D15).

use std::time::Duration;

use oidc_proxy::{AccessTokenBasis, Lifetimes};

use super::{
    super::setting::{
        ACCESS_TOKEN_BASIS, ACCESS_TOKEN_FLOOR, ACCESS_TOKEN_LIFETIME, CLIENT_METADATA_STALE,
        CLOCK_SKEW, CODE_LIFETIME, CODE_MEMORY, CONSENT_LIFETIME, OUTAGE_ACCESS_TOKEN_LIFETIME,
        OUTBOX_CHECK, OUTBOX_LIFETIME, PRESSED_CLIENT_LIFETIME, PROVIDER_CALL,
        PROVIDER_OUTAGE_TOLERANCE, PROVIDER_REFRESH_MARGIN, PROVIDER_TOKEN_FALLBACK,
        PROVIDER_TOKEN_LONGEST, REFRESH_ABSOLUTE_LIFETIME, REFRESH_GRACE, REFRESH_IDLE_LIFETIME,
        REVOCATION_DELAY, SESSION_WITHOUT_REFRESH_LIFETIME, STREAM_CHECK, Setting,
        TRANSACTION_LIFETIME, UNUSED_CLIENT_LIFETIME, USED_CLIENT_LIFETIME,
    },
    GOOD_CONFIG_URL, build,
    reader::Reader,
    trial,
};
use crate::cli::duration;

/// Where the lifetime goes that a setting gives.
type Place = fn(&mut Lifetimes) -> &mut Duration;

pub(in super::super) const LIFETIMES: [(Setting, Place); 25] = [
    (CONSENT_LIFETIME, |all| &mut all.consent),
    (TRANSACTION_LIFETIME, |all| &mut all.transaction),
    (CODE_LIFETIME, |all| &mut all.code),
    (CODE_MEMORY, |all| &mut all.code_memory),
    (ACCESS_TOKEN_LIFETIME, |all| &mut all.access_token),
    (ACCESS_TOKEN_FLOOR, |all| &mut all.access_token_floor),
    (OUTAGE_ACCESS_TOKEN_LIFETIME, |all| &mut all.outage_access_token),
    (REFRESH_IDLE_LIFETIME, |all| &mut all.refresh_idle),
    (REFRESH_ABSOLUTE_LIFETIME, |all| &mut all.refresh_absolute),
    (SESSION_WITHOUT_REFRESH_LIFETIME, |all| &mut all.session_without_refresh),
    (REFRESH_GRACE, |all| &mut all.refresh_grace),
    (REVOCATION_DELAY, |all| &mut all.revocation_delay),
    (STREAM_CHECK, |all| &mut all.stream_check),
    (PROVIDER_TOKEN_FALLBACK, |all| &mut all.provider_token_fallback),
    (PROVIDER_TOKEN_LONGEST, |all| &mut all.provider_token_longest),
    (PROVIDER_REFRESH_MARGIN, |all| &mut all.provider_refresh_margin),
    (PROVIDER_CALL, |all| &mut all.provider_call),
    (PROVIDER_OUTAGE_TOLERANCE, |all| &mut all.provider_outage_tolerance),
    (OUTBOX_LIFETIME, |all| &mut all.outbox),
    (OUTBOX_CHECK, |all| &mut all.outbox_check),
    (CLOCK_SKEW, |all| &mut all.clock_skew),
    (UNUSED_CLIENT_LIFETIME, |all| &mut all.unused_client),
    (PRESSED_CLIENT_LIFETIME, |all| &mut all.pressed_client),
    (USED_CLIENT_LIFETIME, |all| &mut all.used_client),
    (CLIENT_METADATA_STALE, |all| &mut all.client_document_stale),
];

pub(super) fn read(reader: &mut Reader<'_>) -> Lifetimes {
    let mut lifetimes = Lifetimes::default();
    if let Some(basis) = reader.parsed(&ACCESS_TOKEN_BASIS, basis) {
        lifetimes.access_token_basis = basis;
    }
    for (setting, place) in &LIFETIMES {
        if !reader.is_given(setting) {
            continue;
        }
        let lifetime = reader.parsed(setting, |text| {
            let lifetime = duration::parse(text).map_err(|why| format!("{text:?}: {why}"))?;
            in_bounds(lifetime, *place).map(|()| lifetime)
        });
        if let Some(lifetime) = lifetime {
            *place(&mut lifetimes) = lifetime;
        }
    }
    if lifetimes.code_memory < lifetimes.code {
        let why = format!("it must not be shorter than {}", CODE_LIFETIME.own_name());
        reader.wrong(&CODE_MEMORY, why);
    }
    lifetimes
}

fn basis(text: &str) -> Result<AccessTokenBasis, String> {
    AccessTokenBasis::ALL
        .into_iter()
        .find(|basis| basis.as_str() == text)
        .ok_or_else(|| format!("{text:?} is neither provider nor fixed"))
}

/// The longest that is accepted for anything.
const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

/// Asks the authorization server about this one lifetime among others that go with it.
fn in_bounds(lifetime: Duration, place: Place) -> Result<(), String> {
    let mut lifetimes = Lifetimes::default();
    // A code must be remembered for as long as it lives: that pair is judged together, later.
    lifetimes.code = lifetimes.code.min(lifetime).max(Duration::from_secs(1));
    lifetimes.code_memory = lifetimes.code_memory.max(lifetime).min(LONGEST);
    *place(&mut lifetimes) = lifetime;
    build(trial(GOOD_CONFIG_URL).lifetimes(lifetimes))
}
