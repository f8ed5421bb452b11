//! Puts an image into a pod template.
//!
//! Works on raw JSON, so that fields unknown here survive the way there and back.

use serde_json::Value;

/// A container that is not there. The wording is kubectl's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unable to find container named {0:?}")]
pub struct NoSuchContainer(String);

/// Reads `CONTAINER=IMAGE`; `None` if there is not exactly one `=` with something on both sides.
pub fn parse(text: &str) -> Option<(&str, &str)> {
    let (container, image) = text.split_once('=')?;
    (!container.is_empty() && !image.is_empty() && !image.contains('=')).then_some((container, image))
}

/// Sets the image of every container named `container`, or of all of them for `*`: init containers,
/// containers and ephemeral ones. `object` is anything with its pod template at `/spec/template`.
pub fn set(object: &mut Value, container: &str, image: &str) -> Result<(), NoSuchContainer> {
    let mut is_found = false;
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let list = object.pointer_mut(&format!("/spec/template/spec/{list}")).and_then(Value::as_array_mut);
        for item in list.into_iter().flatten().filter_map(Value::as_object_mut) {
            if container == "*" || item.get("name").and_then(Value::as_str) == Some(container) {
                item.insert("image".to_owned(), Value::from(image));
                is_found = true;
            }
        }
    }
    if is_found { Ok(()) } else { Err(NoSuchContainer(container.to_owned())) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn container_and_image() {
        for (text, expected) in [
            ("app=r/app:2", Some(("app", "r/app:2"))),
            ("*=r/app@sha256:ab", Some(("*", "r/app@sha256:ab"))),
            ("app", None),
            ("app=", None),
            ("=r/app", None),
            ("a=b=c", None),
            ("", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn every_container_of_the_name() {
        let object = |init: &str, app: &str, sidecar: &str, debug: &str| {
            json!({"spec": {"template": {"spec": {
                "initContainers": [{"name": "app", "image": init}],
                "containers": [{"name": "app", "image": app, "future": {"x": 1}}, {"name": "side", "image": sidecar}],
                "ephemeralContainers": [{"name": "app", "image": debug}],
            }}}})
        };
        for (container, expected) in [
            ("app", Ok(object("2", "2", "1", "2"))),
            ("side", Ok(object("1", "1", "2", "1"))),
            ("*", Ok(object("2", "2", "2", "2"))),
            ("c", Err("unable to find container named \"c\"".to_owned())),
        ] {
            let mut found = object("1", "1", "1", "1");
            let result = set(&mut found, container, "2").map(|()| found).map_err(|error| error.to_string());
            assert_eq!(result, expected, "{container}");
        }
        assert!(set(&mut json!({"spec": {}}), "*", "2").is_err());
    }
}
