//! Values as Go prints them, as text and as JSON.

use std::borrow::Cow;
use std::fmt::Write;

use super::time;
use super::value::{Key, MapForm, Value};
use crate::{go_duration, go_format};

impl Value {
    /// The value as Go's `%v` prints it: `1e+06`, `[1 2]`, `map[a:1]`, `<nil>`.
    pub fn to_text(&self) -> String {
        self.to_text_within(usize::MAX)
    }

    /// As [`Value::to_text`], but stops soon after so many bytes.
    pub fn to_text_within(&self, bytes: usize) -> String {
        let mut text = String::new();
        self.push_text(&mut text, bytes);
        text
    }

    /// The value in a message, which is cut anyway.
    pub(super) fn in_message(&self) -> String {
        self.to_text_within(2_000)
    }

    fn push_text(&self, text: &mut String, bytes: usize) {
        if text.len() > bytes {
            return;
        }
        match self {
            Value::Nil => text.push_str("<nil>"),
            // Writing to a string cannot fail.
            Value::Bool(x) => _ = write!(text, "{x}"),
            Value::Int(x) | Value::Int64(x) => _ = write!(text, "{x}"),
            Value::Float(x) => text.push_str(&go_format::float(*x)),
            Value::String(x) => text.push_str(x),
            Value::List(list) => push_spaced(text, '[', ']', list.items.iter(), bytes),
            Value::Record(record) => push_spaced(text, '{', '}', record.values.iter(), bytes),
            Value::Map(map) => {
                text.push_str("map[");
                for (position, (key, value)) in map.entries.iter().enumerate() {
                    if position > 0 {
                        text.push(' ');
                    }
                    key.value().push_text(text, bytes);
                    text.push(':');
                    value.push_text(text, bytes);
                    if text.len() > bytes {
                        return;
                    }
                }
                text.push(']');
            }
            Value::Time(time) => text.push_str(&time::print(time)),
            Value::Duration(duration) => text.push_str(&go_duration::print(*duration)),
            Value::Zone(zone) => text.push_str(zone.iana_name().unwrap_or("Local")),
            Value::Function(function) => text.push_str(function.name()),
        }
    }

    /// The value as Go's JSON encoder prints it, or why it cannot.
    pub fn to_json(&self) -> Result<String, String> {
        let mut json = String::new();
        self.push_json(&mut json, None, 0)?;
        Ok(json)
    }

    /// As [`Value::to_json`], over several lines.
    pub fn to_json_indented(&self) -> Result<String, String> {
        let mut json = String::new();
        self.push_json(&mut json, Some("  "), 0)?;
        Ok(json)
    }

    fn push_json(&self, json: &mut String, indent: Option<&str>, depth: usize) -> Result<(), String> {
        let unsupported = || Err(format!("json: unsupported type: {}", self.go_type()));
        match self {
            Value::Nil => json.push_str("null"),
            Value::Bool(x) => _ = write!(json, "{x}"),
            Value::Int(x) | Value::Int64(x) => _ = write!(json, "{x}"),
            Value::Float(x) => match go_format::float_json(*x) {
                Some(text) => json.push_str(&text),
                None => return Err(format!("json: unsupported value: {}", go_format::float(*x))),
            },
            Value::String(text) => go_format::push_json_string(json, text),
            Value::Time(time) => go_format::push_json_string(json, &time::rfc3339(time)),
            Value::Duration(duration) => _ = write!(json, "{}", duration.as_nanos()),
            Value::Zone(_) => json.push_str("{}"),
            Value::List(list) => {
                let items = list.items.iter().map(|item| (None, item));
                push_members(json, ('[', ']'), items, indent, depth)?;
            }
            Value::Record(record) => {
                let names = record.shape.fields.iter().map(|(name, _)| Some(Cow::Borrowed(*name)));
                push_members(json, ('{', '}'), names.zip(record.values.iter()), indent, depth)?;
            }
            Value::Map(map) if map.form == MapForm::Object => {
                let members = map.entries.iter().map(|(key, value)| {
                    let name = match key {
                        Key::String(name) => Cow::Borrowed(&**name),
                        other => Cow::Owned(other.value().to_text()),
                    };
                    (Some(name), value)
                });
                push_members(json, ('{', '}'), members, indent, depth)?;
            }
            Value::Map(_) | Value::Function(_) => return unsupported(),
        }
        Ok(())
    }
}

fn push_spaced<'a>(
    text: &mut String,
    open: char,
    close: char,
    items: impl Iterator<Item = &'a Value>,
    bytes: usize,
) {
    text.push(open);
    for (position, item) in items.enumerate() {
        if position > 0 {
            text.push(' ');
        }
        if text.len() > bytes {
            return;
        }
        item.push_text(text, bytes);
    }
    text.push(close);
}

fn push_members<'a>(
    json: &mut String,
    (open, close): (char, char),
    members: impl Iterator<Item = (Option<Cow<'a, str>>, &'a Value)>,
    indent: Option<&str>,
    depth: usize,
) -> Result<(), String> {
    let new_line = |json: &mut String, depth: usize| {
        if let Some(indent) = indent {
            json.push('\n');
            json.push_str(&indent.repeat(depth));
        }
    };
    json.push(open);
    let mut is_empty = true;
    for (name, value) in members {
        if !is_empty {
            json.push(',');
        }
        is_empty = false;
        new_line(json, depth + 1);
        if let Some(name) = name {
            go_format::push_json_string(json, &name);
            json.push_str(if indent.is_some() { ": " } else { ":" });
        }
        value.push_json(json, indent, depth + 1)?;
    }
    if !is_empty {
        new_line(json, depth);
    }
    json.push(close);
    Ok(())
}
