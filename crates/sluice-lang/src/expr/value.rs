//! What a measurement measured, and what expressions compute with.
//!
//! A value keeps the distinctions that Go makes and that users see: an integer is not a float, a list of
//! floats is not a list of anything, a missing member is nil. Values share their parts, so that a copy
//! costs nothing.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Zoned, tz::TimeZone};

use super::types::Type;

/// Deepest nesting of values. Everything that walks over a value (printing, comparing, dropping) goes as
/// deep as the value does, so what is deeper is not made: JSON is cut, an expression fails.
pub const MAX_DEPTH: u16 = 128;

/// A value.
#[derive(Clone, Debug)]
pub enum Value {
    /// No value.
    Nil,
    /// A truth value.
    Bool(bool),
    /// An integer of the language itself.
    Int(i64),
    /// An integer from outside: what `asInt` returns, and what InfluxDB sends. Computes as [`Value::Int`]
    /// does and has another name in messages.
    Int64(i64),
    /// A number of any JSON, and most results.
    Float(f64),
    /// Text.
    String(Arc<str>),
    /// A list.
    List(List),
    /// An object.
    Map(Map),
    /// A value with a fixed set of named members.
    Record(Record),
    /// A point in time.
    Time(Arc<Zoned>),
    /// A span of time.
    Duration(SignedDuration),
    /// A time zone.
    Zone(Arc<TimeZone>),
    /// A function that analysis adds to the language.
    Function(Function),
}

/// A list, and what Go would call it.
#[derive(Clone, Debug)]
pub struct List {
    /// What the list may hold.
    pub of: Elements,
    /// What it holds.
    pub items: Arc<[Value]>,
    extent: Extent,
}

/// What a list may hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// Anything: lists of JSON, and most lists that an expression makes.
    Any,
    /// Integers: ranges.
    Int,
    /// Floats: samples of Prometheus, for example.
    Float,
    /// Strings: what `split` returns.
    String,
    /// A key and its value: what `toPairs` returns.
    Pair,
    /// Records of one shape.
    Record(Arc<Shape>),
}

/// The members of records, such as those of CloudWatch.
#[derive(Debug, PartialEq)]
pub struct Shape {
    /// How messages name it: `types.MetricDataResult`.
    pub name: &'static str,
    /// Names and types of the members, in order.
    pub fields: Vec<(&'static str, Type)>,
}

/// One record.
#[derive(Clone, Debug)]
pub struct Record {
    /// Which members it has.
    pub shape: Arc<Shape>,
    /// Their values, in the order of the shape.
    pub values: Arc<[Value]>,
    extent: Extent,
}

/// How much there is to walk over.
///
/// Values share their parts, so one that is quickly made can be large beyond measure to walk over: a list
/// that holds the same list twice, which holds the same list twice, and so on.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// Levels of lists, maps and records.
    depth: u16,
    /// Parts, and parts of parts; texts count by their length.
    weight: usize,
}

impl Extent {
    fn above<'a>(parts: impl Iterator<Item = &'a Value>) -> Self {
        parts.fold(Self { depth: 1, weight: 1 }, |whole, part| Self {
            depth: whole.depth.max(part.depth().saturating_add(1)),
            weight: whole.weight.saturating_add(part.weight()),
        })
    }
}

impl List {
    /// Makes a list.
    pub fn new(of: Elements, items: impl Into<Arc<[Value]>>) -> Self {
        let items = items.into();
        let extent = match of {
            Elements::Int | Elements::Float => Extent { depth: 1, weight: items.len() + 1 },
            Elements::Any | Elements::Record(_) | Elements::Pair | Elements::String => {
                Extent::above(items.iter())
            }
        };
        Self { of, items, extent }
    }
}

impl Map {
    /// Makes a map.
    pub fn new(form: MapForm, entries: BTreeMap<Key, Value>) -> Self {
        let keys: usize = entries.keys().map(Key::weight).sum();
        let mut extent = Extent::above(entries.values());
        extent.weight = extent.weight.saturating_add(keys);
        Self { form, entries: Arc::new(entries), extent }
    }
}

impl Record {
    /// Makes a record.
    pub fn new(shape: Arc<Shape>, values: Vec<Value>) -> Self {
        let extent = Extent::above(values.iter());
        Self { shape, values: values.into(), extent }
    }

    /// Returns a member.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let position = self.shape.fields.iter().position(|(field, _)| *field == name)?;
        self.values.get(position)
    }
}

/// An object, and what Go would call it.
#[derive(Clone, Debug)]
pub struct Map {
    /// What it is.
    pub form: MapForm,
    /// Keys and values.
    pub entries: Arc<BTreeMap<Key, Value>>,
    extent: Extent,
}

/// The kinds of maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapForm {
    /// Strings to anything: JSON, and what an expression writes out.
    Object,
    /// Anything to anything: what `fromPairs` returns.
    AnyKeys,
    /// Anything to lists: what `groupBy` returns.
    Groups,
}

