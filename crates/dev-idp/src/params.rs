//! Parameters of requests: `application/x-www-form-urlencoded`, each at most once.

/// The parameters of one request.
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Decodes a query string or a form body.
    pub(crate) fn parse(encoded: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// The first value of this name. One without a value counts as absent (RFC 6749 §3.1).
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(other, _)| other == name)?;
        (!value.is_empty()).then_some(value.as_str())
    }

    /// A name that occurs twice, which the protocol forbids (RFC 6749 §3.1).
    pub(crate) fn repeated(&self) -> Option<&str> {
        let names = self.0.iter().enumerate();
        names
            .filter(|(index, (name, _))| self.0[..*index].iter().any(|(other, _)| other == name))
            .map(|(_, (name, _))| name.as_str())
            // RFC 8707 lets a client name several resources.
            .find(|name| *name != "resource")
    }
}
