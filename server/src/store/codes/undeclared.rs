//! The fields to declare so that codes answer more of a filter.

use super::{MAX_FIELDS, conditions::flatten, has_codes};
use crate::store::{Filter, MetadataIndex, MetadataIndexType, write_keys};

/// A field that a filter tests, with its type.
type Tested<'f> = (&'f [String], MetadataIndexType);

/// Names the fields of a filter that could be declared, so that codes serve it.
pub(in crate::store) fn undeclared_fields(filter: &Filter, declared: &[MetadataIndex]) -> Vec<String> {
    let mut conjuncts = Vec::new();
    flatten(filter, &mut conjuncts);
    let tested: Vec<Tested<'_>> = conjuncts.into_iter().flat_map(tested_fields).collect();
    let is_declared =
        |(keys, kind): &Tested<'_>| declared.iter().any(|index| index.kind == *kind && index.path == *keys);
    // Codes answer one condition on a list.
    let is_list = |(_, kind): &Tested<'_>| *kind == MetadataIndexType::StringList;
    let mut has_list = tested.iter().any(|field| is_list(field) && is_declared(field));
    let mut found = Vec::new();
    for field in tested {
        if is_declared(&field) || is_list(&field) && std::mem::replace(&mut has_list, true) {
            continue;
        }
        found.push((write_keys(field.0), field.1));
    }
    found.sort();
    found.dedup();
    let coded = declared.iter().filter(|index| has_codes(index.kind, &index.path)).count();
    found.truncate(MAX_FIELDS.saturating_sub(coded));
    let note = |(field, kind): (String, MetadataIndexType)| {
        format!(
            "declare the field {field} as METADATA_INDEX_TYPE_{} in metadata_indexes, and filters by it take about as long as \
             a search without",
            kind.name().to_uppercase()
        )
    };
    found.into_iter().map(note).collect()
}

/// The fields of a filter that must hold. Empty if codes cannot answer it, whatever is declared.
fn tested_fields(filter: &Filter) -> Vec<Tested<'_>> {
    let mut tested = Vec::new();
    if collect(filter, true, &mut tested) { tested } else { Vec::new() }
}

/// Collects the fields of a filter, and returns whether codes can answer it. Only a filter that must hold can be about a list.
fn collect<'f>(filter: &'f Filter, must_hold: bool, tested: &mut Vec<Tested<'f>>) -> bool {
    match filter {
        Filter::All(filters) | Filter::Any(filters) | Filter::None(filters) => {
            filters.iter().all(|filter| collect(filter, false, tested))
        }
        Filter::Everything => true,
        Filter::Ids(_) => false,
        Filter::Field { path, test } => {
            let field = test
                .field_of(path)
                .filter(|(kind, keys)| has_codes(*kind, keys) && (must_hold || *kind != MetadataIndexType::StringList));
            tested.extend(field.map(|(kind, keys)| (keys, kind)));
            field.is_some()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Bound, FieldPath, Literal, Test};

    #[test]
    fn fields_that_could_have_codes_are_named() {
        let path = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        let below = |keys: &[&str]| Filter::Field {
            path: FieldPath { lists: Vec::new(), keys: path(keys) },
            test: Test::Number(Bound::AtLeast, 1.0),
        };
        let index = |kind, keys: &[&str]| MetadataIndex { kind, path: path(keys) };
        let filter = Filter::All(vec![below(&["a"]), below(&["1"]), below(&["a", "1"]), below(&["a", "1", "b"])]);
        let mut declared = vec![index(MetadataIndexType::Gin, &[]), index(MetadataIndexType::Number, &["x", "2"])];
        let notes = undeclared_fields(&filter, &declared);
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].contains("the field 1 as") && notes[1].contains("the field a as"), "{notes:?}");
        declared.extend(["b", "c", "d"].map(|key| index(MetadataIndexType::Time, &[key])));
        assert_eq!(undeclared_fields(&filter, &declared).len(), 1);
        declared.push(index(MetadataIndexType::String, &["e"]));
        assert_eq!(undeclared_fields(&filter, &declared), [""; 0]);
    }

    #[test]
    fn fields_are_named_only_if_codes_then_answer_the_filter() {
        let path = |key: &str| FieldPath { lists: Vec::new(), keys: vec![key.into()] };
        let literal = |text: &str| Literal { json: format!("\"{text}\""), is_scalar: true };
        let number = |key: &str| Filter::Field { path: path(key), test: Test::Number(Bound::AtLeast, 1.0) };
        let list = |key: &str| Filter::Field { path: path(key), test: Test::ContainsAny(vec![literal("a")]) };
        let text = || Filter::Field { path: path("text"), test: Test::ContainsText("a".into()) };
        let index = |key: &str| MetadataIndex { kind: MetadataIndexType::StringList, path: vec![key.into()] };
        let check = |filters: Vec<Filter>, declared: &[MetadataIndex], fields: &[&str]| {
            let notes = undeclared_fields(&Filter::All(filters), declared);
            let is_named = |field: &str| notes.iter().any(|note| note.contains(&format!("the field {field} as")));
            assert!(notes.len() == fields.len() && fields.iter().all(|field| is_named(field)), "{notes:?}");
        };
        check(vec![Filter::Any(vec![number("a"), Filter::None(vec![number("b")])])], &[], &["a", "b"]);
        check(vec![Filter::Any(vec![number("a"), text()]), number("b")], &[], &["b"]);
        check(vec![Filter::Any(vec![number("a"), Filter::Ids(vec!["1".into()])])], &[], &[]);
        // A list only by one condition that must hold.
        check(vec![Filter::None(vec![list("tags")])], &[], &[]);
        check(vec![Filter::Any(vec![list("tags"), number("a")])], &[], &[]);
        check(vec![list("tags"), list("more")], &[], &["tags"]);
        check(vec![list("tags"), list("more")], &[index("more")], &[]);
        check(vec![list("tags"), list("tags")], &[], &["tags"]);
    }
}
