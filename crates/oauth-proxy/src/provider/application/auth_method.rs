//! How the application proves itself at the token endpoint.

use std::{fmt, str::FromStr};

use crate::provider::InvalidSetting;

/// How the application authenticates at the provider's token endpoint (RFC 7591 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientAuthMethod {
    /// `client_secret_basic`: HTTP Basic, both parts form-encoded first (RFC 6749 §2.3.1).
    ClientSecretBasic,
    /// `client_secret_post`: in the request body.
    ClientSecretPost,
    /// `none`: a public client names itself and has no secret.
    None,
}

impl ClientAuthMethod {
    /// The wire name (RFC 7591 §2).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::None => "none",
        }
    }
}

impl fmt::Display for ClientAuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ClientAuthMethod {
    type Err = InvalidSetting;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::ClientSecretBasic, Self::ClientSecretPost, Self::None]
            .into_iter()
            .find(|method| method.as_str() == name)
            .ok_or_else(|| {
                InvalidSetting::new(
                    "token_endpoint_auth_method",
                    "is none of client_secret_basic, client_secret_post and none",
                )
            })
    }
}
