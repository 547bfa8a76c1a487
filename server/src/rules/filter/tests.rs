use super::*;

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn string(text: &str) -> Value {
    value(Kind::StringValue(text.into()))
}

fn condition(field: &str, test: RequestedTest) -> v1::Filter {
    v1::Filter {
        node: Some(Node::Condition(v1::Condition { field: field.into(), test: Some(test), ignore_case: false })),
    }
}

fn all_of(filters: Vec<v1::Filter>) -> v1::Filter {
    v1::Filter { node: Some(Node::AllOf(v1::FilterList { filters })) }
}

fn within(depth: usize) -> v1::Filter {
    (1..depth).fold(condition("a", RequestedTest::Exists(true)), |filter, _| all_of(vec![filter]))
}

/// The fields of a filter that break a rule.
fn wrong(filter: v1::Filter) -> Vec<String> {
    let mut violations = Violations::default();
    let read = read(&mut violations, "filter", filter);
    match violations.finish() {
        Err(violations) => {
            assert_eq!(read, None);
            violations.into_iter().map(|violation| violation.field).collect()
        }
        _ => {
            assert!(read.is_some());
            vec![]
        }
    }
}

/// The place where the only condition of a filter breaks a rule.
fn wrong_test(test: RequestedTest) -> Option<String> {
    let fields = wrong(condition("a", test));
    assert!(fields.len() <= 1, "{fields:?}");
    fields.first().map(|field| field.strip_prefix("filter.condition.").expect("a condition").to_owned())
}

#[test]
fn limits_hold() {
    assert_eq!(wrong(within(8)).len(), 0);
    assert_eq!(wrong(within(9)), [format!("filter{}", ".all_of.filters[0]".repeat(8))]);
    let many = |count| all_of(vec![within(2); count]);
    assert_eq!(wrong(many(256)).len(), 0);
    assert_eq!(wrong(many(257)), ["filter"]);
    let list = |count| ListValue { values: vec![string("x"); count] };
    for test in [RequestedTest::OneOf, RequestedTest::NoneOf, RequestedTest::ContainsAny, RequestedTest::ContainsAll] {
        assert_eq!(wrong_test(test(list(1_000))), None);
        assert!(wrong_test(test(list(1_001))).is_some());
        assert!(wrong_test(test(list(0))).is_some());
    }
    let ids = |ids| v1::Filter { node: Some(Node::Ids(v1::IdList { ids })) };
    assert_eq!(wrong(ids(vec!["a".into(); 1_000])).len(), 0);
    assert_eq!(wrong(ids(vec!["a".into(); 1_001])), ["filter.ids.ids"]);
    assert_eq!(wrong(ids(vec![])), ["filter.ids.ids"]);
    assert_eq!(wrong(ids(vec!["a".into(), "\0".into()])), ["filter.ids.ids[1]"]);
}

#[test]
fn every_violation_is_named_at_its_place() {
    let filter = all_of(vec![
        v1::Filter { node: None },
        all_of(vec![]),
        condition("", RequestedTest::LessThan(value(Kind::BoolValue(true)))),
        v1::Filter { node: Some(Node::Condition(v1::Condition { field: "a".into(), test: None, ignore_case: false })) },
    ]);
    let fields = ["[0]", "[1].all_of.filters", "[2].condition.field", "[2].condition.less_than", "[3].condition.test"];
    assert_eq!(wrong(filter), fields.map(|field| format!("filter.all_of.filters{field}")));
}

