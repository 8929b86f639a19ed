//! What is wrong with the file, and where: the line, the key, the value, and the form that would do.

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::FILE_NAME;
use crate::telemetry::text::escape_controls;

/// The longest value or key that is shown, in characters.
const LONGEST_QUOTE: usize = 80;
/// What the parser says of a value that is no text where one of a few words is wanted.
const NO_WORD: &str = "wanted string or table";

/// Why the file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestError {
    /// The line, counted from 1, if the reason is in one.
    pub line: Option<usize>,
    /// What is wrong there and what would be accepted, on one line.
    pub message: String,
}

impl ManifestError {
    pub(super) fn of_the_file(message: impl Into<String>) -> Self {
        Self {
            line: None,
            message: message.into(),
        }
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(formatter, "{FILE_NAME}, line {line}: {}", self.message),
            None => write!(formatter, "{FILE_NAME}: {}", self.message),
        }
    }
}

impl std::error::Error for ManifestError {}

/// The file's text with the tree of its keys, to find the place of an error.
pub(super) struct Document<'a> {
    text: &'a str,
    tree: Spanned<DeValue<'a>>,
}

/// Keys from the top of the file; an element of a list has its number, counted from 0, in brackets.
type KeyPath = Vec<String>;

impl<'a> Document<'a> {
    pub(super) fn new(text: &'a str) -> Result<Self, ManifestError> {
        let tree = DeTable::parse(text).map_err(|error| ManifestError {
            line: error.span().map(|span| line(text, span.start)),
            message: match error.span().and_then(|span| quote(text, &span)) {
                Some(found) => format!("{} at {found}", error.message()),
                None => error.message().to_owned(),
            },
        })?;
        Ok(Self {
            text,
            tree: Spanned::new(tree.span(), DeValue::Table(tree.into_inner())),
        })
    }

    /// The keys and values, to be read into types.
    pub(super) fn table(&self) -> Spanned<DeValue<'a>> {
        self.tree.clone()
    }

    /// A complaint about the value at `path`; `says` follows its name and itself.
    pub(super) fn complain(&self, path: &[String], says: &str) -> ManifestError {
        let mut place = &self.tree;
        for step in path {
            match child(place, step) {
                Some(next) => place = next,
                None => break,
            }
        }
        let value = quote(self.text, &place.span());
        self.complaint(place.span().start, &join(path), value, says)
    }

    /// A complaint about a value that could not be read into its type.
    pub(super) fn explain(&self, error: &toml::de::Error) -> ManifestError {
        let message = error.message();
        let span = error.span().unwrap_or_else(|| self.tree.span());
        let (path, is_key) = self.path_to(&span);
        let start = span.start;
        if let Some(rest) = message.strip_prefix("unknown field ") {
            let name = path.last().cloned().unwrap_or_default();
            let says = match nearest(&name, rest) {
                Some(nearest) => format!("is no key of this version; the nearest is `{nearest}`"),
                None => "is no key of this version".to_owned(),
            };
            return self.complaint(start, &join(&path), None, &says);
        }
        if let Some(field) = message.strip_prefix("missing field ") {
            return self.complaint(start, &join(&path), None, &format!("lacks the key {field}"));
        }
        let value = if is_key { None } else { quote(self.text, &span) };
        let says = match message.rsplit_once(", expected ") {
            Some((_, accepted)) => format!("it must be {}", in_words_of_toml(accepted)),
            None if message == NO_WORD => "it must be a word in quotes".to_owned(),
            None => message.to_owned(),
        };
        self.complaint(start, &join(&path), value, &says)
    }

    fn complaint(&self, start: usize, path: &str, value: Option<String>, says: &str) -> ManifestError {
        let message = match value {
            Some(value) => format!("{path} is {value}; {says}"),
            None if says.starts_with("it ") => format!("{path} is not accepted; {says}"),
            None => format!("{path} {says}"),
        };
        ManifestError {
            line: Some(line(self.text, start)),
            message,
        }
    }

    /// The path to the smallest thing that contains the span, and whether it is a key and not a value.
    fn path_to(&self, span: &Range<usize>) -> (KeyPath, bool) {
        let mut path = KeyPath::new();
        let mut place = &self.tree;
        loop {
            let found = children(place)
                .find(|(key, _, value)| key.as_ref().is_some_and(|key| key == span) || holds(value, span));
            let Some((key, name, value)) = found else {
                return (path, false);
            };
            path.push(name);
            if key.as_ref() == Some(span) {
                return (path, true);
            }
            place = value;
        }
    }
}

