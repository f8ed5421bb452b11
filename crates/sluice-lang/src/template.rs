//! `{{args.name}}` in metrics and in arguments of experiments.
//!
//! It decides what a tag is and what stands in its place. It does not decide where values come from: a
//! [`Resolve`] says so, which may answer with stand-ins while Secrets have not been read.
//!
//! A tag begins with `{{` and ends with the first `}}` after it. Its content, without the space around it, is
//! looked up as it stands: no functions, no defaults, no escapes, and what was put in is not looked at again.
//! Same rules as Argo Rollouts v1.10, `utils/template/template.go`. That one substitutes in the JSON text of a
//! metric, where a value with certain control characters breaks the text and a tag that is not closed
//! swallows what follows; here each string is taken by itself.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

const OPEN: &str = "{{";
const CLOSE: &str = "}}";

/// Most bytes that one rendering makes. Tags multiply: a short text can name a long value many times.
const MAX_OUTPUT_BYTES: usize = 4 << 20;

/// What stands in place of a secret until it is read; the text is Argo's.
pub const SECRET_STAND_IN: &str = "temp-for-secret";

/// A text that cannot be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A tag means nothing. If there are several, this is the last one.
    #[error("failed to resolve {{{{{0}}}}}")]
    Unresolved(String),
    /// A tag has no end.
    #[error("failed to resolve {{{{{0}: the tag is not closed with }}}}")]
    NotClosed(String),
    /// The values are too long.
    #[error("the resolved text is longer than {MAX_OUTPUT_BYTES} bytes")]
    TooLong,
    /// An argument has no value.
    #[error("argument {0:?} was not supplied")]
    NotSupplied(String),
    /// A Secret that has been read does not have the key that is named.
    #[error("key '{key}' does not exist in secret '{name}'")]
    NoSuchKey {
        /// The Secret's name.
        name: String,
        /// The missing key.
        key: String,
    },
}

/// Knows what stands in place of a tag.
pub trait Resolve {
    /// Returns the value of a tag's content, such as `args.name`.
    fn resolve(&self, tag: &str) -> Option<Cow<'_, str>>;
}

impl<F: Fn(&str) -> Option<String>> Resolve for F {
    fn resolve(&self, tag: &str) -> Option<Cow<'_, str>> {
        self(tag).map(Cow::Owned)
    }
}

/// Replaces the tags in a text.
///
/// # Errors
/// A tag means nothing or is not closed, or the text becomes too long.
pub fn render(text: &str, values: &impl Resolve) -> Result<String, TemplateError> {
    Rendering { values, left: MAX_OUTPUT_BYTES, unresolved: None }.whole(|rendering| rendering.text(text))
}

/// Replaces the tags in all strings of a JSON value, names of members included.
///
/// # Errors
/// As for [`render`].
pub fn render_json(json: &Value, values: &impl Resolve) -> Result<Value, TemplateError> {
    Rendering { values, left: MAX_OUTPUT_BYTES, unresolved: None }.whole(|rendering| rendering.json(json))
}

struct Rendering<'a, R> {
    values: &'a R,
    left: usize,
    unresolved: Option<String>,
}

