//! The forms of a page.

use html5gum::{StartTag, Token, Tokenizer};

/// A form as a browser sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// Upper case, as in the request.
    pub method: String,
    /// As written: perhaps relative, perhaps empty.
    pub action: String,
    /// What is sent: `input` elements that have a name.
    pub inputs: Vec<Input>,
    /// What sends it.
    pub buttons: Vec<Button>,
}

/// A field of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Lower case; `text` if not written.
    pub kind: String,
    /// The name it is sent under.
    pub name: String,
    /// What is in it when the page opens.
    pub value: String,
}

/// A button that submits its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Button {
    /// The name it is sent under, or nothing.
    pub name: String,
    /// What it sends.
    pub value: String,
    /// What a person reads on it.
    pub label: String,
}

impl Form {
    /// The field where a person types a password.
    pub fn password(&self) -> Option<&Input> {
        self.inputs.iter().find(|input| input.kind == "password")
    }

    /// The visible field for a name.
    pub fn user_name(&self) -> Option<&Input> {
        self.inputs.iter().find(|input| matches!(input.kind.as_str(), "text" | "email"))
    }

    /// The button that says no.
    pub fn refusal(&self) -> Option<&Button> {
        self.buttons.iter().find(|button| {
            let words = format!("{} {}", button.value, button.label).to_lowercase();
            ["deny", "cancel", "reject"].iter().any(|word| words.contains(word))
        })
    }

    /// The button that says yes: the first that does not say no.
    pub fn approval(&self) -> Option<&Button> {
        self.buttons.iter().find(|button| Some(*button) != self.refusal())
    }
}

/// Every form of `page`.
pub fn forms(page: &str) -> Vec<Form> {
    let mut forms: Vec<Form> = Vec::new();
    let mut open = false;
    let mut in_button = false;
    for token in Tokenizer::new(page).flatten() {
        match token {
            Token::StartTag(tag) if &**tag.name == b"form" => {
                open = true;
                forms.push(Form {
                    method: attribute(&tag, "method")
                        .unwrap_or_else(|| "get".into())
                        .to_uppercase(),
                    action: attribute(&tag, "action").unwrap_or_default(),
                    inputs: Vec::new(),
                    buttons: Vec::new(),
                });
            }
            Token::EndTag(tag) if &**tag.name == b"form" => open = false,
            Token::EndTag(tag) if &**tag.name == b"button" => in_button = false,
            Token::StartTag(tag) if open => {
                let Some(form) = forms.last_mut() else { continue };
                in_button |= element(form, &tag);
            }
            Token::String(text) if in_button => {
                if let Some(button) = forms.last_mut().and_then(|form| form.buttons.last_mut()) {
                    button.label.push_str(&String::from_utf8_lossy(&text));
                }
            }
            _ => {}
        }
    }
    forms
}

/// Where the links of `page` lead, as written.
pub fn links(page: &str) -> Vec<String> {
    let tokens = Tokenizer::new(page).flatten();
    let targets = tokens.filter_map(|token| match token {
        Token::StartTag(tag) if &**tag.name == b"a" => attribute(&tag, "href"),
        _ => None,
    });
    targets.collect()
}

/// Adds an element to its form; `true` when its label follows.
fn element(form: &mut Form, tag: &StartTag<()>) -> bool {
    let name = attribute(tag, "name").unwrap_or_default();
    let value = attribute(tag, "value").unwrap_or_default();
    let kind = attribute(tag, "type").map(|kind| kind.to_lowercase());
    match (&**tag.name, kind.as_deref()) {
        (b"button", None | Some("submit")) => {
            form.buttons.push(Button { name, value, label: String::new() });
            return true;
        }
        (b"input", Some("submit")) => {
            form.buttons.push(Button { name, label: value.clone(), value });
        }
        (b"input", kind) if !name.is_empty() => {
            form.inputs.push(Input { kind: kind.unwrap_or("text").into(), name, value });
        }
        _ => {}
    }
    false
}

fn attribute(tag: &StartTag<()>, name: &str) -> Option<String> {
    let value = tag.attributes.get(name.as_bytes())?;
    Some(String::from_utf8_lossy(value).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"
<form method="post" action="/consent?a=1&amp;b=2">
<input type=hidden name=request value="a&quot;b">
<label>Name <input name="user"></label><input type="Password" name="secret">
<button name="action" value="deny">No <b>thanks</b></button>
<button type="button">Show</button>
<button name="action" value="approve">Allow</button>
</form>
<input name="stray"><form></form>
<a name="here">Here</a> <a href="/there?a=1&amp;b=2">There</a>"#;

    #[test]
    fn fields_and_buttons_are_found() {
        let [form, empty] = &forms(PAGE)[..] else { panic!("two forms") };
        assert_eq!((form.method.as_str(), form.action.as_str()), ("POST", "/consent?a=1&b=2"));
        let names: Vec<_> = form.inputs.iter().map(|input| input.name.as_str()).collect();
        assert_eq!(names, ["request", "user", "secret"]);
        assert_eq!(form.inputs[0].value, "a\"b");
        assert_eq!(form.password().unwrap().name, "secret");
        assert_eq!(form.user_name().unwrap().name, "user");
        assert_eq!(form.buttons.len(), 2);
        assert_eq!(form.refusal().unwrap().label, "No thanks");
        assert_eq!(form.approval().unwrap().value, "approve");
        assert_eq!(links(PAGE), ["/there?a=1&b=2"]);
        assert_eq!((empty.method.as_str(), empty.inputs.len()), ("GET", 0));
    }
}