/// The key of a map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Key {
    Nil,
    Bool(bool),
    Int(i64),
    Int64(i64),
    /// Bits, turned so that they sort as the numbers do.
    Float(u64),
    String(Arc<str>),
}

/// The functions that analysis adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `asInt(x)`: numbers and strings as integers.
    AsInt,
    /// `asFloat(x)`: numbers and strings as floats.
    AsFloat,
    /// `isNaN(x)`
    IsNan,
    /// `isInf(x)`
    IsInf,
    /// `isNil(x)`: whether the whole result is nil, whatever `x` is.
    IsNil,
    /// `default(x, d)`: the whole result, or `d` if that is nil, whatever `x` is.
    Default,
}

impl Function {
    /// All of them.
    pub const ALL: [Function; 6] = [
        Function::AsInt,
        Function::AsFloat,
        Function::IsNan,
        Function::IsInf,
        Function::IsNil,
        Function::Default,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Function::AsInt => "asInt",
            Function::AsFloat => "asFloat",
            Function::IsNan => "isNaN",
            Function::IsInf => "isInf",
            Function::IsNil => "isNil",
            Function::Default => "default",
        }
    }

    /// How Go names its type.
    pub fn go_type(self) -> &'static str {
        match self {
            Function::AsInt => "func(interface {}) int64",
            Function::AsFloat => "func(interface {}) float64",
            Function::IsNan | Function::IsInf => "func(float64) bool",
            Function::IsNil => "func(interface {}) bool",
            Function::Default => "func(interface {}, interface {}) interface {}",
        }
    }
}

impl Key {
    /// The key that a value makes; lists, maps and the like make none.
    pub fn of(value: &Value) -> Option<Key> {
        Some(match value {
            Value::Nil => Key::Nil,
            Value::Bool(x) => Key::Bool(*x),
            Value::Int(x) => Key::Int(*x),
            Value::Int64(x) => Key::Int64(*x),
            Value::Float(x) => {
                let bits = if *x == 0.0 { 0 } else { x.to_bits() };
                Key::Float(if bits >> 63 == 1 { !bits } else { bits | 1 << 63 })
            }
            Value::String(text) => Key::String(text.clone()),
            _ => return None,
        })
    }

    fn weight(&self) -> usize {
        match self {
            Key::String(text) => text_weight(text),
            _ => 1,
        }
    }

    /// The value that the key was made of.
    pub fn value(&self) -> Value {
        match self {
            Key::Nil => Value::Nil,
            Key::Bool(x) => Value::Bool(*x),
            Key::Int(x) => Value::Int(*x),
            Key::Int64(x) => Value::Int64(*x),
            Key::Float(bits) => {
                Value::Float(f64::from_bits(if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits }))
            }
            Key::String(text) => Value::String(text.clone()),
        }
    }
}

fn text_weight(text: &str) -> usize {
    1 + text.len() / 64
}

impl From<bool> for Value {
    fn from(x: bool) -> Self {
        Value::Bool(x)
    }
}

impl From<f64> for Value {
    fn from(x: f64) -> Self {
        Value::Float(x)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::String(text.into())
    }
}

impl From<&serde_json::Value> for Value {
    /// Reads JSON as Go does: every number is a float.
    fn from(json: &serde_json::Value) -> Self {
        from_json(json, MAX_DEPTH)
    }
}

fn from_json(json: &serde_json::Value, levels: u16) -> Value {
    match json {
        serde_json::Value::Bool(x) => Value::Bool(*x),
        serde_json::Value::Number(x) => Value::Float(x.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) if levels > 0 => {
            Value::list(items.iter().map(|item| from_json(item, levels - 1)))
        }
        serde_json::Value::Object(members) if levels > 0 => {
            Value::object(members.iter().map(|(name, value)| (name.as_str(), from_json(value, levels - 1))))
        }
        // What is deeper than anything that a parser lets through is nil as well.
        serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_) => Value::Nil,
    }
}

impl Value {
    /// A list of anything.
    pub fn list(items: impl IntoIterator<Item = Value>) -> Self {
        Value::List(List::new(Elements::Any, items.into_iter().collect::<Arc<[Value]>>()))
    }

    /// A list of floats, such as samples.
    pub fn floats(items: impl IntoIterator<Item = f64>) -> Self {
        let items: Arc<[Value]> = items.into_iter().map(Value::Float).collect();
        Value::List(List::new(Elements::Float, items))
    }

    /// A list of records of one shape.
    pub fn records(shape: &Arc<Shape>, records: impl IntoIterator<Item = Vec<Value>>) -> Self {
        let record = |values| Value::Record(Record::new(shape.clone(), values));
        let items: Vec<Value> = records.into_iter().map(record).collect();
        Value::List(List::new(Elements::Record(shape.clone()), items))
    }

