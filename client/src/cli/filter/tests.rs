use pgfox_client::v1::IdList;
use prost_types::ListValue;

use super::*;

/// The message in a short form that shows its structure.
fn show(filter: &Filter) -> String {
    let list = |name: &str, list: &FilterList| {
        format!("{name}({})", list.filters.iter().map(show).collect::<Vec<_>>().join(", "))
    };
    match filter.node.as_ref().unwrap() {
        Node::AllOf(filters) => list("all", filters),
        Node::AnyOf(filters) => list("any", filters),
        Node::NoneOf(filters) => list("none", filters),
        Node::Ids(ids) => format!("ids{:?}", ids.ids),
        Node::Condition(condition) => show_condition(condition),
        Node::Everything(everything) => format!("everything {everything}"),
    }
}

fn show_condition(condition: &Condition) -> String {
    show_test(condition) + if condition.ignore_case { " ignoring case" } else { "" }
}

fn show_test(Condition { field, test, .. }: &Condition) -> String {
    let one = |value: &Value| {
        crate::cli::json::metadata(&prost_types::Struct { fields: [("v".to_owned(), value.clone())].into() })["v"]
            .to_string()
    };
    let many = |list: &ListValue| format!("[{}]", list.values.iter().map(one).collect::<Vec<_>>().join(","));
    match test.as_ref().unwrap() {
        Test::Equals(value) => format!("{field} = {}", one(value)),
        Test::NotEquals(value) => format!("{field} != {}", one(value)),
        Test::LessThan(value) => format!("{field} < {}", one(value)),
        Test::AtMost(value) => format!("{field} <= {}", one(value)),
        Test::GreaterThan(value) => format!("{field} > {}", one(value)),
        Test::AtLeast(value) => format!("{field} >= {}", one(value)),
        Test::OneOf(list) => format!("{field} one of {}", many(list)),
        Test::NoneOf(list) => format!("{field} none of {}", many(list)),
        Test::ContainsAny(list) => format!("{field} any {}", many(list)),
        Test::ContainsAll(list) => format!("{field} all {}", many(list)),
        Test::StartsWith(text) => format!("{field} ^= {text:?}"),
        Test::ContainsText(text) => format!("{field} *= {text:?}"),
        Test::Exists(exists) => format!("{field} exists {exists}"),
        Test::Before(time) => format!("{field} before {time}"),
        Test::Since(time) => format!("{field} since {time}"),
    }
}

#[track_caller]
fn is(expression: &str, expected: &str) {
    match parse(expression) {
        Ok(filter) => assert_eq!(show(&filter), expected, "{expression}"),
        Err(error) => panic!("{expression}: {error:?}"),
    }
}

/// The column, from 1, and the message.
#[track_caller]
fn fails(expression: &str, column: usize, message: &str) {
    let error = parse(expression).expect_err(expression);
    let actual = lexer::point(expression, error.offset).1;
    assert!(actual == column && error.message.contains(message), "{expression}: column {actual}: {}", error.message);
}

#[test]
fn every_test() {
    is("year = 2000", "year = 2000");
    is("year==2000", "year = 2000");
    is("year != -1.5e3", "year != -1500");
    is("a < 1", "a < 1");
    is("a<=\"x\"", "a <= \"x\"");
    is("a > +2", "a > 2");
    is("a>=0.5", "a >= 0.5");
    is("a = true", "a = true");
    is("a = FALSE", "a = false");
    is("a = null", "a = null");
    is("author.\"first name\" != null", "author.\"first name\" != null");
    is("lang in (\"en\", 'de', 3, true)", "lang one of [\"en\",\"de\",3,true]");
    is("lang NOT IN (\"en\")", "lang none of [\"en\"]");
    is("tags contains \"a\"", "tags any [\"a\"]");
    is("tags contains any (\"a\",\"b\")", "tags any [\"a\",\"b\"]");
    is("tags contains all(1, 2)", "tags all [1,2]");
    is("title starts with \"The \"", "title ^= \"The \"");
    is("title ^= 'The '", "title ^= \"The \"");
    is("published before 2024-05-01T12:00:00+02:00", "published before 2024-05-01T10:00:00Z");
    is("published since 2024-05-01", "published since 2024-05-01T00:00:00Z");
    is("published since '2024-05-01T00:00:00.25Z'", "published since 2024-05-01T00:00:00.250Z");
    for noon in [
        "2024-05-01T12:00:00Z",
        "2024-05-01t12:00:00z",
        "2024-05-01T12:00:00",
        "2024-05-01T12:00",
        "2024-05-01T12:00Z",
        "2024-05-01T14:00:00+0200",
        "2024-05-01T14:00+02",
        "'2024-05-01 12:00'",
        "'2024-05-01 12:00:00,000'",
        "'2024-05-01 12:00:00 UTC'",
        "'2024-05-01 10:00:00 -0200'",
    ] {
        is(&format!("published since {noon}"), "published since 2024-05-01T12:00:00Z");
    }
    is("exists director", "director exists true");
    is("director is null", "director exists false");
    is("director Is Not Null", "director exists true");
    is("draft", "draft = true");
    is("tags = [\"a\", 1]", "tags = [\"a\",1]");
    is("author = {\"name\": null} and x", "all(author = {\"name\":null}, x = true)");
}

