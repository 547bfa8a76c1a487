//! Names as a caller writes them.

use super::TemplatePart;
use super::{Column, ColumnType};

/// The schema and the table of a name as in SQL: parts without quotes are folded to lower case. `None` if it is none.
pub(super) fn read_table(name: &str) -> Option<(Option<String>, String)> {
    let mut parts = Vec::new();
    let mut rest = name.trim();
    loop {
        let (part, after) = read_part(rest)?;
        parts.push(part);
        match after.strip_prefix('.') {
            Some(after) if parts.len() < 2 => rest = after,
            None if after.is_empty() => break,
            _ => return None,
        }
    }
    let table = parts.pop()?;
    Some((parts.pop(), table))
}

/// The first part of a name, and what follows.
fn read_part(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let is_start = |c: char| c.is_alphabetic() || c == '_';
        let end = text.find(|c: char| !(is_start(c) || c.is_ascii_digit() || c == '$')).unwrap_or(text.len());
        let (part, rest) = text.split_at(end);
        // Only ASCII, as Postgres does it in most databases.
        return part.starts_with(is_start).then(|| (part.to_ascii_lowercase(), rest));
    };
    let mut part = String::new();
    let mut rest = quoted;
    loop {
        let (before, after) = rest.split_once('"')?;
        part.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                part.push('"');
                rest = after;
            }
            None => return (!part.is_empty() && !part.contains('\0')).then_some((part, after)),
        }
    }
}

/// The parts of a template, whose columns have no type yet.
pub(super) fn read_template(template: &str) -> Result<Vec<TemplatePart>, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = template.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '{' | '}' if rest.peek() == Some(&c) => {
                rest.next();
                literal.push(c);
            }
            '}' => return Err("has a `}` without its `{`; write `}}` for a brace".into()),
            '{' => {
                let mut name = String::new();
                loop {
                    match rest.next() {
                        Some('}') => break,
                        Some(c) => name.push(c),
                        None => return Err("has a `{` without its `}`; write `{{` for a brace".into()),
                    }
                }
                if name.is_empty() {
                    return Err("has `{}` without the name of a column".into());
                }
                if !literal.is_empty() {
                    parts.push(TemplatePart::Literal(std::mem::take(&mut literal)));
                }
                parts.push(TemplatePart::Column(Column { name, kind: ColumnType::Text }));
            }
            c => literal.push(c),
        }
    }
    if !literal.is_empty() {
        parts.push(TemplatePart::Literal(literal));
    }
    if parts.iter().any(|part| matches!(part, TemplatePart::Column(_))) {
        Ok(parts)
    } else {
        Err("must name a column in braces, such as {title}".into())
    }
}

/// A text as a literal of SQL, whatever the settings of the session.
pub(in crate::store) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_sql_reads_them() {
        let read = |name: &str| {
            read_table(name).map(|(schema, table)| [schema.as_deref().unwrap_or("-"), table.as_str()].join("/"))
        };
        for (name, parts) in [
            ("documents", Some("-/documents")),
            ("public.Documents", Some("public/documents")),
            (r#""My ""own""".T_1$"#, Some(r#"My "own"/t_1$"#)),
            (r#"a."b.c""#, Some("a/b.c")),
            ("", None),
            ("a.b.c", None),
            ("a.", None),
            ("1a", None),
            ("a; DROP TABLE b", None),
            (r#""a"#, None),
            (r#""a"b"#, None),
        ] {
            assert_eq!(read(name).as_deref(), parts, "{name}");
        }
    }

    #[test]
    fn templates_have_columns_in_braces() {
        let column = |name: &str| TemplatePart::Column(Column { name: name.into(), kind: ColumnType::Text });
        let literal = |text: &str| TemplatePart::Literal(text.into());
        assert_eq!(read_template("{a b}: {{{c}}}"), Ok(vec![column("a b"), literal(": {"), column("c"), literal("}")]));
        for bad in ["", "none", "{", "}", "{}", "{a"] {
            assert!(read_template(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_literal_ends_where_it_should() {
        assert_eq!(literal(r"a'\b"), r"E'a''\\b'");
    }
}
