//! Real clients and real providers, with the built binary between them.

mod browser;
mod document;
mod driver;
mod front;
mod installed;
mod journey;
mod provider;
mod refusal;
mod rig;
mod rmcp;
mod script;

use crate::{driver::Kind, provider::Tokens};

/// Each client's whole journey, with each provider behind.
macro_rules! journeys {
    ($($client:ident = $kind:expr;)*) => {
        $(
            mod $client {
                use super::*;

                #[tokio::test]
                async fn with_dev_idp() -> anyhow::Result<()> {
                    journey::with_dev_idp($kind).await
                }

                #[tokio::test]
                async fn with_rotating_refresh_tokens() -> anyhow::Result<()> {
                    journey::with_oidc_provider($kind, Tokens::Rotating).await
                }

                #[tokio::test]
                async fn with_opaque_access_tokens() -> anyhow::Result<()> {
                    journey::with_oidc_provider($kind, Tokens::Fixed).await
                }

                #[tokio::test]
                async fn refused_person() -> anyhow::Result<()> {
                    refusal::of_a_person($kind).await
                }

                #[tokio::test]
                async fn revoked_grant() -> anyhow::Result<()> {
                    refusal::of_a_grant($kind).await
                }
            }
        )*
    };
}

journeys! {
    rust = Kind::Rmcp;
    typescript = Kind::Modern;
    typescript_legacy = Kind::Legacy;
    python = Kind::Python;
    mcp_remote = Kind::Remote;
}

/// With this hidden, only the route `openid-configuration` tells of the authorization server.
const HIDDEN: &str = "/.well-known/oauth-authorization-server";

mod openid_configuration_alone {
    use super::*;

    #[tokio::test]
    async fn typescript() -> anyhow::Result<()> {
        front::journey(Kind::Modern, HIDDEN).await
    }

    #[tokio::test]
    async fn typescript_legacy() -> anyhow::Result<()> {
        front::journey(Kind::Legacy, HIDDEN).await
    }
}

mod described_by_a_document {
    use super::*;

    #[tokio::test]
    async fn typescript() -> anyhow::Result<()> {
        document::journey(Kind::Modern).await
    }

    #[tokio::test]
    async fn python() -> anyhow::Result<()> {
        document::journey(Kind::Python).await
    }
}
