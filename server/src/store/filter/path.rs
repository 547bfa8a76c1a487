//! The paths of fields.

use std::fmt;

/// The path of a field. It first leads through `lists`, into the elements of each, and then through `keys` of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldPath {
    /// `variants` in `variants[].color`. Each has at least one key.
    pub lists: Vec<Vec<String>>,
    /// `color` in that example. Empty: the elements themselves.
    pub keys: Vec<String>,
}

impl FieldPath {
    /// The smallest object that has a value at this path.
    pub(in crate::store) fn holding(&self, value: &str) -> String {
        let within = nested(&self.keys, value);
        self.lists.iter().rev().fold(within, |within, keys| nested(keys, &format!("[{within}]")))
    }

    /// The path within what its first key leads to.
    pub(in crate::store) fn within_first(&self) -> Self {
        let mut within = self.clone();
        let first = within.lists.first_mut().unwrap_or(&mut within.keys);
        if !first.is_empty() {
            first.remove(0);
        }
        within
    }

    /// Whether it is exactly these keys of objects, without lists.
    pub(in crate::store) fn is_plain(&self, keys: &[String]) -> bool {
        self.lists.is_empty() && self.keys == keys
    }
}

/// Writes the path as the API does.
impl fmt::Display for FieldPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, keys) in self.lists.iter().enumerate() {
            write!(formatter, "{}{}[]", if position > 0 { "." } else { "" }, write_keys(keys))?;
        }
        let separator = if self.lists.is_empty() || self.keys.is_empty() { "" } else { "." };
        write!(formatter, "{separator}{}", write_keys(&self.keys))
    }
}

/// Writes keys as the API does.
pub(crate) fn write_keys(keys: &[String]) -> String {
    let plain = |key: &str| !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    let write = |key: &String| {
        if plain(key) { key.clone() } else { format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\"")) }
    };
    keys.iter().map(write).collect::<Vec<_>>().join(".")
}

/// The object that has a value at a path of keys.
pub(super) fn nested(keys: &[String], value: &str) -> String {
    let mut json = String::new();
    for key in keys {
        json.push('{');
        // Cannot fail: it serializes a string into memory.
        json.push_str(&serde_json::to_string(key).unwrap_or_default());
        json.push(':');
    }
    json.push_str(value);
    json.extend(keys.iter().map(|_| '}'));
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(lists: &[&[&str]], keys: &[&str]) -> FieldPath {
        let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        FieldPath { lists: lists.iter().map(|keys| owned(keys)).collect(), keys: owned(keys) }
    }

    #[test]
    fn a_path_is_an_object() {
        assert_eq!(path(&[], &["a", "\"\n"]).holding("[1]"), r#"{"a":{"\"\n":[1]}}"#);
        assert_eq!(path(&[&["a", "b"], &["c"]], &["d"]).holding("1"), r#"{"a":{"b":[{"c":[{"d":1}]}]}}"#);
        assert_eq!(path(&[&["a"]], &[]).holding("1"), r#"{"a":[1]}"#);
    }
}
