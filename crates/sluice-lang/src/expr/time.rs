//! Points in time, spans of time and zones in expressions.
//!
//! Dates are read by Go's layouts, which show how one certain moment would be written:
//! `2006-01-02 15:04:05`.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

use super::operate::{Outcome, conversion};
use super::types::Type;
use super::value::Value;

/// Layouts that `date` tries.
const LAYOUTS: [&str; 7] = [
    "2006-01-02",
    "15:04:05",
    "2006-01-02 15:04:05",
    "2006-01-02T15:04:05Z07:00",
    "02 Jan 06 15:04 MST",
    "Monday, 02-Jan-06 15:04:05 MST",
    "Mon, 02 Jan 2006 15:04:05 MST",
];

/// Longest date, layout or name of a zone.
const MAX_TEXT_BYTES: usize = 256;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// `now()`, and `now(zone)`.
pub fn now(now: Timestamp, arguments: &[Value]) -> Outcome {
    let zone = match arguments {
        [] => TimeZone::UTC,
        [Value::Zone(zone)] => (**zone).clone(),
        _ => return Err(format!("invalid number of arguments (expected 0, got {})", arguments.len())),
    };
    Ok(Value::Time(now.to_zoned(zone).into()))
}

/// `timezone(name)`. A zone that the machine does not know is an error.
pub fn zone(name: &str) -> Outcome {
    find_zone(name).map(|zone| Value::Zone(zone.into()))
}

fn find_zone(name: &str) -> Result<TimeZone, String> {
    match name {
        _ if name.len() > MAX_TEXT_BYTES => Err("unknown time zone".to_owned()),
        "" | "UTC" | "Local" => Ok(TimeZone::UTC),
        _ => TimeZone::get(name).map_err(|_| format!("unknown time zone {name}")),
    }
}

/// `date(text)`, `date(text, layout)`, `date(text, layout, zone)`, each also with a zone in front.
pub fn date(arguments: &[Value]) -> Outcome {
    let (zone, arguments) = match arguments {
        [Value::Zone(zone), rest @ ..] => ((**zone).clone(), rest),
        _ => (TimeZone::UTC, arguments),
    };
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        other => Err(conversion(other, "string")),
    };
    let invalid = |date: &str| format!("invalid date {date}");
    match arguments {
        [date] => {
            let date = text(date)?;
            let read = LAYOUTS.iter().find_map(|layout| parse(layout, &date, &zone));
            read.map(|time| Value::Time(time.into())).ok_or_else(|| invalid(&date))
        }
        [date, layout, rest @ ..] => {
            let (date, layout) = (text(date)?, text(layout)?);
            let zone = match rest {
                [name, ..] => find_zone(&text(name)?)?,
                [] => zone,
            };
            let refused = || format!("parsing time {date:?} as {layout:?}: cannot parse");
            parse(&layout, &date, &zone).map(|time| Value::Time(time.into())).ok_or_else(refused)
        }
        [] => Err("invalid number of arguments (expected at least 1, got 0)".to_owned()),
    }
}

/// Prints a time as Go's `%v` does.
pub fn print(time: &Zoned) -> String {
    let fraction = fraction(time);
    let name = match time.time_zone().iana_name() {
        _ if time.offset() == Offset::UTC => "UTC".to_owned(),
        Some(_) => time.strftime("%Z").to_string(),
        None => time.strftime("%z").to_string(),
    };
    format!("{}{fraction} {} {name}", time.strftime("%Y-%m-%d %H:%M:%S"), time.strftime("%z"))
}

/// Prints a time as Go's JSON encoder does.
pub fn rfc3339(time: &Zoned) -> String {
    let offset = if time.offset() == Offset::UTC { "Z".to_owned() } else { time.strftime("%:z").to_string() };
    format!("{}{}{offset}", time.strftime("%Y-%m-%dT%H:%M:%S"), fraction(time))
}

