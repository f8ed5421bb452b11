//! Bodies in the binary encoding, which kubectl sends when it makes built-in objects itself.
//!
//! Only reading is done here; answers are always JSON. Field numbers come from the table of types.

use base64::Engine as _;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    builtin::types,
    status::Status,
    time,
    typed::{Scalar, Shape, Type},
};

/// Nested messages deeper than this are not read.
const MAX_DEPTH: usize = 64;

#[derive(Clone, Copy, Debug)]
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut out = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        out |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(out);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(head)
}

/// The fields of a message, in the order in which they were written.
fn fields(mut bytes: &[u8]) -> Option<Vec<(u32, Wire<'_>)>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let wire = match tag & 7 {
            0 => Wire::Number(varint(&mut bytes)?),
            1 => Wire::Number(u64::from_le_bytes(take(&mut bytes, 8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                Wire::Bytes(take(&mut bytes, length)?)
            }
            5 => Wire::Number(u64::from(u32::from_le_bytes(take(&mut bytes, 4)?.try_into().ok()?))),
            _ => return None,
        };
        out.push((u32::try_from(tag >> 3).ok()?, wire));
    }
    Some(out)
}

/// Reads a body: four bytes of magic, then version, kind and the object.
pub fn read(body: &[u8]) -> Result<Value, Status> {
    read_body(body).ok_or_else(|| {
        Status::bad_request("the body of the request is not a known object in the binary encoding")
    })
}

