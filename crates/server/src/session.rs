//! `Mcp-Session-Id`, sealed so that it works for its own subject, client and resource only (D12).

use forwarder::SessionSeal;
use http::Extensions;
use jwt_issuer::{KeyRing, Sealer};
use token_verifier::Principal;

/// Seals for the sessions of `resource`; someone else's id opens to nothing.
pub(crate) fn seal(keys: &KeyRing, issuer: &str, resource: &str) -> SessionSeal {
    let sealer = Sealer::new(keys, "mcp-session-id", issuer);
    let resource = resource.to_owned();
    let seal = {
        let (sealer, resource) = (sealer.clone(), resource.clone());
        move |extensions: &Extensions, id: &str| {
            // Without a principal nothing opens what is sealed here.
            let context = context(extensions, &resource).unwrap_or_default();
            sealer.seal(id.as_bytes(), &context)
        }
    };
    let open = move |extensions: &Extensions, sealed: &str| {
        let context = context(extensions, &resource)?;
        let id = sealer.open(sealed, &context).ok()?;
        String::from_utf8(id.to_vec()).ok()
    };
    SessionSeal::new(seal, open)
}

/// Whose session it is: each part behind its length, so that no two owners look the same.
fn context(extensions: &Extensions, resource: &str) -> Option<Vec<u8>> {
    let principal: &Principal = extensions.get()?;
    let parts = [
        principal.issuer().unwrap_or_default(),
        principal.subject(),
        principal.client_id().unwrap_or_default(),
        resource,
    ];
    let mut context = Vec::new();
    for part in parts {
        context.extend_from_slice(&(part.len() as u64).to_be_bytes());
        context.extend_from_slice(part.as_bytes());
    }
    Some(context)
}

#[cfg(test)]
mod tests {
    use jwt_issuer::MasterKey;

    use super::*;

    const ISSUER: &str = "http://localhost:8000";
    const RESOURCE: &str = "http://localhost:8000/mcp";

    fn of(subject: &str, client: &str) -> Extensions {
        let principal = Principal::builder(subject).issuer("idp").client_id(client).build();
        let mut extensions = Extensions::new();
        extensions.insert(principal);
        extensions
    }

    #[test]
    fn a_session_belongs_to_its_subject_client_and_resource() {
        let keys = KeyRing::new(MasterKey::generate());
        let ours = seal(&keys, ISSUER, RESOURCE);
        let sealed = (ours.seal)(&of("alice", "cli"), "the-id");
        assert!(sealed.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(!sealed.contains("the-id"));
        assert_eq!((ours.open)(&of("alice", "cli"), &sealed).as_deref(), Some("the-id"));

        assert_eq!((ours.open)(&of("bob", "cli"), &sealed), None);
        assert_eq!((ours.open)(&of("alice", "web"), &sealed), None);
        assert_eq!((ours.open)(&of("alicec", "li"), &sealed), None);
        assert_eq!((ours.open)(&Extensions::new(), &sealed), None);
        assert_eq!((ours.open)(&of("alice", "cli"), "the-id"), None);
        let other = seal(&keys, ISSUER, "http://localhost:8000/other");
        assert_eq!((other.open)(&of("alice", "cli"), &sealed), None);
    }

    #[test]
    fn without_a_principal_nothing_opens() {
        let seal = seal(&KeyRing::new(MasterKey::generate()), ISSUER, RESOURCE);
        let sealed = (seal.seal)(&Extensions::new(), "the-id");
        assert_eq!((seal.open)(&Extensions::new(), &sealed), None);
        assert_eq!((seal.open)(&of("", ""), &sealed), None);
    }
}
