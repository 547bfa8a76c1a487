//! The fields of documents that a caller requests.

use prost_types::{FieldMask, Struct, Value, value::Kind};

use super::{Violation, Violations, filter::read_path};

/// Maximum number of paths of a mask.
pub(super) const MAX_PATHS: usize = 100;

/// The wanted fields. The id is always included.
#[derive(Debug)]
pub(crate) struct Fields {
    pub(crate) text: bool,
    metadata: Metadata,
}

#[derive(Debug)]
enum Metadata {
    All,
    /// The values at these paths, shorter paths first.
    At(Vec<Vec<String>>),
}

impl Fields {
    /// Reads a mask. No mask, or an empty one, selects everything.
    pub(crate) fn read(violations: &mut Violations, mask: Option<FieldMask>) -> Self {
        let paths = mask.unwrap_or_default().paths;
        if paths.is_empty() {
            return Self { text: true, metadata: Metadata::All };
        }
        if paths.len() > MAX_PATHS {
            let rule = format!("must have at most {MAX_PATHS} entries, not {}", paths.len());
            violations.push(Violation::new("read_mask.paths", rule));
        }
        let (mut text, mut all, mut at) = (false, false, Vec::new());
        for (position, path) in paths.iter().enumerate().take(MAX_PATHS) {
            let field = format!("read_mask.paths[{position}]");
            match path.as_str() {
                "text" => text = true,
                "metadata" => all = true,
                "id" => {}
                path => match path.strip_prefix("metadata.").map(read_path) {
                    Some(Ok(path)) => at.push(path),
                    Some(Err(rule)) => violations.push(Violation::new(field, rule)),
                    None => violations.check(
                        false,
                        &field,
                        "must be \"text\", \"metadata\" or a field of the metadata, such as \"metadata.title\"",
                    ),
                },
            }
        }
        at.sort_by_key(Vec::len);
        Self { text, metadata: if all { Metadata::All } else { Metadata::At(at) } }
    }

    pub(crate) fn with_metadata(&self) -> bool {
        match &self.metadata {
            Metadata::All => true,
            Metadata::At(paths) => !paths.is_empty(),
        }
    }

    /// The requested part of the metadata, if there is any.
    pub(crate) fn prune(&self, metadata: Struct) -> Option<Struct> {
        let Metadata::At(paths) = &self.metadata else {
            return Some(metadata);
        };
        let mut pruned = Struct::default();
        for path in paths {
            if let Some(value) = find(&metadata, path) {
                put(&mut pruned, path, value.clone());
            }
        }
        (!pruned.fields.is_empty()).then_some(pruned)
    }
}

fn find<'a>(fields: &'a Struct, path: &[String]) -> Option<&'a Value> {
    let (key, rest) = path.split_first()?;
    let value = fields.fields.get(key)?;
    match (&value.kind, rest) {
        (_, []) => Some(value),
        (Some(Kind::StructValue(fields)), rest) => find(fields, rest),
        _ => None,
    }
}

/// Puts a value at its path. Every value on the way is an object.
fn put(fields: &mut Struct, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => drop(fields.fields.insert(key.clone(), value)),
        [key, rest @ ..] => {
            let object = || Value { kind: Some(Kind::StructValue(Struct::default())) };
            let inner = fields.fields.entry(key.clone()).or_insert_with(object);
            if let Some(Kind::StructValue(inner)) = &mut inner.kind {
                put(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::json;

    fn fields(paths: &[&str]) -> Fields {
        let mut violations = Violations::default();
        let mask = FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() };
        let fields = Fields::read(&mut violations, Some(mask));
        assert!(violations.finish().is_ok());
        fields
    }

    fn pruned(paths: &[&str], metadata: &str) -> Option<String> {
        let metadata = json::read(metadata).expect("JSON");
        fields(paths).prune(metadata).map(|metadata| json::write(&metadata).expect("JSON"))
    }

    #[test]
    fn metadata_is_cut_to_the_fields() {
        let metadata = r#"{"a":{"b":1,"c":{"d":[2]}},"e.f":3,"g":null}"#;
        assert_eq!(pruned(&["metadata"], metadata).as_deref(), Some(metadata));
        assert_eq!(pruned(&["metadata", "metadata.g"], metadata).as_deref(), Some(metadata));
        assert_eq!(pruned(&["metadata.g", "text"], metadata).as_deref(), Some(r#"{"g":null}"#));
        assert_eq!(
            pruned(&["metadata.a.b", r#"metadata."e.f""#], metadata).as_deref(),
            Some(r#"{"a":{"b":1},"e.f":3}"#)
        );
        assert_eq!(
            pruned(&["metadata.a.b", "metadata.a.c.d"], metadata).as_deref(),
            Some(r#"{"a":{"b":1,"c":{"d":[2]}}}"#)
        );
        assert_eq!(
            pruned(&["metadata.a.b", "metadata.a"], metadata).as_deref(),
            Some(r#"{"a":{"b":1,"c":{"d":[2]}}}"#)
        );
        for nothing in ["text", "metadata.x", "metadata.a.b.c", "metadata.g.h"] {
            assert_eq!(pruned(&[nothing], metadata), None, "{nothing}");
        }
    }

    #[test]
    fn a_mask_names_fields() {
        let mut violations = Violations::default();
        let paths = ["id", "texts", "metadata.", "vector", "metadata.a..b", ""].map(str::to_owned).to_vec();
        Fields::read(&mut violations, Some(FieldMask { paths }));
        let found = violations.finish().unwrap_err();
        let named: Vec<&str> = found.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(named, [1, 2, 3, 4, 5].map(|position| format!("read_mask.paths[{position}]")));
        assert!(fields(&[]).text && fields(&[]).with_metadata());
        assert!(!fields(&["metadata.a"]).text && !fields(&["text"]).with_metadata());
    }
}
