//! A scripted browser: cookies, redirects one by one, forms as it finds them.

use anyhow::{Context as _, bail, ensure};
use http::{HeaderMap, StatusCode, header};
use url::Url;

use crate::{
    User,
    cookies::Jar,
    html::{Button, Form, forms, links},
};

/// A login has a consent page, a login page, a callback and little else.
const MOST_STEPS: usize = 12;

/// One browser of one person.
#[derive(Debug)]
pub struct Browser {
    http: reqwest::Client,
    /// Its cookies; a copy is another tab, a new one another browser.
    pub jar: Jar,
    /// Where it has been, newest last.
    pub visited: Vec<Url>,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Page {
    /// Where it came from.
    pub url: Url,
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: String,
}

/// What the person does on the consent page and on the login page.
#[derive(Debug, Clone)]
pub enum Intent {
    /// Allows, and logs in as this user.
    LogIn(User),
    /// Says no on the consent page.
    RefuseConsent,
    /// Allows on the consent page, says no at the provider.
    RefuseLogin,
}

impl Page {
    /// A header as text.
    pub fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Where it redirects to. Only what keeps a POST from being sent again is taken for a redirect
    /// (302, 303).
    ///
    /// # Errors
    ///
    /// On other redirects, and when `Location` is missing or is no URL.
    pub fn redirect(&self) -> anyhow::Result<Option<Url>> {
        match self.status.as_u16() {
            302 | 303 => {}
            status @ (301 | 307 | 308) => bail!("{} redirects with {status}", self.url),
            _ => return Ok(None),
        }
        let location = self.header(header::LOCATION).context("a redirect without Location")?;
        let target = self.url.join(location).with_context(|| format!("Location is {location}"))?;
        Ok(Some(target))
    }

    /// The link to `redirect_uri`, with parameters.
    fn link_to(&self, redirect_uri: &str) -> Option<Url> {
        let mut targets =
            links(&self.body).into_iter().filter_map(|link| self.url.join(&link).ok());
        targets.find(|target| arrives(target, redirect_uri))
    }

    /// The one form that it has.
    ///
    /// # Errors
    ///
    /// When it has none, or several.
    pub fn form(&self) -> anyhow::Result<Form> {
        match &forms(&self.body)[..] {
            [form] => Ok(form.clone()),
            forms => {
                bail!("{} ({}) has {} forms:\n{}", self.url, self.status, forms.len(), self.body)
            }
        }
    }
}

impl Browser {
    /// A browser that has been nowhere.
    ///
    /// # Errors
    ///
    /// When reqwest cannot be set up.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { http: crate::http()?, jar: Jar::default(), visited: Vec::new() })
    }

    /// Opens `url`; a redirect is an answer like any other.
    ///
    /// # Errors
    ///
    /// When nobody answers, or a cookie is one that browsers refuse.
    pub async fn open(&mut self, url: Url) -> anyhow::Result<Page> {
        let request = self.http.get(url.clone());
        self.send(url, request).await
    }

    /// Submits a form of `page` with what `fill` puts into its fields, through `button`.
    ///
    /// # Errors
    ///
    /// As [`Self::open`], and when the form's action is no URL.
    pub async fn submit(
        &mut self,
        page: &Page,
        form: &Form,
        button: &Button,
        fill: &[(&str, &str)],
    ) -> anyhow::Result<Page> {
        let mut target =
            if form.action.is_empty() { page.url.clone() } else { page.url.join(&form.action)? };
        let filled =
            |name: &str| fill.iter().find(|(field, _)| *field == name).map(|(_, value)| *value);
        let mut fields: Vec<(&str, &str)> = form
            .inputs
            .iter()
            .map(|input| (input.name.as_str(), filled(&input.name).unwrap_or(&input.value)))
            .collect();
        if !button.name.is_empty() {
            fields.push((&button.name, &button.value));
        }
        let request = if form.method == "POST" {
            self.http.post(target.clone()).form(&fields).header(header::ORIGIN, origin(page))
        } else {
            target.query_pairs_mut().clear().extend_pairs(&fields);
            self.http.get(target.clone())
        };
        self.send(target, request).await
    }

    async fn send(&mut self, url: Url, request: reqwest::RequestBuilder) -> anyhow::Result<Page> {
        let request = request.header(header::ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8");
        let request = match self.jar.header(&url) {
            Some(cookies) => request.header(header::COOKIE, cookies),
            None => request,
        };
        let answer = request.send().await.with_context(|| format!("cannot open {url}"))?;
        self.visited.push(url.clone());
        self.jar.store(&url, answer.headers())?;
        Ok(Page {
            url,
            status: answer.status(),
            headers: answer.headers().clone(),
            body: answer.text().await.context("the page broke off")?,
        })
    }

    /// Goes where `url` leads, answering the forms on the way as `intent` says, until something
    /// redirects to `redirect_uri`. Returns that address with its parameters, unvisited.
    ///
    /// # Errors
    ///
    /// When the way ends elsewhere: on an error page, in a circle, without a form.
    pub async fn authorize(
        &mut self,
        url: Url,
        redirect_uri: &str,
        intent: &Intent,
    ) -> anyhow::Result<Url> {
        let mut page = self.open(url).await?;
        for _ in 0..MOST_STEPS {
            if let Some(target) = page.redirect()? {
                if arrives(&target, redirect_uri) {
                    return Ok(target);
                }
                page = self.open(target).await?;
                continue;
            }
            // A page that says no has no form, but a way back to the client.
            if let Some(target) = page.link_to(redirect_uri) {
                return Ok(target);
            }
            ensure!(
                page.status == StatusCode::OK,
                "{} says {}:\n{}",
                page.url,
                page.status,
                page.body
            );
            let form = page.form()?;
            page = self.answer(&page, &form, intent).await?;
        }
        bail!("no end after {MOST_STEPS} steps: {:?}", self.visited)
    }

    /// Does on one page what `intent` says.
    async fn answer(&mut self, page: &Page, form: &Form, intent: &Intent) -> anyhow::Result<Page> {
        let yes = form.approval().context("no button to go on")?;
        let no = form.refusal().context("no button to refuse")?;
        // A provider that knows its user asks for no password.
        let at_provider =
            form.password().is_some() || form.inputs.iter().any(|input| input.name == "signed_in");
        match intent {
            Intent::RefuseConsent if !at_provider => self.submit(page, form, no, &[]).await,
            Intent::RefuseLogin if at_provider => self.submit(page, form, no, &[]).await,
            Intent::RefuseConsent => bail!("the provider was asked after the refusal"),
            Intent::LogIn(user) if let Some(password) = form.password() => {
                let name = form.user_name().context("a password without a name")?;
                let fill =
                    [(name.name.as_str(), user.name.as_str()), (&password.name, &user.password)];
                self.submit(page, form, yes, &fill).await
            }
            Intent::LogIn(_) | Intent::RefuseLogin => self.submit(page, form, yes, &[]).await,
        }
    }
}

/// The `Origin` that a browser sends with a form of `page`: `null` from a page that says
/// `no-referrer` (Fetch §3.2).
fn origin(page: &Page) -> String {
    match page.header(header::REFERRER_POLICY) {
        Some("no-referrer") => "null".into(),
        _ => page.url.origin().ascii_serialization(),
    }
}

/// Whether `target` is `redirect_uri` with parameters.
fn arrives(target: &Url, redirect_uri: &str) -> bool {
    target.as_str().strip_prefix(redirect_uri).is_some_and(|rest| rest.starts_with(['?', '&', '#']))
}