fn fraction(time: &Zoned) -> String {
    match time.subsec_nanosecond() {
        0 => String::new(),
        nanoseconds => format!(".{nanoseconds:09}").trim_end_matches('0').to_owned(),
    }
}

/// What has been read of a date.
#[derive(Default)]
struct Parts {
    year: Option<i16>,
    month: Option<i8>,
    day: Option<i8>,
    hour: i8,
    minute: i8,
    second: i8,
    nanosecond: i32,
    afternoon: Option<bool>,
    offset: Option<Offset>,
}

/// Reads a time by a layout; a zone applies where the text names none.
pub fn parse(layout: &str, text: &str, zone: &TimeZone) -> Option<Zoned> {
    if layout.len() > MAX_TEXT_BYTES || text.len() > MAX_TEXT_BYTES {
        return None;
    }
    let (mut layout, mut text) = (layout, text);
    let mut parts = Parts::default();
    while !layout.is_empty() {
        let Some((element, rest)) =
            ELEMENTS.iter().find_map(|element| layout.strip_prefix(element.0).map(|rest| (element, rest)))
        else {
            let c = layout.chars().next()?;
            text = text.strip_prefix(c)?;
            layout = &layout[c.len_utf8()..];
            continue;
        };
        text = element.1(&mut parts, text)?;
        layout = rest;
        // Go takes a fraction of a second even where the layout shows none.
        if matches!(element.0, "05" | "5") && !layout.starts_with(['.', ',']) {
            text = fraction_of_second(&mut parts, text);
        }
    }
    if !text.is_empty() {
        return None;
    }
    let hour = match (parts.afternoon, parts.hour) {
        (Some(true), hour @ 0..12) => hour + 12,
        (Some(false), 12) => 0,
        (_, hour) => hour,
    };
    let date = Date::new(parts.year.unwrap_or(0), parts.month.unwrap_or(1), parts.day.unwrap_or(1)).ok()?;
    let time = Time::new(hour, parts.minute, parts.second, parts.nanosecond).ok()?;
    let zone = parts.offset.map_or_else(|| zone.clone(), TimeZone::fixed);
    DateTime::from_parts(date, time).to_zoned(zone).ok()
}

type Reader = for<'t> fn(&mut Parts, &'t str) -> Option<&'t str>;

/// The elements of layouts, longer ones before their beginnings.
const ELEMENTS: [(&str, Reader); 26] = [
    ("January", |parts, text| month(parts, text, usize::MAX)),
    ("Jan", |parts, text| month(parts, text, 3)),
    ("Monday", |_, text| name(&DAYS, text, usize::MAX).map(|(_, rest)| rest)),
    ("Mon", |_, text| name(&DAYS, text, 3).map(|(_, rest)| rest)),
    ("MST", zone_name),
    ("2006", |parts, text| number(text, 4, 4).map(|(x, rest)| (parts.year = Some(x), rest).1)),
    ("-07:00", |parts, text| offset(parts, text, true, false)),
    ("-0700", |parts, text| offset(parts, text, false, false)),
    ("Z07:00", |parts, text| offset(parts, text, true, true)),
    ("Z0700", |parts, text| offset(parts, text, false, true)),
    ("01", |parts, text| number(text, 2, 2).map(|(x, rest)| (parts.month = Some(x as i8), rest).1)),
    ("02", |parts, text| number(text, 2, 2).map(|(x, rest)| (parts.day = Some(x as i8), rest).1)),
    ("03", |parts, text| number(text, 2, 2).map(|(x, rest)| (parts.hour = x as i8, rest).1)),
    ("04", |parts, text| number(text, 2, 2).map(|(x, rest)| (parts.minute = x as i8, rest).1)),
    ("05", |parts, text| number(text, 2, 2).map(|(x, rest)| (parts.second = x as i8, rest).1)),
    ("06", |parts, text| {
        let (year, rest) = number(text, 2, 2)?;
        parts.year = Some(if year >= 69 { 1900 + year } else { 2000 + year });
        Some(rest)
    }),
    ("15", |parts, text| number(text, 2, 2).map(|(x, rest)| (parts.hour = x as i8, rest).1)),
    ("PM", |parts, text| half_of_day(parts, text, ["AM", "PM"])),
    ("pm", |parts, text| half_of_day(parts, text, ["am", "pm"])),
    ("_2", |parts, text| {
        let text = text.strip_prefix(' ').unwrap_or(text);
        number(text, 1, 2).map(|(x, rest)| (parts.day = Some(x as i8), rest).1)
    }),
    (".000000000", some_fraction),
    (".000000", some_fraction),
    (".000", some_fraction),
    ("1", |parts, text| number(text, 1, 2).map(|(x, rest)| (parts.month = Some(x as i8), rest).1)),
    ("2", |parts, text| number(text, 1, 2).map(|(x, rest)| (parts.day = Some(x as i8), rest).1)),
    ("3", |parts, text| number(text, 1, 2).map(|(x, rest)| (parts.hour = x as i8, rest).1)),
];

