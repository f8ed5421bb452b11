//! The hash of canary steps, byte for byte as Argo Rollouts computes it.
//!
//! It decides one value: `status.currentStepHash`. A controller that takes over in the middle of a
//! canary compares it, and a difference would start the steps again.
//!
//! The input is the JSON that Go's encoder writes for the steps: fields in order of declaration, map
//! keys sorted, no spaces, and `<`, `>`, `&`, U+2028 and U+2029 escaped. Its 32-bit FNV-1a sum is
//! written in decimal and each digit replaced by a letter or digit that is safe in a name.

use std::borrow::Cow;
use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use crate::gates::OnFailure;
use crate::steps::CanaryStep;

/// Returns the hash of the steps; no steps at all hash as `null`.
pub fn step_hash(steps: &[CanaryStep]) -> String {
    let json = if steps.is_empty() { b"null".to_vec() } else { go_json(&known_to_argo(steps)) };
    safe_encode(fnv1a_32(&json))
}

/// The steps as Argo Rollouts reads them, which leaves out what it does not know. With fields of ours in the
/// hash, each change of controllers would start the steps again.
fn known_to_argo(steps: &[CanaryStep]) -> Cow<'_, [CanaryStep]> {
    let is_ours =
        |step: &CanaryStep| step.analysis.as_ref().is_some_and(|a| a.on_failure != OnFailure::Abort);
    if !steps.iter().any(is_ours) {
        return steps.into();
    }
    let mut steps = steps.to_vec();
    let analyses = steps.iter_mut().filter_map(|step| step.analysis.as_mut());
    analyses.for_each(|analysis| analysis.on_failure = OnFailure::Abort);
    steps.into()
}

/// Writes a value as Go's JSON encoder would.
pub fn go_json<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing into memory cannot fail, and our types have string keys only.
    let written = value.serialize(&mut Serializer::with_formatter(&mut bytes, GoFormatter));
    debug_assert!(written.is_ok(), "{written:?}");
    bytes
}

/// Returns the 32-bit FNV-1a sum.
pub fn fnv1a_32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Writes a number in decimal with digits that never form a word.
pub fn safe_encode(number: u32) -> String {
    const SAFE_DIGITS: &[u8; 10] = b"456789bcdf";
    number.to_string().bytes().map(|digit| char::from(SAFE_DIGITS[usize::from(digit - b'0')])).collect()
}