#[test]
fn values_fit_their_tests() {
    let number = |number| value(Kind::NumberValue(number));
    let object = |inner| value(Kind::StructValue(prost_types::Struct { fields: [("k".into(), inner)].into() }));
    for value in [number(f64::NAN), number(f64::INFINITY), string("\0"), object(string("\0")), Value { kind: None }] {
        assert_eq!(wrong_test(RequestedTest::Equals(value.clone())).as_deref(), Some("equals"));
        assert_eq!(wrong_test(RequestedTest::NotEquals(value.clone())).as_deref(), Some("not_equals"));
        assert_eq!(wrong_test(RequestedTest::AtMost(value)).as_deref(), Some("at_most"));
    }
    for value in [value(Kind::NullValue(0)), object(number(1.0)), value(Kind::ListValue(ListValue::default()))] {
        assert_eq!(wrong_test(RequestedTest::Equals(value.clone())), None);
        assert_eq!(wrong_test(RequestedTest::GreaterThan(value.clone())).as_deref(), Some("greater_than"));
        let list = ListValue { values: vec![value.clone(), string("x"), value] };
        let places = [0, 2].map(|place| format!("filter.condition.contains_any.values[{place}]"));
        assert_eq!(wrong(condition("a", RequestedTest::ContainsAny(list))), places);
    }
    assert_eq!(wrong_test(RequestedTest::StartsWith(String::new())).as_deref(), Some("starts_with"));
    assert_eq!(wrong_test(RequestedTest::StartsWith("\0".into())).as_deref(), Some("starts_with"));
    assert_eq!(wrong_test(RequestedTest::ContainsText(String::new())).as_deref(), Some("contains_text"));
    assert_eq!(wrong_test(RequestedTest::ContainsText("\0".into())).as_deref(), Some("contains_text"));
    for (seconds, nanos, fits) in [
        (-62_135_596_800, 0, true),
        (253_402_300_799, 999_999_999, true),
        (-62_135_596_801, 0, false),
        (253_402_300_800, 0, false),
        (0, -1, false),
        (0, 1_000_000_000, false),
    ] {
        assert_eq!(wrong_test(RequestedTest::Before(Timestamp { seconds, nanos })).is_none(), fits);
        assert_eq!(wrong_test(RequestedTest::Since(Timestamp { seconds, nanos })).is_none(), fits);
    }
}

#[test]
fn case_is_ignored_in_strings_only() {
    let wrong = |test| {
        let test = Some(test);
        let condition = v1::Condition { field: "a".into(), test, ignore_case: true };
        wrong(v1::Filter { node: Some(Node::Condition(condition)) })
    };
    let list = |value| ListValue { values: vec![string("x"), value] };
    for fits in [
        RequestedTest::Equals(string("x")),
        RequestedTest::NotEquals(string("")),
        RequestedTest::OneOf(list(string("y"))),
        RequestedTest::ContainsAll(list(string("y"))),
        RequestedTest::StartsWith("x".into()),
        RequestedTest::ContainsText("x".into()),
    ] {
        assert_eq!(wrong(fits), Vec::<String>::new());
    }
    let number = || value(Kind::NumberValue(1.0));
    for (test, field) in [
        (RequestedTest::Equals(number()), "equals"),
        (RequestedTest::NotEquals(value(Kind::NullValue(0))), "not_equals"),
        (RequestedTest::NoneOf(list(number())), "none_of.values[1]"),
        (RequestedTest::ContainsAny(list(value(Kind::BoolValue(true)))), "contains_any.values[1]"),
        (RequestedTest::ContainsText(String::new()), "contains_text"),
        (RequestedTest::LessThan(string("x")), "ignore_case"),
        (RequestedTest::Exists(true), "ignore_case"),
        (RequestedTest::Before(Timestamp::default()), "ignore_case"),
    ] {
        assert_eq!(wrong(test), [format!("filter.condition.{field}")]);
    }
}

#[test]
fn everything_is_meant() {
    let filter = |everything| v1::Filter { node: Some(Node::Everything(everything)) };
    assert_eq!(read(&mut Violations::default(), "filter", filter(true)), Some(Filter::Everything));
    assert_eq!(wrong(filter(false)), ["filter.everything"]);
}

#[test]
fn what_is_negative_is_the_contrary_of_its_opposite() {
    let read = |test| read(&mut Violations::default(), "filter", condition("a", test)).expect("a filter");
    let null = || value(Kind::NullValue(0));
    let not = |filter| Filter::None(vec![filter]);
    assert_eq!(read(RequestedTest::NotEquals(string("x"))), not(read(RequestedTest::Equals(string("x")))));
    let list = || ListValue { values: vec![string("x")] };
    assert_eq!(read(RequestedTest::NoneOf(list())), not(read(RequestedTest::OneOf(list()))));
    assert_eq!(read(RequestedTest::Equals(null())), read(RequestedTest::Exists(false)));
    assert_eq!(read(RequestedTest::NotEquals(null())), read(RequestedTest::Exists(true)));
    assert_eq!(read(RequestedTest::Exists(false)), not(read(RequestedTest::Exists(true))));
}