#[test]
fn tests_of_strings() {
    is("title contains text 'fox'", "title *= \"fox\"");
    is("title CONTAINS TEXT \"fox\" Ignoring Case", "title *= \"fox\" ignoring case");
    is("title = 'fox' ignoring case and x", "all(title = \"fox\" ignoring case, x = true)");
    is("title != 'fox' ignoring case", "title != \"fox\" ignoring case");
    is("lang in ('EN', 'de') ignoring case", "lang one of [\"EN\",\"de\"] ignoring case");
    is("lang not in ('EN') ignoring case", "lang none of [\"EN\"] ignoring case");
    is("tags contains any ('a') ignoring case", "tags any [\"a\"] ignoring case");
    is("tags contains 'a' ignoring case", "tags any [\"a\"] ignoring case");
    is("title starts with 'the' ignoring case", "title ^= \"the\" ignoring case");
    fails("a = 1 ignoring case", 7, "with strings");
    fails("a ignoring case", 3, "expected a test");
    fails("a in ('x', 1) ignoring case", 15, "with strings");
    fails("a < 'x' ignoring case", 9, "with strings");
    fails("a = 'x' ignoring", 17, "expected `case` after `ignoring`");
    is("ignoring = 1 and text = 2", "all(ignoring = 1, text = 2)");
}

#[test]
fn elements_of_lists() {
    is("variants[].color = 'red'", "variants[].color = \"red\"");
    is("a . b[] . c[] contains 1", "a.b[].c[] any [1]");
    is("tags[] = [\"a\"]", "tags[] = [\"a\"]");
    is("\"tags[]\" = 'a'", "\"tags[]\" = \"a\"");
    is("exists tags[]", "tags[] exists true");
    fails("tags[0] = 'a'", 5, "write [] for any element of a list");
    fails("tags[*] = 'a'", 5, "write [] for any element of a list");
    fails("tags[]x = 'a'", 7, "expected a test such as");
}

