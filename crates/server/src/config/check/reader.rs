//! Reading one setting after the other.

use std::{fmt::Display, fs};

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{
    super::{
        Given, Problems,
        given::{Entry, Raw},
        setting::{Fallback, Kind, Name, Setting},
    },
    key_list,
};

/// Gives out the values that count and collects complaints.
pub(super) struct Reader<'a> {
    given: &'a Given,
    problems: Problems,
}

impl<'a> Reader<'a> {
    pub(super) fn new(given: &'a Given, problems: Problems) -> Self {
        Self { given, problems }
    }

    pub(super) fn into_problems(self) -> Problems {
        self.problems
    }

    pub(super) fn problem(&mut self, sentence: impl Into<String>) {
        self.problems.add(sentence);
    }

    /// What was given, and where to complain about it.
    pub(super) fn parts(&mut self) -> (&'a Given, &mut Problems) {
        (self.given, &mut self.problems)
    }

    /// A complaint about the value of a setting, under the name that was used.
    pub(super) fn wrong(&mut self, setting: &Setting, why: impl Display) {
        let name = self.given.get(setting).map_or(setting.own_name(), |entry| entry.name);
        self.problems.wrong(name, why);
    }

    /// Whether what is not given is given nowhere: not so if a source could not be read.
    pub(super) fn is_complete(&self) -> bool {
        self.given.is_complete
    }

    pub(super) fn is_given(&self, setting: &Setting) -> bool {
        self.given.get(setting).is_some()
    }

    /// One text; `None` if there is none, which is a complaint if it is required.
    pub(super) fn text(&mut self, setting: &Setting) -> Option<String> {
        let Some(entry) = self.given.get(setting) else {
            return match setting.fallback {
                Fallback::Is(value) => Some(value.to_owned()),
                Fallback::Means(_) => None,
                Fallback::Required => {
                    if self.is_complete() {
                        self.problems.missing(setting);
                    }
                    None
                }
            };
        };
        match one(entry) {
            Ok(text) => Some(text.trim().to_owned()),
            Err(why) => {
                self.wrong(setting, why);
                None
            }
        }
    }

    /// One text that means something.
    pub(super) fn parsed<T, E: Display>(
        &mut self,
        setting: &Setting,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(setting)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(why) => {
                self.wrong(setting, why);
                None
            }
        }
    }

    /// The items of a list; none if nothing is given.
    pub(super) fn list(&mut self, setting: &Setting) -> Vec<String> {
        match items(setting, self.given.get(setting)) {
            Ok(items) => items,
            Err(why) => {
                self.wrong(setting, why);
                Vec::new()
            }
        }
    }

    /// Whether there is an item, or something that was meant to be one.
    pub(super) fn has_items(&self, setting: &Setting) -> bool {
        items(setting, self.given.get(setting)).map_or(true, |items| !items.is_empty())
    }

    /// Adds the items of a list to `sum`, one after the other.
    pub(super) fn each<T: Clone>(
        &mut self,
        setting: &Setting,
        mut sum: T,
        mut add: impl FnMut(T, &str) -> Result<T, String>,
    ) -> T {
        for item in self.list(setting) {
            match add(sum.clone(), &item) {
                Ok(next) => sum = next,
                Err(why) => self.wrong(setting, why),
            }
        }
        sum
    }

    /// True or false; `None` if there is neither.
    pub(super) fn switch(&mut self, setting: &Setting) -> Option<bool> {
        self.parsed(setting, |text| {
            text.parse::<bool>().map_err(|_| format!("{text:?} is neither true nor false"))
        })
    }

    /// A secret, or what is in the file that was named instead.
    pub(super) fn secret(&mut self, setting: &Setting) -> Option<SecretString> {
        let entry = self.given.get(setting)?;
        match secret(setting.own_name(), entry) {
            Ok(secret) => Some(secret),
            Err(why) => {
                self.wrong(setting, why);
                None
            }
        }
    }

    /// The same with the name that was used, and whether it is that of the file.
    pub(super) fn named_secret(&mut self, setting: &Setting) -> Option<(Name, bool, SecretString)> {
        let name = self.given.get(setting)?.name;
        let secret = self.secret(setting)?;
        Some((name, name != setting.own_name(), secret))
    }

    /// A secret that is a list of keys.
    pub(super) fn keys<T>(
        &mut self,
        setting: &Setting,
        make: impl FnOnce(&[SecretString]) -> Result<T, String>,
    ) -> Option<T> {
        let keys = key_list(&self.secret(setting)?);
        match make(&keys) {
            Ok(made) => Some(made),
            Err(why) => {
                self.wrong(setting, why);
                None
            }
        }
    }
}

/// Of a flag that was given twice, the last one.
fn one(entry: &Entry) -> Result<&str, &'static str> {
    match &entry.value {
        Raw::Items(_) => Err("it is an array; one text is expected"),
        Raw::Texts(texts) => texts
            .last()
            .map(|text| text.as_str())
            .filter(|text| !text.trim().is_empty())
            .ok_or("it is empty"),
    }
}

/// The items of a list setting. A text that begins with `[` is a JSON array.
pub(in super::super) fn items(
    setting: &Setting,
    entry: Option<&Entry>,
) -> Result<Vec<String>, &'static str> {
    let texts: Vec<&str> = match (entry.map(|entry| &entry.value), setting.fallback) {
        (None, Fallback::Is(value)) => vec![value],
        (None, _) => Vec::new(),
        (Some(Raw::Texts(texts)), _) => texts.iter().map(|text| text.as_str()).collect(),
        (Some(Raw::Items(items)), _) => {
            return without_blanks(items.iter().map(|item| item.to_string()).collect());
        }
    };
    let mut all = Vec::new();
    for text in texts {
        if text.trim_start().starts_with('[') {
            let items: Vec<String> = serde_json::from_str(text)
                .map_err(|_| "it begins like a JSON array, but is not one of texts")?;
            all.extend(without_blanks(items)?);
        } else if setting.kind == Kind::Items {
            all.extend(without_blanks(vec![text.trim().to_owned()])?);
        } else {
            let separated = text
                .split(|c: char| c == ',' || (setting.kind != Kind::Phrases && c.is_whitespace()));
            all.extend(separated.map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned));
        }
    }
    Ok(all)
}

/// An unfilled template is no item.
fn without_blanks(items: Vec<String>) -> Result<Vec<String>, &'static str> {
    if items.iter().any(|item| item.trim().is_empty()) {
        return Err("one of its items is empty");
    }
    Ok(items)
}

fn secret(own_name: Name, entry: &Entry) -> Result<SecretString, String> {
    let text = one(entry)?;
    if entry.name == own_name {
        return Ok(text.into());
    }
    secret_file(text)
}

/// The secret in a file, without the end of its line.
pub(super) fn secret_file(path: &str) -> Result<SecretString, String> {
    let content = fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|error| format!("{path:?} could not be read: {error}"))?;
    let content = content.strip_suffix('\n').unwrap_or(&content);
    let content = content.strip_suffix('\r').unwrap_or(content);
    if content.is_empty() {
        return Err(format!("{path:?} is empty"));
    }
    Ok(content.into())
}