/// A member of a table or list: the key's place, its name as a step of a path, the value.
type Member<'t, 'a> = (Option<Range<usize>>, String, &'t Spanned<DeValue<'a>>);

fn children<'t, 'a>(value: &'t Spanned<DeValue<'a>>) -> Box<dyn Iterator<Item = Member<'t, 'a>> + 't> {
    match value.get_ref() {
        DeValue::Table(table) => Box::new(
            table
                .iter()
                .map(|(key, value)| (Some(key.span()), key.get_ref().to_string(), value)),
        ),
        DeValue::Array(list) => Box::new(
            list.iter()
                .enumerate()
                .map(|(index, value)| (None, element(index), value)),
        ),
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            Box::new(std::iter::empty())
        }
    }
}

fn child<'t, 'a>(value: &'t Spanned<DeValue<'a>>, step: &str) -> Option<&'t Spanned<DeValue<'a>>> {
    children(value)
        .find(|(_, name, _)| name == step)
        .map(|(_, _, value)| value)
}

/// Whether a value, or anything in it, has the span. A table's own span is only that of its header.
fn holds(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    let own = value.span();
    (own.start <= span.start && span.end <= own.end)
        || children(value).any(|(key, _, value)| key.as_ref() == Some(span) || holds(value, span))
}

/// The step of a path that leads to an element of a list.
pub(super) fn element(index: usize) -> String {
    format!("[{index}]")
}

fn join(path: &[String]) -> String {
    let mut text = String::new();
    for step in path {
        if !text.is_empty() && !step.starts_with('[') {
            text.push('.');
        }
        let is_bare = step
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_[]".contains(&byte));
        if is_bare && !step.is_empty() {
            text.push_str(step);
        } else {
            text.push_str(&format!("{:?}", shortened(step)));
        }
    }
    if text.is_empty() { "the file".to_owned() } else { text }
}

/// A value as it stands in the file, if it stands on one line.
fn quote(text: &str, span: &Range<usize>) -> Option<String> {
    let value = text.get(span.clone())?.trim();
    if value.is_empty() || value.contains('\n') || value.starts_with('[') {
        return None;
    }
    // A tabulator may stand in a log line, but nobody would see it in a value.
    Some(escape_controls(&shortened(value)).replace('\t', "\\t"))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_QUOTE) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

fn line(text: &str, position: usize) -> usize {
    let before = text.as_bytes().iter().take(position);
    1 + before.filter(|byte| **byte == b'\n').count()
}

/// What serde calls the kinds of values, as TOML calls them.
fn in_words_of_toml(accepted: &str) -> String {
    match accepted {
        "a map" => "a table".to_owned(),
        "a sequence" => "a list: values in brackets, or tables under a header in double brackets".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" => "text in quotes".to_owned(),
        other => other.to_owned(),
    }
}

/// Of the names that a message lists between backticks after "expected", the one that is nearest.
fn nearest<'m>(name: &str, message: &'m str) -> Option<&'m str> {
    let (_, expected) = message.rsplit_once(", expected ")?;
    nearest_of(name, expected.split('`').skip(1).step_by(2))
}

/// The nearest of some names.
pub(super) fn nearest_of<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    known.min_by_key(|known| strsim::damerau_levenshtein(known, name))
}