#[test]
fn syntax_of_other_languages_works_or_gets_a_hint() {
    is("a <> 'x' && b == 1 || NOT c IS NOT NULL", "any(all(a != \"x\", b = 1), none(c exists true))");
    is("id <> 'x'", "none(ids[\"x\"])");
    is("title LIKE '%fox%'", "title *= \"fox\"");
    is("title like 'fox%'", "title ^= \"fox\"");
    is("title like 'fox'", "title = \"fox\"");
    is("title ilike '%fox%'", "title *= \"fox\" ignoring case");
    is("title NOT ILIKE 'fox%' and x", "all(none(title ^= \"fox\" ignoring case), x = true)");
    is("year BETWEEN 1990 AND 1999 and x", "all(all(year >= 1990, year <= 1999), x = true)");
    is("year not between 1990 and 1999", "none(all(year >= 1990, year <= 1999))");
    is("year in [1990, 1999]", "year one of [1990,1999]");
    is("exists(director) and exists (a.b)", "all(director exists true, a.b exists true)");
    fails("title like '%fox'", 12, "no test checks the end of a string");
    fails("title like 'f_x%'", 12, "write contains text");
    fails("title like '%'", 12, "write exists");
    fails("year between 1 or 2", 16, "expected `and` after `between`");
    fails("year between null and 2", 14, "expected a number or a string");
    fails("metadata.year >= 2000", 1, "write year, or \"metadata\".year");
    fails("x and metadata.a.b = 1", 7, "write a.b");
    is("\"metadata\".year = 1 and metadata = 2", "all(metadata.year = 1, metadata = 2)");
    fails("title:foo", 6, "write = between a field and a value");
    fails("title =~ 'x'", 7, "regular expressions are not supported");
    fails("title ~* 'x'", 7, "regular expressions are not supported");
    fails("lower(title) = 'x'", 6, "`ignoring case`");
    fails("author->name = 'x'", 9, "write a dot");
    fails("author->>'name' = 'x'", 9, "write a dot");
    fails("year >= 2000, lang = 'en'", 13, "write `and`");
    fails("a & b", 3, "write `and`");
    fails("!draft", 1, "write `not`");
    fails("title has 'x'", 7, "write contains");
    fails("title icontains 'x'", 7, "write contains text \"x\" ignoring case");
    fails("title endswith 'x'", 7, "write contains text");
    fails("year gte 2000", 6, "write =, !=, >, >=");
    fails("year is 3", 9, "write other values after =");
    fails("*", 1, "write the name of a metadata field");
    fails("year => 3", 7, ">= and <=");
}

#[test]
fn a_list_test_of_strings_is_pointed_at() {
    let wanted = Where { expression: Some("x = 1 and title contains 'fox'".into()) };
    let notes =
        ["`title` contains_any compares lists, but the field contains strings: nothing matches".to_owned(), "b".into()];
    let expected = "note: --where: column 17: `title` contains strings: write contains text\n  x = 1 and title \
                    contains 'fox'\n                  ^\nnote: b\n";
    assert_eq!(wanted.notes(&notes), expected);
    assert_eq!(Where::default().notes(&notes[1..]), "note: b\n");
}

#[test]
fn tests_are_joined() {
    is("a and b or c and d", "any(all(a = true, b = true), all(c = true, d = true))");
    is("a AND (b Or c)", "all(a = true, any(b = true, c = true))");
    is("not a and b", "all(none(a = true), b = true)");
    is("not (a or b)", "none(a = true, b = true)");
    is("not (a and b)", "none(all(a = true, b = true))");
    is("not not a", "none(none(a = true))");
    is("((a))", "a = true");
    is(
        "year >= 2000 and lang in (\"en\", \"de\") and not draft and (title ^= \"The \" or tags contains any (\"a\",\"b\")) \
         and author.\"first name\" != null and published before 2024-05-01T00:00:00Z and exists director and id in \
         (\"a\",\"b\")",
        "all(year >= 2000, lang one of [\"en\",\"de\"], none(draft = true), any(title ^= \"The \", tags any \
         [\"a\",\"b\"]), author.\"first name\" != null, published before 2024-05-01T00:00:00Z, director exists true, \
         ids[\"a\", \"b\"])",
    );
}

#[test]
fn ids_and_the_field_of_that_name() {
    is("id = \"a\"", "ids[\"a\"]");
    is("id IN ('a', 'b')", "ids[\"a\", \"b\"]");
    is("ID in ('a')", "ID one of [\"a\"]");
    is("id != 'a'", "none(ids[\"a\"])");
    is("id not in ('a')", "none(ids[\"a\"])");
    is("\"id\" = 7", "id = 7");
    is("id.x = 7", "id.x = 7");
    is("author.id = 7", "author.id = 7");
    fails("id > 5", 1, "write a metadata field with this name in quotes");
    fails("x and id", 7, "write a metadata field with this name in quotes");
    fails("id = 7", 6, "expected an id in quotes after =, found `7`");
}