impl<R: Resolve> Rendering<'_, R> {
    fn whole<T>(
        mut self,
        render: impl FnOnce(&mut Self) -> Result<T, TemplateError>,
    ) -> Result<T, TemplateError> {
        let rendered = render(&mut self)?;
        match self.unresolved {
            Some(tag) => Err(TemplateError::Unresolved(tag)),
            None => Ok(rendered),
        }
    }

    fn text(&mut self, text: &str) -> Result<String, TemplateError> {
        let mut output = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(OPEN) {
            self.push(&mut output, before)?;
            let Some((tag, after)) = after.split_once(CLOSE) else {
                return Err(TemplateError::NotClosed(shortened(after)));
            };
            let values = self.values;
            match values.resolve(tag.trim()) {
                Some(value) => self.push(&mut output, &value)?,
                None => self.unresolved = Some(shortened(tag)),
            }
            rest = after;
        }
        self.push(&mut output, rest)?;
        Ok(output)
    }

    fn push(&mut self, output: &mut String, text: &str) -> Result<(), TemplateError> {
        self.left = self.left.checked_sub(text.len()).ok_or(TemplateError::TooLong)?;
        output.push_str(text);
        Ok(())
    }

    fn json(&mut self, json: &Value) -> Result<Value, TemplateError> {
        Ok(match json {
            Value::Null | Value::Bool(_) | Value::Number(_) => json.clone(),
            Value::String(text) => Value::String(self.text(text)?),
            Value::Array(items) => {
                Value::Array(items.iter().map(|item| self.json(item)).collect::<Result<_, _>>()?)
            }
            Value::Object(members) => {
                let member = |(name, value): (&String, &Value)| Ok((self.text(name)?, self.json(value)?));
                Value::Object(members.iter().map(member).collect::<Result<_, _>>()?)
            }
        })
    }
}

/// Enough of a tag to find it.
fn shortened(tag: &str) -> String {
    const MOST: usize = 200;
    if tag.chars().count() <= MOST { tag.to_owned() } else { tag.chars().take(MOST).chain(['…']).collect() }
}

/// Where the value of an argument is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Here.
    Value(String),
    /// In a Secret.
    Secret(SecretKey),
}

/// A key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretKey {
    /// The Secret's name.
    pub name: String,
    /// The key.
    pub key: String,
}

/// A value that must not be seen.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(String);

impl SecretValue {
    /// Keeps a value from being printed by mistake.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for those who really send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("*****")
    }
}

/// The arguments of a run, by name.
#[derive(Clone, Debug, Default)]
pub struct Arguments(BTreeMap<String, Argument>);

impl Arguments {
    /// Collects arguments; of two with one name the later counts.
    ///
    /// # Errors
    /// One has no value, which is an error even if nothing names it.
    pub fn new(
        arguments: impl IntoIterator<Item = (String, Option<Argument>)>,
    ) -> Result<Self, TemplateError> {
        let supplied = arguments.into_iter().map(|(name, argument)| match argument {
            Some(argument) => Ok((name, argument)),
            None => Err(TemplateError::NotSupplied(name)),
        });
        supplied.collect::<Result<_, _>>().map(Self)
    }

    /// The keys of Secrets that are needed, in order and each once.
    pub fn secrets(&self) -> Vec<&SecretKey> {
        let mut keys: Vec<&SecretKey> = self.0.values().filter_map(Argument::secret).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// Values with a stand-in for each secret, for whatever is looked at before Secrets are read.
    pub fn without_secrets(&self) -> Values<'_> {
        self.values(|_| Some(SECRET_STAND_IN)).unwrap_or_default()
    }

    /// Values with the secrets that have been read.
    ///
    /// # Errors
    /// One of them is missing.
    pub fn with_secrets<'a>(
        &'a self,
        secrets: &'a BTreeMap<SecretKey, SecretValue>,
    ) -> Result<Values<'a>, TemplateError> {
        self.values(|key| secrets.get(key).map(SecretValue::reveal))
    }

    fn values<'a>(
        &'a self,
        secret: impl Fn(&'a SecretKey) -> Option<&'a str>,
    ) -> Result<Values<'a>, TemplateError> {
        let value = |(name, argument): (&'a String, &'a Argument)| match argument {
            Argument::Value(value) => Ok((name.as_str(), value.as_str())),
            Argument::Secret(key) => match secret(key) {
                Some(value) => Ok((name.as_str(), value)),
                None => Err(TemplateError::NoSuchKey { name: key.name.clone(), key: key.key.clone() }),
            },
        };
        self.0.iter().map(value).collect::<Result<_, _>>().map(Values)
    }
}

impl Argument {
    fn secret(&self) -> Option<&SecretKey> {
        match self {
            Argument::Secret(key) => Some(key),
            Argument::Value(_) => None,
        }
    }
}