fn number(text: &str, least: usize, most: usize) -> Option<(i16, &str)> {
    let length = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(length);
    if length < least { None } else { Some((digits.parse().ok()?, rest)) }
}

/// Reads one of some names, of which `length` letters are written.
fn name<'t>(names: &[&str], text: &'t str, length: usize) -> Option<(usize, &'t str)> {
    names.iter().enumerate().find_map(|(position, name)| {
        let name = &name[..length.min(name.len())];
        let start = text.get(..name.len())?;
        start.eq_ignore_ascii_case(name).then(|| (position, &text[name.len()..]))
    })
}

fn month<'t>(parts: &mut Parts, text: &'t str, length: usize) -> Option<&'t str> {
    let (position, rest) = name(&MONTHS, text, length)?;
    parts.month = i8::try_from(position + 1).ok();
    Some(rest)
}

/// Reads the short name of a zone. Go knows the offset of none but UTC and GMT, and so do we.
fn zone_name<'t>(parts: &mut Parts, text: &'t str) -> Option<&'t str> {
    let length = text.bytes().take_while(u8::is_ascii_uppercase).count();
    if !(3..=5).contains(&length) {
        return None;
    }
    parts.offset = Some(Offset::UTC);
    Some(&text[length..])
}

fn offset<'t>(parts: &mut Parts, text: &'t str, colon: bool, z: bool) -> Option<&'t str> {
    if z && let Some(rest) = text.strip_prefix('Z') {
        parts.offset = Some(Offset::UTC);
        return Some(rest);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, rest) = number(&text[1..], 2, 2)?;
    let rest = if colon { rest.strip_prefix(':')? } else { rest };
    let (minutes, rest) = number(rest, 2, 2)?;
    if hours > 24 || minutes > 59 {
        return None;
    }
    parts.offset = Offset::from_seconds(sign * (i32::from(hours) * 3600 + i32::from(minutes) * 60)).ok();
    parts.offset.map(|_| rest)
}

fn half_of_day<'t>(parts: &mut Parts, text: &'t str, names: [&str; 2]) -> Option<&'t str> {
    let (half, rest) =
        names.iter().enumerate().find_map(|(half, name)| Some((half, text.strip_prefix(name)?)))?;
    parts.afternoon = Some(half == 1);
    Some(rest)
}

fn some_fraction<'t>(parts: &mut Parts, text: &'t str) -> Option<&'t str> {
    let rest = fraction_of_second(parts, text);
    (rest.len() < text.len()).then_some(rest)
}

fn fraction_of_second<'t>(parts: &mut Parts, text: &'t str) -> &'t str {
    let Some(digits) = text.strip_prefix('.') else { return text };
    let length = digits.bytes().take_while(u8::is_ascii_digit).count();
    if length == 0 {
        return text;
    }
    let nine: String = digits[..length].chars().chain(std::iter::repeat('0')).take(9).collect();
    parts.nanosecond = nine.parse().unwrap_or(0);
    &digits[length..]
}