#[test]
fn fields() {
    is("a-b_c.2nd = 1", "a-b_c.2nd = 1");
    is("\"a.b\".c = 1", "\"a.b\".c = 1");
    is("'a\"b\\\\' = 1", "\"a\\\"b\\\\\" = 1");
    is("\"größe\".ü = 1", "größe.ü = 1");
    is("a . b = 1", "a.b = 1");
    is("\"\" = 1", "\"\" = 1");
    is("not.in = 1", "not.in = 1");
    is("\"not\" = 1", "not = 1");
    is(
        "before before 2024-01-01 and since and starts",
        "all(before before 2024-01-01T00:00:00Z, since = true, starts = true)",
    );
    fails("null = 1", 1, "write a field with the name `null` in quotes");
    fails("a..b = 1", 3, "expected a field, found `.`");
}

#[test]
fn strings() {
    is(r#"a = "\"\\\/\n\t\u00e9\ud83e\udd8a'""#, "a = \"\\\"\\\\/\\n\\té🦊'\"");
    is(r"a = 'it\'s'", "a = \"it's\"");
    fails("a = \"x", 5, "no closing \"");
    fails(r#"a = "x\q""#, 7, "expected an escape");
    fails(r#"a = "\u12"#, 6, "expected an escape");
    fails(r#"a = "\ud83e x""#, 6, "expected an escape");
    fails("a = \"x\" \"y\"", 9, "expected `and`, `or` or the end, found `\"`");
}

#[test]
fn errors_point_at_the_place() {
    fails("", 1, "expected a field, found the end");
    fails("   ", 4, "expected a field, found the end");
    fails("year >=", 8, "expected a value after >=, found the end");
    fails("year >= and x", 9, "expected a value after >=, found `and`");
    fails("lang = en", 8, "found `en`; write strings in quotes");
    fails("year => 3", 7, "expected a value after =");
    fails("a = 1 b = 2", 7, "expected `and`, `or` or the end, found `b`");
    fails("(a = 1", 7, "expected `and`, `or` or `)`, found the end");
    fails("a = 1)", 6, "found `)`");
    fails("a b", 3, "expected a test such as =, <, in");
    fails("a in ()", 7, "expected a value, found `)`");
    fails("a in \"x\"", 6, "expected a list such as");
    fails("a in (1 2)", 9, "expected `,` or `)`");
    fails("a in (null)", 7, "expected a string, a number, true or false");
    fails("a contains", 11, "`any`, `all`, `text` or a value after `contains`");
    fails("a starts \"x\"", 10, "expected `with` after `starts`");
    fails("a not starts 1", 7, "expected `in`, `like` or `between` after `not`");
    fails("a is 3", 6, "`null` or `not null`");
    fails("a < true", 5, "expected a number or a string after <");
    fails("a > 2024-05-01", 5, "compare times with `before` and `since`");
    fails("a before tomorrow", 10, "expected a time such as 2024-05-01");
    fails("a before 2024-13-01", 10, "expected a time such as 2024-05-01");
    fails("a before '2024-05-01T12:00é'", 10, "expected a time such as 2024-05-01");
    fails("a = 1.2.3", 5, "`1.2.3` is not a number");
    fails("a = 1e999", 5, "is not a number");
    fails("a = 9007199254740993", 5, "would lose digits");
    fails("a = [1, ", 8, "ends too early");
    fails("a = ['b']", 6, "this is not JSON: expected value; write lists and objects as JSON, with double quotes");
    fails("größe = ü", 9, "found `ü`");
    fails(&"(".repeat(100_000), 17, "nested too deeply");
    fails(&"not ".repeat(100_000), 65, "nested too deeply");
}

#[test]
fn the_caret_is_below_the_place() {
    let point = |expression: &str| lexer::point(expression, parse(expression).unwrap_err().offset);
    assert_eq!(point("year >= and x"), ("year >= and x".into(), 9, "        ^".into()));
    // Wide characters take two columns.
    assert_eq!(point("狐 = 狐"), ("狐 = 狐".into(), 5, "     ^".into()));
    assert_eq!(point("a\n= \u{1b}").0, "a =");
    let long = format!("{} and x =", "abcdefgh = 1 and ".repeat(20));
    let (line, column, caret) = point(&long);
    assert_eq!(column, long.chars().count() - 6);
    assert_eq!(caret.len(), 52);
    assert!(line.starts_with('…') && line.chars().count() < 80, "{line}");
}

/// Writes a filter in the language, so that parsing gives it back.
fn write(filter: &Filter) -> String {
    let list = |list: &FilterList, word: &str| {
        list.filters.iter().map(|filter| format!("({})", write(filter))).collect::<Vec<_>>().join(word)
    };
    match filter.node.as_ref().unwrap() {
        Node::AllOf(filters) => list(filters, " and "),
        Node::AnyOf(filters) => list(filters, " or "),
        Node::NoneOf(filters) => format!("not ({})", list(filters, " or ")),
        Node::Ids(ids) => format!("id in ({})", ids.ids.iter().map(|id| quoted(id)).collect::<Vec<_>>().join(", ")),
        Node::Everything(_) => panic!("the test generates no everything"),
        Node::Condition(Condition { field, test, .. }) => {
            let field = field.split('.').map(quoted).collect::<Vec<_>>().join(".");
            match test.as_ref().unwrap() {
                Test::Equals(Value { kind: Some(Kind::NumberValue(n)) }) => format!("{field} = {n}"),
                Test::Since(time) => format!("{field} since {time}"),
                Test::StartsWith(text) => format!("{field} starts with {}", quoted(text)),
                Test::Exists(true) => format!("exists {field}"),
                Test::Exists(false) => format!("{field} is null"),
                other => panic!("the test generates no {other:?}"),
            }
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn random_filter(random: &mut fastrand::Rng, depth: usize) -> Filter {
    let text = |random: &mut fastrand::Rng| {
        (0..random.usize(1..6))
            .map(|_| random.choice(['a', '"', '\\', '\'', '狐', '\n', ' ', '🦊']).unwrap())
            .collect::<String>()
    };
    let filters = |random: &mut fastrand::Rng| FilterList {
        filters: (0..random.usize(2..4)).map(|_| random_filter(random, depth + 1)).collect(),
    };
    let choice = if depth < 3 { random.usize(0..8) } else { random.usize(3..8) };
    let field = random.choice(["a", "not", "a.b", "id"]).unwrap().to_owned();
    match choice {
        0 => node(Node::AllOf(filters(random))),
        1 => node(Node::AnyOf(filters(random))),
        2 => node(Node::NoneOf(filters(random))),
        3 => node(Node::Ids(IdList { ids: vec![text(random), text(random)] })),
        4 => test(field, Test::Equals(value(Kind::NumberValue(f64::from(random.i32(..)) / 8.0)))),
        5 => test(field, Test::StartsWith(text(random))),
        6 => test(field, Test::Since(Timestamp { seconds: random.i64(0..4_000_000_000), nanos: 0 })),
        _ => test(field, Test::Exists(random.bool())),
    }
}

#[test]
fn what_is_written_is_read_back() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2_000 {
        let filter = random_filter(&mut random, 0);
        let expression = write(&filter);
        assert_eq!(parse(&expression).as_ref(), Ok(&filter), "{expression}");
    }
}

#[test]
fn no_input_panics() {
    let pieces = [
        "a",
        "id",
        "not",
        "and",
        "or",
        "in",
        "(",
        ")",
        "\"",
        "'",
        "\\",
        "\\u",
        "d83e",
        ".",
        ",",
        "=",
        "<",
        ">=",
        "!",
        "^=",
        "-",
        "1",
        "e9",
        "2024-05-01",
        "before",
        "contains",
        "any",
        "is",
        "null",
        "[",
        "]",
        "{",
        "}",
        ":",
        " ",
        "\n",
        "\0",
        "狐",
        "🦊",
        "\u{300}",
        "é",
        "starts with",
        "exists",
        "contains text",
        "ignoring case",
        "like",
        "'%a%'",
        "between",
        "metadata",
        "[]",
        "&&",
    ];
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..50_000 {
        let mut expression = String::new();
        for _ in 0..random.usize(0..12) {
            expression += random.choice(pieces).unwrap();
            expression += random.choice(["", " "]).unwrap();
        }
        if let Err(error) = parse(&expression) {
            assert!(expression.is_char_boundary(error.offset), "{expression:?}");
            lexer::point(&expression, error.offset);
        }
    }
}