/// Values by which `{{args.name}}` is resolved.
#[derive(Clone, Default)]
pub struct Values<'a>(BTreeMap<&'a str, &'a str>);

impl Resolve for Values<'_> {
    fn resolve(&self, tag: &str) -> Option<Cow<'_, str>> {
        let name = tag.strip_prefix("args.")?;
        self.0.get(name).map(|value| Cow::Borrowed(*value))
    }
}

/// Hides secrets in a text that people will read. Longer ones go first, since one may contain another.
pub fn redact<'a>(text: &str, secrets: impl IntoIterator<Item = &'a SecretValue>) -> String {
    let mut values: Vec<&str> = secrets.into_iter().map(SecretValue::reveal).collect();
    values.retain(|value| !value.is_empty());
    values.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
    values.dedup();
    values.into_iter().fold(text.to_owned(), |text, value| text.replace(value, "*****"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn arguments(arguments: &[(&str, &str)]) -> Arguments {
        let value = |value: &str| Some(Argument::Value(value.to_owned()));
        Arguments::new(arguments.iter().map(|(name, text)| ((*name).to_owned(), value(text))))
            .expect("all have values")
    }

    #[test]
    fn tags_are_replaced() {
        let arguments =
            arguments(&[("a", "X"), ("b", "{{args.a}}"), ("open", "{{"), ("s", "svc"), ("l", "job")]);
        // vector, text => rendered, or error
        for (name, text, expected) in [
            ("T1", "{{args.a}}", Ok("X")),
            ("T1", "{{ args.a }}", Ok("X")),
            ("T1", "{{\n  args.a\n}}", Ok("X")),
            ("T2", "{{args.b}}", Ok("{{args.a}}")),
            ("T3", "{{args.c}}", Err("failed to resolve {{args.c}}")),
            ("T4", "{{args.missing1}} {{args.missing2}}", Err("failed to resolve {{args.missing2}}")),
            ("T4", "{{args.missing1}} {{args.a}}", Err("failed to resolve {{args.missing1}}")),
            ("T5", "{{ args.a | upper }}", Err("failed to resolve {{ args.a | upper }}")),
            ("T5", "{{ARGS.a}}", Err("failed to resolve {{ARGS.a}}")),
            ("T5", "{{args. a}}", Err("failed to resolve {{args. a}}")),
            ("T5", "{{}}", Err("failed to resolve {{}}")),
            ("T5", "{{inputs.x}}", Err("failed to resolve {{inputs.x}}")),
            ("T6", "\\{{args.a}}", Ok("\\X")),
            ("T7", "a }} b", Ok("a }} b")),
            ("T8", "{{args.open}} .Values }}", Ok("{{ .Values }}")),
            ("T9", "{{ oops", Err("failed to resolve {{ oops: the tag is not closed with }}")),
            ("T10", "docker inspect -f '{{.State}}'", Err("failed to resolve {{.State}}")),
            ("braces", "{service:{{args.s}}}", Ok("{service:svc}")),
            ("braces", "up{{{args.l}}=\"x\"}", Err("failed to resolve {{{args.l}}")),
            ("none", "", Ok("")),
            ("several", "{{args.a}}{{args.a}}-{{args.s}}", Ok("XX-svc")),
        ] {
            let found = render(text, &arguments.without_secrets()).map_err(|error| error.to_string());
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{name}: {text}");
        }
    }

    #[test]
    fn a_metric_is_rendered_as_a_whole() {
        let value = "quote \" back \\ line\n bell \u{7} esc \u{1b} del \u{7f} 😀";
        let arguments = arguments(&[("v", value), ("n", "5")]);
        let metric = json!({
            "name": "m", "count": "{{args.n}}", "failureLimit": 3, "interval": null, "on": true,
            "provider": {"web": {"url": "http://x/{{args.v}}", "headers": [{"key": "{{args.n}}"}]}, "{{args.n}}": {}},
        });
        let expected = json!({
            "name": "m", "count": "5", "failureLimit": 3, "interval": null, "on": true,
            "provider": {"web": {"url": format!("http://x/{value}"), "headers": [{"key": "5"}]}, "5": {}},
        });
        assert_eq!(render_json(&metric, &arguments.without_secrets()), Ok(expected));
        let wrong = json!({"a": ["{{args.x}}", {"b": "{{args.y}}"}], "c": "{{args.n}}"});
        let error = render_json(&wrong, &arguments.without_secrets()).expect_err("unknown");
        assert_eq!(error, TemplateError::Unresolved("args.y".to_owned()));
    }

    #[test]
    fn secrets_are_stood_in_for_until_they_are_read() {
        let key = |name: &str, key: &str| SecretKey { name: name.to_owned(), key: key.to_owned() };
        let token = key("tokens", "api");
        let arguments = Arguments::new([
            ("token".to_owned(), Some(Argument::Secret(token.clone()))),
            ("again".to_owned(), Some(Argument::Secret(token.clone()))),
            ("host".to_owned(), Some(Argument::Value("example".to_owned()))),
        ])
        .expect("all have values");
        assert_eq!(arguments.secrets(), [&token]);
        let text = "{{args.host}}?t={{args.token}}";
        let stood_in = render(text, &arguments.without_secrets());
        assert_eq!(stood_in.as_deref(), Ok("example?t=temp-for-secret"));

        let mut secrets = BTreeMap::new();
        let missing = arguments.with_secrets(&secrets).err().map(|error| error.to_string());
        assert_eq!(missing.as_deref(), Some("key 'api' does not exist in secret 'tokens'"));
        secrets.insert(token, SecretValue::new("hush"));
        let real = arguments.with_secrets(&secrets).and_then(|values| render(text, &values));
        assert_eq!(real.as_deref(), Ok("example?t=hush"));
        assert_eq!(format!("{secrets:?}").matches("hush").count(), 0);

        let unsupplied =
            Arguments::new([("x".to_owned(), None)]).map(|_| ()).map_err(|error| error.to_string());
        assert_eq!(unsupplied.expect_err("no value"), "argument \"x\" was not supplied");
    }

    #[test]
    fn secrets_are_hidden() {
        let secrets = ["", "pass", "password1"].map(SecretValue::new);
        assert_eq!(redact("password1, pass and passwords", &secrets), "*****, ***** and *****words");
    }

    #[test]
    fn output_is_bounded() {
        let long = "x".repeat(100_000);
        let arguments = arguments(&[("a", &long)]);
        let text = "{{args.a}}".repeat(100);
        assert_eq!(render(&text, &arguments.without_secrets()), Err(TemplateError::TooLong));
        let json = json!("{{args.a}}");
        let many = Value::Array(vec![json; 100]);
        assert_eq!(render_json(&many, &arguments.without_secrets()), Err(TemplateError::TooLong));
        let closures_resolve_too = render("a{{ x }}", &|tag: &str| Some(tag.to_uppercase()));
        assert_eq!(closures_resolve_too.as_deref(), Ok("aX"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn whatever_is_rendered(text in "[{}a. ]{0,24}") {
            let arguments = arguments(&[("a", "{{args.a}}")]);
            match render(&text, &arguments.without_secrets()) {
                Ok(rendered) if !text.contains(OPEN) => prop_assert_eq!(rendered, text),
                Ok(_) => prop_assert!(text.contains(CLOSE)),
                Err(_) => prop_assert!(text.contains(OPEN)),
            }
        }

        #[test]
        fn values_arrive_as_they_are(value in any::<String>()) {
            let arguments = arguments(&[("a", &value)]);
            let metric = json!({"x": ["{{args.a}}"]});
            prop_assert_eq!(render_json(&metric, &arguments.without_secrets()), Ok(json!({"x": [value]})));
        }
    }
}
