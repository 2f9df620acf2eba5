//! Redeeming a code (D3, OAuth 2.1 §4.1.3).

use crate::{
    error::{ErrorCode, OAuthError},
    pkce,
    record::{
        code::CodeRecord,
        grant::{Grant, Phase},
    },
};

/// What a client presents at the token endpoint with its code.
pub(crate) struct Redemption<'a> {
    /// The authenticated client.
    pub(crate) client_id: &'a str,
    /// Optional in OAuth 2.1; if it is there it must match.
    pub(crate) redirect_uri: Option<&'a str>,
    pub(crate) code_verifier: Option<&'a str>,
    /// Canonical, if given.
    pub(crate) resource: Option<&'a str>,
}

/// What a fully valid redemption does to the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The code is good for the first time.
    Activate,
    /// The code was redeemed before: the grant dies.
    Replay,
    /// The code was never redeemed and is too old.
    Late,
}

/// Whether the redemption proves that it comes from the client that asked for the code.
///
/// A failed check changes nothing: a thief's guess must not end the owner's login.
pub(crate) fn check(code: &CodeRecord, redemption: &Redemption<'_>) -> Result<(), OAuthError> {
    let refuse = |why: &'static str| Err(OAuthError::new(ErrorCode::InvalidGrant, why));
    if code.client_id != redemption.client_id {
        return refuse("the code was issued to another client");
    }
    if redemption.redirect_uri.is_some_and(|uri| uri != code.redirect_uri) {
        return refuse("`redirect_uri` differs from the one in the authorization request");
    }
    let Some(verifier) = redemption.code_verifier else {
        return Err(OAuthError::new(
            ErrorCode::InvalidRequest,
            "the parameter `code_verifier` is missing; PKCE is required",
        ));
    };
    if !pkce::verify_s256(verifier, &code.code_challenge) {
        return refuse("`code_verifier` does not fit the code challenge");
    }
    if redemption.resource.is_some_and(|resource| resource != code.resource) {
        return Err(OAuthError::new(
            ErrorCode::InvalidTarget,
            "`resource` differs from the one in the authorization request",
        ));
    }
    Ok(())
}

/// What a redemption that passed [`check`] means for the grant as it stands now.
///
/// Time counts only for the first redemption: a replay is a replay however late it comes.
pub(crate) fn verdict(code: &CodeRecord, grant: &Grant, now: u64) -> Verdict {
    match grant.phase {
        Phase::Active { .. } => Verdict::Replay,
        Phase::Pending if now > code.redeem_until => Verdict::Late,
        Phase::Pending => Verdict::Activate,
    }
}

/// The grant after its code was redeemed by `attempt`.
pub(crate) fn activate(grant: &mut Grant, attempt: &str, now: u64) {
    grant.phase = Phase::Active { attempt: attempt.to_owned() };
    grant.used_at = now;
}