fn read_body(body: &[u8]) -> Option<Value> {
    let envelope = fields(body.strip_prefix(b"k8s\0")?)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for (number, wire) in envelope {
        match (number, wire) {
            (1, Wire::Bytes(meta)) => {
                for (number, wire) in fields(meta)? {
                    let Wire::Bytes(text) = wire else { continue };
                    let text = String::from_utf8_lossy(text).into_owned();
                    match number {
                        1 => api_version = text,
                        2 => kind = text,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("core", &api_version));
    let package = group.split('.').next().unwrap_or(group);
    let ty = types::find(&format!("{package}.{version}.{kind}"))
        .or_else(|| types::find(&format!("meta.v1.{kind}")))?;
    let mut object = message(raw, &ty, 0)?;
    object["apiVersion"] = Value::from(api_version);
    object["kind"] = Value::from(kind);
    Some(object)
}

fn message(bytes: &[u8], ty: &Type, depth: usize) -> Option<Value> {
    if depth > MAX_DEPTH {
        return None;
    }
    let Shape::Struct { fields: known, .. } = &ty.shape else { return None };
    let found = fields(bytes)?;
    let mut out = Map::new();
    for (name, field) in known {
        let mut wires: Vec<Wire<'_>> = Vec::new();
        match field.numbers.as_slice() {
            [] => continue,
            [number] => wires.extend(found.iter().filter(|(n, _)| n == number).map(|(_, wire)| *wire)),
            [wrapper, number, ..] => {
                for (_, wire) in found.iter().filter(|(n, _)| n == wrapper) {
                    let Wire::Bytes(inner) = wire else { continue };
                    wires.extend(
                        fields(inner)?.into_iter().filter(|(n, _)| n == number).map(|(_, wire)| wire),
                    );
                }
            }
        }
        if !wires.is_empty() {
            out.insert(name.clone(), values(&wires, &field.ty, depth)?);
        }
    }
    Some(Value::Object(out))
}

fn values(wires: &[Wire<'_>], ty: &Type, depth: usize) -> Option<Value> {
    match &ty.shape {
        Shape::List { item, .. } => {
            wires.iter().map(|wire| value(*wire, item, depth)).collect::<Option<Vec<_>>>().map(Value::Array)
        }
        Shape::Map(item) => {
            let mut out = Map::new();
            for wire in wires {
                let Wire::Bytes(entry) = wire else { return None };
                let (mut key, mut inner) = (String::new(), None);
                for (number, wire) in fields(entry)? {
                    match (number, wire) {
                        (1, Wire::Bytes(text)) => key = String::from_utf8_lossy(text).into_owned(),
                        (2, wire) => inner = value(wire, item, depth),
                        _ => {}
                    }
                }
                out.insert(key, inner?);
            }
            Some(Value::Object(out))
        }
        Shape::Any | Shape::Scalar(_) | Shape::Struct { .. } => value(*wires.last()?, ty, depth),
    }
}

fn value(wire: Wire<'_>, ty: &Type, depth: usize) -> Option<Value> {
    match (&ty.shape, wire) {
        (Shape::Struct { .. }, Wire::Bytes(bytes)) => message(bytes, ty, depth + 1),
        (Shape::Scalar(scalar), wire) => self::scalar(wire, *scalar),
        // Raw JSON in a message of its own.
        (Shape::Any, Wire::Bytes(bytes)) => {
            let inner = fields(bytes)?.into_iter().find_map(|(_, wire)| match wire {
                Wire::Bytes(text) => serde_json::from_slice(text).ok(),
                Wire::Number(_) => None,
            });
            Some(inner.unwrap_or(Value::Null))
        }
        _ => None,
    }
}

fn scalar(wire: Wire<'_>, scalar: Scalar) -> Option<Value> {
    Some(match (scalar, wire) {
        (Scalar::String, Wire::Bytes(text)) => Value::from(String::from_utf8_lossy(text).into_owned()),
        (Scalar::Bytes, Wire::Bytes(bytes)) => {
            Value::from(base64::engine::general_purpose::STANDARD.encode(bytes))
        }
        (Scalar::Integer | Scalar::Long, Wire::Number(n)) => Value::from(n as i64),
        (Scalar::Number, Wire::Number(n)) => json!(f64::from_bits(n)),
        (Scalar::Boolean, Wire::Number(n)) => Value::from(n != 0),
        (Scalar::Quantity, Wire::Bytes(bytes)) => {
            let text = fields(bytes)?.into_iter().find_map(|(number, wire)| match (number, wire) {
                (1, Wire::Bytes(text)) => Some(String::from_utf8_lossy(text).into_owned()),
                _ => None,
            });
            Value::from(text.unwrap_or_else(|| "0".to_owned()))
        }
        (Scalar::IntOrString, Wire::Bytes(bytes)) => {
            let (mut is_text, mut number, mut text) = (false, 0, String::new());
            for (n, wire) in fields(bytes)? {
                match (n, wire) {
                    (1, Wire::Number(kind)) => is_text = kind == 1,
                    (2, Wire::Number(n)) => number = n as i64,
                    (3, Wire::Bytes(bytes)) => text = String::from_utf8_lossy(bytes).into_owned(),
                    _ => {}
                }
            }
            if is_text { Value::from(text) } else { Value::from(number) }
        }
        (Scalar::Time | Scalar::MicroTime, Wire::Bytes(bytes)) => {
            let (mut seconds, mut nanos) = (None, 0);
            for (n, wire) in fields(bytes)? {
                match (n, wire) {
                    (1, Wire::Number(n)) => seconds = Some(n as i64),
                    (2, Wire::Number(n)) => nanos = n as i32,
                    _ => {}
                }
            }
            match seconds.and_then(|seconds| Timestamp::new(seconds, nanos).ok()) {
                Some(at) if scalar == Scalar::Time => Value::from(time::seconds(at)),
                Some(at) => Value::from(time::micros(at)),
                None => Value::Null,
            }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).expect("short")];
        out.extend(bytes);
        out
    }

    #[test]
    fn a_config_map_is_read() {
        let meta = field(1, b"c");
        let entry = [field(1, b"k"), field(2, b"v")].concat();
        let raw = [field(1, &meta), field(2, &entry)].concat();
        let kind = [field(1, b"v1"), field(2, b"ConfigMap")].concat();
        let body = [b"k8s\0".to_vec(), field(1, &kind), field(2, &raw)].concat();
        let object = read(&body).expect("an object");
        assert_eq!(
            object,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "v"}})
        );
        assert!(read(&body[..body.len() - 1]).is_err(), "cut short");
        assert!(read(b"{}").is_err());
    }

    #[test]
    fn wrapped_fields_are_found() {
        let ty = types::find("core.v1.Volume").expect("volume");
        // volumeSource { emptyDir { medium: "m" } }
        let source = field(2, &field(1, b"m"));
        let volume = [field(1, b"v"), field(2, &source)].concat();
        assert_eq!(message(&volume, &ty, 0), Some(json!({"name": "v", "emptyDir": {"medium": "m"}})));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(0u8..=255, 0..200)) {
            let _ = read(&[b"k8s\0".to_vec(), bytes.clone()].concat());
            let ty = types::find("core.v1.Pod").expect("pod");
            let _ = message(&bytes, &ty, 0);
        }
    }
}