    /// An object.
    pub fn object<'a>(members: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        let entries = members.into_iter().map(|(name, value)| (Key::String(name.into()), value)).collect();
        Value::Map(Map::new(MapForm::Object, entries))
    }

    /// Levels of lists, maps and records.
    pub fn depth(&self) -> u16 {
        match self {
            Value::List(list) => list.extent.depth,
            Value::Map(map) => map.extent.depth,
            Value::Record(record) => record.extent.depth,
            _ => 0,
        }
    }

    /// How much work it is to walk over the whole value.
    pub fn weight(&self) -> usize {
        match self {
            Value::List(list) => list.extent.weight,
            Value::Map(map) => map.extent.weight,
            Value::Record(record) => record.extent.weight,
            Value::String(text) => text_weight(text),
            _ => 1,
        }
    }

    /// Whether there is nothing to evaluate: no value, or an empty list.
    pub fn is_nil_or_empty(&self) -> bool {
        match self {
            Value::Nil => true,
            Value::List(list) => list.items.is_empty(),
            _ => false,
        }
    }

    /// How Go names its type.
    pub fn go_type(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Value::Nil => "<nil>",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Int64(_) => "int64",
            Value::Float(_) => "float64",
            Value::String(_) => "string",
            Value::List(list) => return list.of.go_type(),
            Value::Map(map) => map.form.go_type(),
            Value::Record(record) => record.shape.name,
            Value::Time(_) => "time.Time",
            Value::Duration(_) => "time.Duration",
            Value::Zone(_) => "*time.Location",
            Value::Function(function) => function.go_type(),
        })
    }
}

impl Elements {
    /// How Go names such a list.
    pub fn go_type(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Elements::Any => "[]interface {}",
            Elements::Int => "[]int",
            Elements::Float => "[]float64",
            Elements::String => "[]string",
            Elements::Pair => "[][2]interface {}",
            Elements::Record(shape) => return Cow::Owned(format!("[]{}", shape.name)),
        })
    }
}

impl MapForm {
    /// How Go names such a map.
    pub fn go_type(self) -> &'static str {
        match self {
            MapForm::Object => "map[string]interface {}",
            MapForm::AnyKeys => "map[interface {}]interface {}",
            MapForm::Groups => "map[interface {}][]interface {}",
        }
    }
}

/// Whether `==` holds: numbers by value, lists item by item, maps and records strictly.
pub fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::List(a), Value::List(b)) => {
            a.items.len() == b.items.len() && a.items.iter().zip(b.items.iter()).all(|(a, b)| equal(a, b))
        }
        _ => match numbers(a, b) {
            Some(Numbers::Ints(a, b)) => a == b,
            #[expect(clippy::float_cmp, reason = "the language compares exactly")]
            Some(Numbers::Floats(a, b)) => a == b,
            None => same(a, b),
        },
    }
}

/// Whether two values are the same down to their types: `1` and `1.0` are not.
fn same(a: &Value, b: &Value) -> bool {
    let all = |a: &[Value], b: &[Value]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b));
    match (a, b) {
        (Value::Nil, Value::Nil) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) | (Value::Int64(a), Value::Int64(b)) => a == b,
        #[expect(clippy::float_cmp, reason = "the language compares exactly")]
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::String(a), Value::String(b)) => a == b,
        (Value::List(a), Value::List(b)) => a.of == b.of && all(&a.items, &b.items),
        (Value::Record(a), Value::Record(b)) => a.shape == b.shape && all(&a.values, &b.values),
        (Value::Map(a), Value::Map(b)) => {
            let pairs = || a.entries.iter().zip(b.entries.iter());
            a.form == b.form
                && a.entries.len() == b.entries.len()
                && pairs().all(|((a, x), (b, y))| a == b && same(x, y))
        }
        (Value::Time(a), Value::Time(b)) => a.timestamp() == b.timestamp(),
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Zone(a), Value::Zone(b)) => a == b,
        // Functions cannot be compared in Go.
        _ => false,
    }
}

/// Two numbers, as they are computed with.
pub enum Numbers {
    /// Both are integers.
    Ints(i64, i64),
    /// At least one is a float.
    Floats(f64, f64),
}

/// Returns two values as numbers if both are.
pub fn numbers(a: &Value, b: &Value) -> Option<Numbers> {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => Some(Numbers::Floats(*a, *b)),
        (Value::Int(a) | Value::Int64(a), Value::Int(b) | Value::Int64(b)) => Some(Numbers::Ints(*a, *b)),
        (Value::Float(a), Value::Int(b) | Value::Int64(b)) => Some(Numbers::Floats(*a, *b as f64)),
        (Value::Int(a) | Value::Int64(a), Value::Float(b)) => Some(Numbers::Floats(*a as f64, *b)),
        _ => None,
    }
}

/// The order of two values: `None` if they cannot be compared, `Some(None)` if neither comes first.
pub fn compare(a: &Value, b: &Value) -> Option<Option<Ordering>> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Some(Some(a.cmp(b))),
        (Value::Time(a), Value::Time(b)) => Some(Some(a.timestamp().cmp(&b.timestamp()))),
        (Value::Duration(a), Value::Duration(b)) => Some(Some(a.cmp(b))),
        _ => match numbers(a, b)? {
            Numbers::Ints(a, b) => Some(Some(a.cmp(&b))),
            Numbers::Floats(a, b) => Some(a.partial_cmp(&b)),
        },
    }
}
