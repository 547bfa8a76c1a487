//! The part of a filter that a table of codes answers.

mod reader;

use super::{Codes, Field, UNLISTED};
use crate::store::{Filter, Test};
use reader::Reader;

/// Conditions of declared fields that a filter implies, over the row `c` of a table of codes.
#[derive(Debug, PartialEq)]
pub(in crate::store) struct Declared {
    /// With a `?` for the list of the values, and each value in braces.
    sql: String,
    /// The values, as text.
    pub(in crate::store) wanted: Vec<String>,
    /// They say less than the filter does, so the search must check documents too.
    pub(in crate::store) is_partial: bool,
    /// The number of the list whose table `c` is. `None`: the table with a row per vector.
    list: Option<usize>,
    /// A vector can have several rows that meet the conditions.
    pub(in crate::store) is_repeated: bool,
    /// The filter has a string of which the table may have only the beginning.
    pub(in crate::store) is_cut: bool,
    /// How an index finds the rows that meet them. `None`: it must read all rows.
    pub(in crate::store) access: Option<Access>,
}

/// How an index finds the rows that meet a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) enum Access {
    /// They lie between two values.
    Range,
    /// They have one of some values.
    Value,
}

impl Access {
    /// A plan that does not know a prefix cannot read it as a range.
    fn of(filter: &Filter) -> Option<Self> {
        let Filter::Field { test, .. } = filter else { return None };
        match test {
            Test::Equals(_) | Test::OneOf(_) | Test::ContainsAny(_) | Test::ContainsAll(_) => Some(Self::Value),
            Test::Number(..) | Test::Time(..) | Test::String(..) => Some(Self::Range),
            Test::StartsWith(_) | Test::ContainsText(_) | Test::IgnoringCase(_) | Test::Exists => None,
        }
    }
}

impl Declared {
    /// The part of a filter about fields that have codes, if there is one.
    pub(in crate::store) fn of(filter: &Filter, codes: &Codes) -> Option<Self> {
        Self::of_fields(filter, &codes.fields)
    }

    /// All rows.
    pub(in crate::store) fn everything() -> Self {
        Self {
            sql: "true".into(),
            wanted: Vec::new(),
            is_partial: false,
            list: None,
            is_repeated: false,
            is_cut: false,
            access: None,
        }
    }

    fn of_fields(filter: &Filter, fields: &[Field]) -> Option<Self> {
        let mut conjuncts = Vec::new();
        flatten(filter, &mut conjuncts);
        let mut reader = Reader::new(fields);
        let mut conditions = Vec::new();
        let mut is_partial = false;
        let mut access = None;
        // A row has one string, so only one condition can be about a list.
        if let Some(position) = conjuncts.iter().position(|conjunct| reader.list_of(conjunct).is_some()) {
            let conjunct = conjuncts.remove(position);
            let exact = reader.of_list(conjunct, true);
            is_partial = exact.is_none();
            let condition = exact.or_else(|| reader.of_list(conjunct, false));
            access = condition.as_ref().and_then(|_| Access::of(conjunct));
            conditions.extend(condition);
        }
        for conjunct in conjuncts {
            let before = reader.wanted.len();
            let exact = reader.exact(conjunct);
            if exact.is_none() {
                is_partial = true;
                reader.wanted.truncate(before);
            }
            if let Some(condition) = exact.or_else(|| reader.implied(conjunct)) {
                access = access.max(Access::of(conjunct));
                conditions.push(condition);
            }
        }
        // Without a field, it would read all codes.
        let Reader { wanted, list, is_repeated, is_cut, .. } = reader;
        (!wanted.is_empty()).then(|| Self {
            sql: conditions.join(" AND "),
            wanted,
            is_partial,
            list,
            is_repeated,
            is_cut,
            access,
        })
    }

    /// The table that the conditions are about.
    pub(in crate::store) fn table(&self, codes: &Codes) -> String {
        self.list.map_or_else(|| codes.table.clone(), |number| codes.list_table(number))
    }

    /// The condition on rows of the table with a row per vector that the table of the list leaves out. `None`: there are none.
    pub(in crate::store) fn unlisted(&self) -> Option<String> {
        self.list.map(|number| format!("c.f{number} = '{UNLISTED}'"))
    }

    /// The conditions, with the list of the values as SQL.
    pub(in crate::store) fn sql(&self, wanted: &str) -> String {
        self.sql.replace('?', wanted).replace(['{', '}'], "")
    }

    /// The same for a plan that does not know the values: it computes each once, not in each cell.
    pub(in crate::store) fn sql_of_unknown(&self, wanted: &str) -> String {
        self.sql.replace('?', wanted).replace('{', "(SELECT ").replace('}', ")")
    }
}

