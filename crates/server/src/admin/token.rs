//! The token of the administration: whoever can read its file may list and end sessions.

use std::{fmt, fs, path::Path, sync::Arc};

use anyhow::{Context, bail};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use jwt_issuer::random_token;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::{config::TokenFile, data_dir};

/// A token that somebody wrote must have so many characters: nobody guesses it.
const LEAST_CHARS: usize = 32;

/// What a request must present.
pub(crate) struct AdminToken(SecretString);

impl AdminToken {
    /// Makes a token for this run, or takes the one in the operator's file; says where it is.
    ///
    /// # Errors
    ///
    /// The file cannot be written or read, or what it holds could be guessed.
    pub(crate) fn set_up(file: &TokenFile) -> anyhow::Result<Self> {
        let token = match file {
            TokenFile::Made(path) => make(path)?,
            TokenFile::Given(path) => read(path)?,
        };
        tracing::info!("whoever can read {} may end sessions", file.path().display());
        Ok(Self(token))
    }

    /// For a request.
    ///
    /// # Errors
    ///
    /// The file cannot be read: there is no server, or it belongs to somebody else.
    pub(crate) fn of_server(file: &TokenFile) -> anyhow::Result<Self> {
        read(file.path()).map(Self).context("could not get the token of the administration")
    }

    pub(crate) fn header(&self) -> anyhow::Result<HeaderValue> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.0.expose_secret()))
            .context("the token of the administration has characters that no header can carry")?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn is_in(&self, request: &Request) -> bool {
        let Some(presented) = request.headers().get(header::AUTHORIZATION) else { return false };
        let Some(token) = presented.as_bytes().strip_prefix(b"Bearer ") else { return false };
        token.ct_eq(self.0.expose_secret().as_bytes()).into()
    }
}

/// A new one at each start: one that was copied dies with the process.
fn make(path: &Path) -> anyhow::Result<SecretString> {
    let token = random_token::<32>();
    data_dir::replace_private(path, token.as_bytes())
        .with_context(|| format!("could not write the admin token to {}", path.display()))?;
    Ok(SecretString::from(token))
}

fn read(path: &Path) -> anyhow::Result<SecretString> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("could not read the admin token in {}", path.display()))?;
    data_dir::check_given(path)?;
    let token = text.trim();
    if token.len() < LEAST_CHARS {
        bail!("the admin token in {} is shorter than {LEAST_CHARS} characters", path.display());
    }
    Ok(SecretString::from(token))
}

/// Lets only requests with the token pass.
pub(super) async fn layer(
    State(token): State<Arc<AdminToken>>,
    request: Request,
    next: Next,
) -> Response {
    if token.is_in(&request) {
        return next.run(request).await;
    }
    tracing::warn!(path = request.uri().path(), "somebody asked without the admin token");
    let challenge = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];
    (StatusCode::UNAUTHORIZED, challenge, "the admin token is missing or wrong\n").into_response()
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken")
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn only_the_whole_token_counts() {
        let directory = tempfile::tempdir().unwrap();
        let file = TokenFile::Made(directory.path().join("token"));
        let token = AdminToken::set_up(&file).unwrap();
        let good = token.header().unwrap();
        let presented = |value: Option<&HeaderValue>| {
            let mut request = Request::new(Body::empty());
            if let Some(value) = value {
                request.headers_mut().insert(header::AUTHORIZATION, value.clone());
            }
            token.is_in(&request)
        };
        assert!(presented(Some(&good)));
        assert!(!presented(None));
        let text = good.to_str().unwrap();
        for wrong in
            [&text[..text.len() - 1], &format!("{text}x"), "Bearer ", "Basic x", &text[7..]]
        {
            assert!(!presented(Some(&HeaderValue::from_str(wrong).unwrap())), "{wrong}");
        }
        assert!(!format!("{token:?}").contains(&text[7..]));
        // The client reads the same; a restart makes another.
        assert_eq!(AdminToken::of_server(&file).unwrap().header().unwrap(), good);
        assert_ne!(AdminToken::set_up(&file).unwrap().header().unwrap(), good);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(file.path()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_given_file_must_hold_a_good_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let file = TokenFile::Given(path.clone());
        assert!(AdminToken::set_up(&file).is_err());
        fs::write(&path, "short\n").unwrap();
        assert!(format!("{:#}", AdminToken::set_up(&file).unwrap_err()).contains("32 characters"));
        fs::write(&path, format!("{}\n", "x".repeat(LEAST_CHARS))).unwrap();
        AdminToken::set_up(&file).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().len(), LEAST_CHARS + 1, "it is left alone");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
            let planted = AdminToken::set_up(&file).unwrap_err().to_string();
            assert!(planted.contains("everybody can write"), "{planted}");
        }
    }
}
