//! Lines of fields between commas, as InfluxDB writes them.

/// Splits a text into records; an empty line is a record without fields.
///
/// A quoted field holds whatever stands between its quotes; `""` is a quote. One that is not closed goes to
/// the end of the text and is reported as such.
pub fn records(text: &str) -> Result<Vec<Vec<String>>, &'static str> {
    let mut records = Vec::new();
    let mut fields: Vec<String> = Vec::new();
    let mut field = String::new();
    let mut rest = text.chars().peekable();
    let mut is_line_empty = true;
    let mut is_quoted = false;
    while let Some(c) = rest.next() {
        if is_quoted {
            match c {
                '"' if rest.peek() == Some(&'"') => field.extend(rest.next()),
                '"' => is_quoted = false,
                _ => field.push(c),
            }
            continue;
        }
        match c {
            '\r' if rest.peek() == Some(&'\n') => {}
            '\n' => {
                if !is_line_empty {
                    fields.push(std::mem::take(&mut field));
                }
                records.push(std::mem::take(&mut fields));
                is_line_empty = true;
                continue;
            }
            ',' => fields.push(std::mem::take(&mut field)),
            '"' if field.is_empty() => is_quoted = true,
            _ => field.push(c),
        }
        if c != '\r' {
            is_line_empty = false;
        }
    }
    if is_quoted {
        return Err("a quoted field is not closed");
    }
    if !is_line_empty {
        fields.push(field);
        records.push(fields);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    #[test]
    fn records() {
        let check = |text: &str, wanted: &[&[&str]]| {
            assert_eq!(super::records(text).unwrap(), wanted, "{text:?}");
        };
        check("", &[]);
        check("a,b\r\nc,\r\n\r\n,d", &[&["a", "b"], &["c", ""], &[], &["", "d"]]);
        check("\"a,\"\"b\"\"\n\",c\n", &[&["a,\"b\"\n", "c"]]);
        check("\"\"\n", &[&[""]]);
        check("a\"b\n", &[&["a\"b"]]);
        assert!(super::records("a,\"b").is_err());
    }
}