/// Escapes what Go escapes beyond the JSON standard, and prints floats in its form.
struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (plain, special) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let mut characters = special.chars();
            let character = characters.next().map_or(0, u32::from);
            write!(writer, "\\u{character:04x}")?;
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let magnitude = value.abs();
        if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
            // Rust writes 1e21 and 1e-7; Go puts a plus sign before a positive exponent.
            let text = format!("{value:e}");
            let text = if magnitude >= 1e21 { text.replace('e', "e+") } else { text };
            return writer.write_all(text.as_bytes());
        }
        if value == 0.0 && value.is_sign_negative() {
            return writer.write_all(b"-0");
        }
        write!(writer, "{value}")
    }

    fn write_null<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        CompactFormatter.write_null(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(steps: &str, hash: &str) {
        let parsed: Vec<CanaryStep> = serde_json::from_str(steps).unwrap();
        assert_eq!(step_hash(&parsed), hash, "{}", String::from_utf8_lossy(&go_json(&parsed)));
    }

    #[test]
    fn known_hashes() {
        check("[]", "5ffbfbbd64");
        check(r#"[{"setWeight":10},{"pause":{}}]"#, "849b756fd4");
        check(r#"[{"pause":{}}]"#, "6b9b86fbd5");
        check(r#"[{"pause":{}},{"pause":{}}]"#, "79c9b9f6bf");
        check(r#"[{"setWeight":10}]"#, "54b5fccf74");
    }

    #[test]
    fn hashes_that_argo_rollouts_wrote() {
        check(r#"[{"setWeight":20},{"pause":{}},{"setWeight":60},{"pause":{"duration":"1h"}}]"#, "6ff65987d");
        check(r#"[{"setWeight":40},{"pause":{}},{"setWeight":80},{"pause":{}}]"#, "cccfdb5cc");
        check(r#"[{"setWeight":5},{"pause":{}},{"setWeight":50},{"pause":{}}]"#, "855557c769");
        check(r#"[{"setWeight":50},{"pause":{}}]"#, "757f5f97b");
        check(r#"[{"setWeight":25},{"pause":{}}]"#, "77b4b4f4c6");
        check(
            r#"[{"setCanaryScale":{"replicas":1}},
                {"setHeaderRoute":{"match":[{"headerName":"x-beta","headerValue":{"exact":"1"}}],"name":"beta"}},
                {"pause":{}},{"setCanaryScale":{"matchTrafficWeight":true}},{"setWeight":20},{"pause":{}}]"#,
            "69464dc7f8",
        );
        check(
            r#"[{"setWeight":20},
                {"analysis":{"args":[{"name":"svc","value":"web"}],"templates":[{"templateName":"step"}]}},
                {"pause":{}},
                {"experiment":{"analyses":[{"args":[{"name":"svc","value":"x"}],"name":"step","templateName":"step"}],
                  "analysisRunMetadata":{},"duration":"1h",
                  "templates":[{"metadata":{},"name":"base","specRef":"stable"},
                               {"metadata":{},"name":"cand","replicas":1,"specRef":"canary"}]}}]"#,
            "587757b5c8",
        );
    }

    #[test]
    fn zero_values_are_left_out_as_go_does() {
        // as stored => as hashed
        for (stored, hashed) in [
            (
                r#"{"analysis":{"templates":[{"templateName":"t","clusterScope":false}],"args":[]}}"#,
                r#"[{"analysis":{"templates":[{"templateName":"t"}]}}]"#,
            ),
            (
                r#"{"analysis":{"args":[{"name":"a","value":""}],"templates":[{}]}}"#,
                r#"[{"analysis":{"templates":[{"templateName":""}],"args":[{"name":"a"}]}}]"#,
            ),
            (r#"{"setWeight":0}"#, r#"[{"setWeight":0}]"#),
            (r#"{"pause":{"duration":0}}"#, r#"[{"pause":{"duration":0}}]"#),
            (r#"{"pause":{"duration":null}}"#, r#"[{"pause":{}}]"#),
            (
                r#"{"setCanaryScale":{"weight":0,"matchTrafficWeight":false}}"#,
                r#"[{"setCanaryScale":{"weight":0}}]"#,
            ),
            (
                r#"{"setHeaderRoute":{"match":[{"headerName":"h"}]}}"#,
                r#"[{"setHeaderRoute":{"match":[{"headerName":"h","headerValue":null}]}}]"#,
            ),
            (
                r#"{"setMirrorRoute":{"percentage":0,"match":[{"headers":{"b":{"exact":"1"},"a":{"regex":".*","prefix":""}},"path":{"prefix":"/"}}],"name":"m"}}"#,
                r#"[{"setMirrorRoute":{"name":"m","match":[{"path":{"prefix":"/"},"headers":{"a":{"regex":".*"},"b":{"exact":"1"}}}],"percentage":0}}]"#,
            ),
            (
                r#"{"experiment":{"templates":[{"selector":{"matchExpressions":[{"values":["v"],"operator":"In","key":"k"}],"matchLabels":{"z":"1","a":"2"}},"specRef":"canary","name":"n","service":{},"weight":5}],"scaleDownDelaySeconds":0}}"#,
                r#"[{"experiment":{"templates":[{"name":"n","specRef":"canary","metadata":{},"selector":{"matchLabels":{"a":"2","z":"1"},"matchExpressions":[{"key":"k","operator":"In","values":["v"]}]},"weight":5,"service":{}}],"analysisRunMetadata":{},"scaleDownDelaySeconds":0}}]"#,
            ),
            (
                r#"{"plugin":{"config":{"b":[1.5,true,null],"a":"x"},"name":"org/p"}}"#,
                r#"[{"plugin":{"name":"org/p","config":{"a":"x","b":[1.5,true,null]}}}]"#,
            ),
        ] {
            let step: CanaryStep = serde_json::from_str(stored).unwrap();
            assert_eq!(String::from_utf8(go_json(&[step])).unwrap(), hashed, "{stored}");
        }
    }

    #[test]
    fn text_and_floats_are_written_as_go_writes_them() {
        for (value, written) in [
            (json!("a<b>&c"), r#""a\u003cb\u003e\u0026c""#),
            (json!("\u{2028}x\u{2029}"), r#""\u2028x\u2029""#),
            (json!("é\"\\/\n\t\r\u{8}\u{c}\u{1}\u{7f}"), "\"é\\\"\\\\/\\n\\t\\r\\b\\f\\u0001\u{7f}\""),
            (json!({"<": 1}), r#"{"\u003c":1}"#),
            (json!(1e21), "1e+21"),
            (json!(1.5e300), "1.5e+300"),
            (json!(1e20), "100000000000000000000"),
            (json!(1e-7), "1e-7"),
            (json!(0.000_001), "0.000001"),
            (json!(-2.5), "-2.5"),
            (json!(3.0), "3"),
            (json!(0.1), "0.1"),
        ] {
            assert_eq!(String::from_utf8(go_json(&value)).unwrap(), written, "{value}");
        }
    }

    #[test]
    fn pod_templates_hash_by_the_same_means() {
        let template = r#"{"metadata":{"labels":{"app":"guestbook"}},"spec":{"containers":[{"name":"guestbook","image":"argoproj/rollouts-demo:blue","resources":{}}]}}"#;
        assert_eq!(safe_encode(fnv1a_32(template.as_bytes())), "65cb8f49c9");
        let mut with_collision = template.as_bytes().to_vec();
        with_collision.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(safe_encode(fnv1a_32(&with_collision)), "66f5ffbbdb");
    }

    #[test]
    fn fields_of_ours_do_not_count() {
        let steps = |more: &str| -> Vec<CanaryStep> {
            let json = format!(
                r#"[{{"setWeight":5}},{{"analysis":{{"templates":[{{"templateName":"t"}}]{more}}}}}]"#
            );
            serde_json::from_str(&json).unwrap()
        };
        assert_eq!(step_hash(&steps(r#","onFailure":"pause""#)), step_hash(&steps("")));
    }
}
