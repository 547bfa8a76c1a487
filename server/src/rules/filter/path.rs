//! Reads the fields that conditions, facets, indexes and masks name.

use std::iter::Peekable;

use crate::store::FieldPath;

/// Maximum number of keys of a field.
const MAX_KEYS: usize = 16;
/// Maximum length of a field in bytes.
const MAX_FIELD_BYTES: usize = 1_024;

/// The keys of a field such as `author."first.name"`, or what is wrong with the field.
pub(crate) fn read_path(field: &str) -> Result<Vec<String>, String> {
    let FieldPath { lists, keys } = read_field(field)?;
    if lists.is_empty() {
        return Ok(keys);
    }
    Err("must not contain []: only conditions and facets can use the elements of a list".into())
}

/// The path of a field such as `variants[].color`, or what is wrong with the field.
pub(crate) fn read_field(field: &str) -> Result<FieldPath, String> {
    if field.is_empty() {
        return Err("is required".into());
    }
    if field.len() > MAX_FIELD_BYTES {
        return Err(format!("must have at most {MAX_FIELD_BYTES} bytes, not {}", field.len()));
    }
    // Each character with its column.
    let mut rest = field.chars().zip(1..).peekable();
    let end = field.chars().count() + 1;
    let mut path = FieldPath::default();
    let mut count = 0;
    loop {
        path.keys.push(read_key(&mut rest, end)?);
        count += 1;
        if let Some((_, column)) = rest.next_if(|(c, _)| *c == '[') {
            if rest.next_if(|(c, _)| *c == ']').is_none() {
                return Err(wrong_at(column, "[ must be followed by ]; [] means any element of a list"));
            }
            path.lists.push(std::mem::take(&mut path.keys));
        }
        match rest.next() {
            None => break,
            Some(('.', _)) => {}
            Some(('[', column)) => return Err(wrong_at(column, "[] must follow a key")),
            Some((c, column)) => return Err(wrong_at(column, &format!("{c:?} must be within double quotes"))),
        }
    }
    if count > MAX_KEYS {
        return Err(format!("must have at most {MAX_KEYS} keys, not {count}"));
    }
    Ok(path)
}

fn wrong_at(column: usize, what: &str) -> String {
    format!("is not a field: at column {column}, {what}")
}

fn read_key(rest: &mut Peekable<impl Iterator<Item = (char, usize)>>, end: usize) -> Result<String, String> {
    let mut key = String::new();
    if rest.next_if(|(c, _)| *c == '"').is_some() {
        loop {
            match rest.next() {
                Some(('"', _)) => return Ok(key),
                Some(('\\', column)) => match rest.next() {
                    Some((c @ ('"' | '\\'), _)) => key.push(c),
                    _ => return Err(wrong_at(column, r#"a backslash must come before " or \"#)),
                },
                Some(('\0', column)) => return Err(wrong_at(column, "there is NUL, which Postgres cannot store")),
                Some((c, _)) => key.push(c),
                None => return Err(wrong_at(end, "the closing quote is missing")),
            }
        }
    }
    while let Some((c, _)) = rest.next_if(|(c, _)| c.is_alphanumeric() || matches!(c, '_' | '-')) {
        key.push(c);
    }
    match rest.peek() {
        None if key.is_empty() => Err(wrong_at(end, "a key is missing")),
        Some(('.' | '[', column)) if key.is_empty() => Err(wrong_at(*column, "a key is missing")),
        _ => Ok(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::write_keys;

    #[test]
    fn paths_are_written_as_they_are_read() {
        for field in ["year", "author.name", r#"author."first.name""#, r#""a\"b\\c".d-e_f"#, r#""""#, "日本.ü"] {
            assert_eq!(write_keys(&read_path(field).expect("a path")), field);
            assert_eq!(read_field(field).expect("a path").to_string(), field);
        }
        for field in ["tags[]", "variants[].color", r#"a."b[]"[].c.d[]"#] {
            assert_eq!(read_field(field).expect("a path").to_string(), field);
            assert!(read_path(field).expect_err(field).contains("must not contain []"));
        }
    }

    #[test]
    fn fields_are_keys_and_dots() {
        let path = |field: &str| read_path(field).unwrap_or_else(|error| panic!("{field}: {error}"));
        assert_eq!(path("a"), ["a"]);
        assert_eq!(path("author.first-name.größe_2"), ["author", "first-name", "größe_2"]);
        assert_eq!(path(r#""a.b"."".c."say \"x\\y\"""#), ["a.b", "", "c", r#"say "x\y""#]);
        assert_eq!(path(&["k"; 16].join(".")).len(), 16);
        assert_eq!(path(&"x".repeat(1_024)).len(), 1);
    }

    #[test]
    fn a_bad_path_is_named_with_its_column() {
        let wrong = |field: &str| read_field(field).expect_err(field);
        for (field, column) in [
            (".a", 1),
            ("a.", 3),
            ("é..b", 3),
            ("a b", 2),
            ("a.$b", 3),
            ("a.\"b", 5),
            (r#""a\n""#, 3),
            (r#""a"b"#, 4),
            ("a\"b\"", 2),
            ("\"\0\"", 2),
            ("[]", 1),
            ("a.[]", 3),
            ("a[0]", 2),
            ("a[*].b", 2),
            ("a[", 2),
            ("a[][]", 4),
            ("a[]b", 4),
            ("a]", 2),
        ] {
            assert!(wrong(field).contains(&format!("column {column},")), "{field}: {}", wrong(field));
        }
        assert!(wrong("").contains("required"));
        assert!(wrong(&["k"; 17].join(".")).contains("16 keys, not 17"));
        assert!(wrong(&"x".repeat(1_025)).contains("1024 bytes"));
    }
}