/// The types whose methods can be called; `None` if there is no such method.
pub fn method(of: &Type, name: &str) -> Option<()> {
    let names: &[&str] = match of {
        Type::Duration => {
            &["Hours", "Minutes", "Seconds", "Milliseconds", "Microseconds", "Nanoseconds", "String"]
        }
        Type::Time => &[
            "Unix",
            "UnixMilli",
            "UnixNano",
            "Year",
            "Day",
            "YearDay",
            "Hour",
            "Minute",
            "Second",
            "Nanosecond",
            "Before",
            "After",
            "Equal",
            "Sub",
            "Add",
            "UTC",
            "String",
        ],
        _ => &[],
    };
    names.contains(&name).then_some(())
}

/// Calls a method of a time or a span of time.
pub fn call_method(value: &Value, name: &str, arguments: &[Value]) -> Outcome {
    let float = |nanoseconds_each: f64, duration: &SignedDuration| {
        Ok(Value::Float(duration.as_nanos() as f64 / nanoseconds_each))
    };
    let integer = |x: i64| Ok(Value::Int64(x));
    match (value, name, arguments) {
        (Value::Duration(duration), "Hours", []) => float(3.6e12, duration),
        (Value::Duration(duration), "Minutes", []) => float(6e10, duration),
        (Value::Duration(duration), "Seconds", []) => float(1e9, duration),
        (Value::Duration(duration), "Milliseconds", []) => integer((duration.as_nanos() / 1_000_000) as i64),
        (Value::Duration(duration), "Microseconds", []) => integer((duration.as_nanos() / 1_000) as i64),
        (Value::Duration(duration), "Nanoseconds", []) => integer(duration.as_nanos() as i64),
        (Value::Time(time), "Unix", []) => integer(time.timestamp().as_second()),
        (Value::Time(time), "UnixMilli", []) => integer(time.timestamp().as_millisecond()),
        (Value::Time(time), "UnixNano", []) => integer(time.timestamp().as_nanosecond() as i64),
        (Value::Time(time), "Year", []) => Ok(Value::Int(time.year().into())),
        (Value::Time(time), "Day", []) => Ok(Value::Int(time.day().into())),
        (Value::Time(time), "YearDay", []) => Ok(Value::Int(time.day_of_year().into())),
        (Value::Time(time), "Hour", []) => Ok(Value::Int(time.hour().into())),
        (Value::Time(time), "Minute", []) => Ok(Value::Int(time.minute().into())),
        (Value::Time(time), "Second", []) => Ok(Value::Int(time.second().into())),
        (Value::Time(time), "Nanosecond", []) => Ok(Value::Int(time.subsec_nanosecond().into())),
        (Value::Time(time), "UTC", []) => Ok(Value::Time(time.timestamp().to_zoned(TimeZone::UTC).into())),
        (Value::Time(a), "Before", [Value::Time(b)]) => Ok(Value::Bool(a.timestamp() < b.timestamp())),
        (Value::Time(a), "After", [Value::Time(b)]) => Ok(Value::Bool(a.timestamp() > b.timestamp())),
        (Value::Time(a), "Equal", [Value::Time(b)]) => Ok(Value::Bool(a.timestamp() == b.timestamp())),
        (Value::Time(_), "Sub", [other @ Value::Time(_)]) => {
            super::operate::compute(super::ast::Binary::Subtract, value, other)
        }
        (Value::Time(_), "Add", [other @ Value::Duration(_)]) => {
            super::operate::compute(super::ast::Binary::Add, value, other)
        }
        (Value::Time(_) | Value::Duration(_), "String", []) => Ok(value.to_text().into()),
        _ => Err(format!("cannot fetch {name} from {}", value.go_type())),
    }
}