/// Collects the filters that must all be true.
pub(super) fn flatten<'f>(filter: &'f Filter, conjuncts: &mut Vec<&'f Filter>) {
    match filter {
        Filter::All(filters) => filters.iter().for_each(|filter| flatten(filter, conjuncts)),
        Filter::Everything => {}
        filter => conjuncts.push(filter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Bound, FieldPath, Literal, MetadataIndexType, Test};

    fn fields() -> Vec<Field> {
        let field = |kind, path: &str| Field { kind, path: vec![path.into()] };
        vec![
            field(MetadataIndexType::Number, "year"),
            field(MetadataIndexType::String, "genre"),
            field(MetadataIndexType::Time, "seen"),
            field(MetadataIndexType::Boolean, "good"),
            field(MetadataIndexType::StringList, "tags"),
        ]
    }

    fn test(field: &str, test: Test) -> Filter {
        Filter::Field { path: FieldPath { lists: Vec::new(), keys: vec![field.into()] }, test }
    }

    fn equals(field: &str, json: &str) -> Filter {
        test(field, Test::Equals(Literal { json: json.into(), is_scalar: true }))
    }

    fn written(filter: &Filter) -> Option<(String, Vec<String>, bool)> {
        let declared = Declared::of_fields(filter, &fields())?;
        Some((declared.sql("$1"), declared.wanted, declared.is_partial))
    }

    #[test]
    fn tests_of_declared_fields_become_conditions() {
        let filter = Filter::All(vec![
            equals("genre", "\"drama\""),
            test("year", Test::Number(Bound::AtLeast, 1999.5)),
            test("seen", Test::Time(Bound::LessThan, -7)),
            test("genre", Test::StartsWith("d".into())),
        ]);
        let sql =
            "c.f2 = ($1)[1]::text AND c.f1 >= ($1)[2]::numeric AND c.f3 < ($1)[3]::bigint AND c.f2 ^@ ($1)[4]::text";
        let wanted = ["drama", "1999.5", "-7", "d"].map(String::from).to_vec();
        assert_eq!(written(&filter), Some((sql.into(), wanted, false)));
    }

    #[test]
    fn an_index_finds_values_and_ranges() {
        let year = || test("year", Test::Number(Bound::AtLeast, 1999.5));
        let starts = || test("genre", Test::StartsWith("d".into()));
        let access = |filter: Filter| Declared::of_fields(&filter, &fields()).expect("a condition").access;
        assert_eq!(access(starts()), None);
        assert_eq!(access(Filter::Any(vec![equals("year", "1"), equals("good", "true")])), None);
        assert_eq!(access(Filter::All(vec![starts(), year()])), Some(Access::Range));
        assert_eq!(access(Filter::All(vec![year(), equals("genre", "\"drama\""), starts()])), Some(Access::Value));
        // The document is checked for it, so it finds nothing here.
        assert_eq!(access(Filter::All(vec![year(), equals("genre", "1")])), Some(Access::Range));
        let tags = test("tags", Test::ContainsAll(vec![Literal { json: "\"a\"".into(), is_scalar: true }]));
        assert_eq!(access(Filter::All(vec![tags, year()])), Some(Access::Value));
    }

    #[test]
    fn combinations_are_all_declared_or_left_to_the_documents() {
        let either = Filter::Any(vec![equals("year", "1"), Filter::None(vec![equals("genre", "\"a\"")])]);
        let sql = "(c.f1 = ($1)[1]::numeric OR ((c.f2 = ($1)[2]::text) IS NOT TRUE))";
        assert_eq!(written(&either), Some((sql.into(), vec!["1".into(), "a".into()], false)));

        let or_else = Filter::Any(vec![equals("year", "1"), equals("other", "1")]);
        assert_eq!(written(&or_else), None);
        let and = Filter::All(vec![or_else, equals("year", "2"), test("year", Test::Exists)]);
        assert_eq!(written(&and), Some(("c.f1 = ($1)[1]::numeric".into(), vec!["2".into()], true)));
    }

    #[test]
    fn values_of_another_type_are_left_to_the_documents() {
        for filter in [
            equals("year", "\"1\""),
            equals("year", "true"),
            equals("good", "1"),
            equals("tags", "\"a\""),
            equals("genre", "[\"a\"]"),
            equals("seen", "\"2024-01-01\""),
            Filter::Ids(vec!["a".into()]),
            Filter::Everything,
            Filter::None(vec![Filter::Everything]),
        ] {
            assert_eq!(written(&filter), None, "{filter:?}");
        }
        let literal = |json: &str| Literal { json: json.into(), is_scalar: true };
        let one_of = |values: [&str; 2]| test("year", Test::OneOf(values.map(literal).to_vec()));
        assert_eq!(written(&one_of(["1", "\"1\""])), None);
        let sql = "c.f1 = ANY(($1)[1:2]::numeric[])";
        assert_eq!(written(&one_of(["1", "2"])), Some((sql.into(), vec!["1".into(), "2".into()], false)));
        let unknown =
            |filter: &Filter| Declared::of_fields(filter, &fields()).expect("a condition").sql_of_unknown("$1");
        assert_eq!(unknown(&one_of(["1", "2"])), "c.f1 = ANY((SELECT ($1)[1:2])::numeric[])");
        assert_eq!(unknown(&equals("year", "1")), "c.f1 = (SELECT ($1)[1]::numeric)");
    }

    #[test]
    fn one_condition_on_a_list_chooses_the_table() {
        let literal = |text: &str| Literal { json: format!("\"{text}\""), is_scalar: true };
        let literals = |texts: &[&str]| texts.iter().map(|text| literal(text)).collect::<Vec<_>>();
        let elements =
            |test| Filter::Field { path: FieldPath { lists: vec![vec!["tags".into()]], keys: Vec::new() }, test };
        let any = |texts: &[&str]| test("tags", Test::ContainsAny(literals(texts)));
        let all = |texts: &[&str]| test("tags", Test::ContainsAll(literals(texts)));
        let check = |filter: &Filter, sql: &str, partial: bool, repeated: bool| {
            let declared = Declared::of_fields(filter, &fields()).expect("a condition");
            assert_eq!((&*declared.sql("$1"), declared.is_partial), (sql, partial));
            assert_eq!((declared.list, declared.is_repeated), (Some(5), repeated), "{filter:?}");
        };
        check(&any(&["a", "b"]), "c.f5 = ANY(($1)[1:2]::text[])", false, true);
        check(&all(&["a"]), "c.f5 = ($1)[1]::text", false, false);
        check(&all(&["a", "b"]), "c.f5 = ($1)[1]::text", true, false);
        check(&elements(Test::Equals(literal("a"))), "c.f5 = ($1)[1]::text", false, false);
        check(&elements(Test::StartsWith("a".into())), "c.f5 ^@ ($1)[1]::text", false, true);
        let sql = "c.f5 = ($1)[1]::text AND c.f4 = ($1)[2]::boolean";
        check(&Filter::All(vec![equals("good", "true"), all(&["a"])]), sql, false, false);
        check(&Filter::All(vec![all(&["a"]), any(&["b"])]), "c.f5 = ($1)[1]::text", true, false);
        check(&all(&[&"a".repeat(70)]), "c.f5 = ($1)[1]::text", true, false);
        // Documents whose list has no strings have no row.
        assert_eq!(written(&Filter::None(vec![all(&["a"])])), None);
        assert_eq!(written(&Filter::Any(vec![all(&["a"]), equals("year", "1")])), None);
    }

    #[test]
    fn of_long_strings_the_beginning_is_compared() {
        let (short, long) = ("ä".repeat(63), "ä".repeat(100));
        let cut = "ä".repeat(64);
        let check = |test_of: fn(String) -> Test, short_sql: &str, long_sql: &str| {
            let wanted = |text: &str| vec![text.to_owned()];
            let expected = Some((short_sql.to_owned(), wanted(&short), false));
            assert_eq!(written(&test("genre", test_of(short.clone()))), expected);
            let expected = Some((long_sql.to_owned(), wanted(&cut), true));
            assert_eq!(written(&test("genre", test_of(long.clone()))), expected);
        };
        check(|text| Test::String(Bound::LessThan, text), "c.f2 < ($1)[1]::text", "c.f2 <= ($1)[1]::text");
        check(|text| Test::String(Bound::AtMost, text), "c.f2 <= ($1)[1]::text", "c.f2 <= ($1)[1]::text");
        check(|text| Test::String(Bound::GreaterThan, text), "c.f2 > ($1)[1]::text", "c.f2 >= ($1)[1]::text");
        check(Test::StartsWith, "c.f2 ^@ ($1)[1]::text", "c.f2 ^@ ($1)[1]::text");
        let quoted = |text: String| Test::Equals(Literal { json: format!("\"{text}\""), is_scalar: true });
        check(quoted, "c.f2 = ($1)[1]::text", "c.f2 = ($1)[1]::text");
        // Not below a negation.
        let not_long = || Filter::None(vec![test("genre", quoted(long.clone()))]);
        assert_eq!(written(&not_long()), None);
        let is_cut = |filter: Filter| Declared::of_fields(&filter, &fields()).expect("a condition").is_cut;
        assert!(!is_cut(Filter::All(vec![not_long(), equals("year", "1")])));
        assert!(is_cut(Filter::All(vec![test("genre", quoted(long.clone())), equals("year", "1")])));
    }
}
