use pgfox::v1;
use prost::Message as _;

use super::{
    limits::LIMITS,
    shapes::{Kind, methods},
    *,
};

fn search() -> Method {
    method("/pgfox.v1.PgfoxService/Search").expect("a method")
}

fn ingest() -> Method {
    method("/pgfox.v1.PgfoxService/Ingest").expect("a method")
}

/// The field of a message that breaks a rule, and the rule.
fn wrong(method: Method, message: &[u8]) -> (String, String) {
    match check(method, message) {
        Err(Refused::TooMany(violations)) => {
            let violation = violations.into_iter().next().expect("a violation");
            (violation.field, violation.description)
        }
        other => panic!("{other:?}"),
    }
}

/// A field with a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut field);
    field.extend(content);
    field
}

#[test]
fn every_list_of_a_request_has_a_limit() {
    let mut open: Vec<&Shape> = methods().map(Method::request).collect();
    let (mut seen, mut without, mut used) = (Vec::new(), Vec::new(), Vec::new());
    assert!(open.len() > 10);
    while let Some(shape) = open.pop() {
        if seen.iter().any(|other| std::ptr::eq(*other, shape)) {
            continue;
        }
        seen.push(shape);
        for field in shape.fields() {
            if field.enters || field.is_repeated && !field.is_within {
                used.extend(field.limit);
                without.extend(field.limit.is_none().then_some(&field.full_name));
            }
            if let Kind::Message(inner) = field.kind {
                open.push(&shapes()[inner]);
            }
        }
    }
    assert!(without.is_empty(), "fields without a limit in LIMITS: {without:?}");
    let unused: Vec<_> = (0..LIMITS.len()).filter(|limit| !used.contains(limit)).map(|limit| LIMITS[limit].0).collect();
    assert!(unused.is_empty(), "limits that no request has: {unused:?}");
}

#[test]
fn the_first_count_that_is_too_large_is_named() {
    let documents = [0x12, 0].repeat(8_000_000);
    let (field_name, rule) = wrong(ingest(), &documents);
    assert_eq!(
        (field_name.as_str(), rule.as_str()),
        ("documents", "must have at most 1000 entries, not 100000 or more")
    );
    assert!(check(ingest(), &[0x12, 0].repeat(1_000)).is_ok());

    let versions = (0..1_001).flat_map(|i| field(6, &field(1, format!("{i}").as_bytes()))).collect::<Vec<u8>>();
    assert_eq!(wrong(ingest(), &versions).0, "if_version");

    // Filter.all_of = 2, FilterList.filters = 1, SearchRequest.filter = 7.
    let nodes = field(7, &field(2, &[0x0a, 0].repeat(8_000_000)));
    assert_eq!(wrong(search(), &nodes), ("filter".into(), "must have at most 2048 filters, not 100000 or more".into()));
    // Spread over many lists, and over filters that are merged.
    let list = field(2, &[0x0a, 0].repeat(100));
    let lists = field(7, &field(2, &field(1, &list).repeat(100)));
    assert_eq!(wrong(search(), &lists), ("filter".into(), "must have at most 2048 filters".into()));
    assert_eq!(wrong(search(), &field(7, &list).repeat(100)).0, "filter");

    // Condition.one_of = 8.
    let values = field(8, &[0x0a, 0].repeat(1_001));
    let condition = field(7, &field(2, &[field(1, &[]), field(1, &field(1, &values))].concat()));
    let (name, rule) = wrong(search(), &condition);
    assert_eq!(name, "filter.all_of.filters[1].condition.one_of");
    assert_eq!(rule, "must have at most 1000 values, not 1001");

    // Document.metadata = 4; Struct.fields, its entries' value = 2, and Value.list_value = 6.
    let metadata = field(4, &field(1, &field(2, &field(6, &[0x0a, 0].repeat(600_000)))));
    let second = [field(2, &[]), field(2, &metadata)].concat();
    assert_eq!(wrong(ingest(), &second).0, "documents[1].metadata");

    let vector = field(3, &field(1, &[0; 4 * 64_001]));
    let batch = method("/pgfox.v1.PgfoxService/SearchBatch").expect("a method");
    assert_eq!(wrong(batch, &field(2, &vector)).0, "searches[0].vector.values");
}

#[test]
fn decoding_takes_no_more_memory_than_was_said() {
    let texts = |count: usize, text: &str| v1::IngestRequest {
        documents: vec![v1::Document { id: "a".into(), text: text.into(), ..Default::default() }; count],
        ..Default::default()
    };
    let taken = |request: &v1::IngestRequest| check(ingest(), &request.encode_to_vec()).expect("few enough");
    // A million bytes of text take little more than a million bytes.
    assert!((1_000_000..1_010_000).contains(&taken(&texts(1, &"x".repeat(1_000_000)))));
    let small = taken(&texts(1_000, "x"));
    assert!((size_of::<v1::Document>() * 1_000..1_000_000).contains(&small), "{small}");
    assert!(size_of::<prost_types::Value>() <= shapes_size("google.protobuf.ListValue.values"));
    assert!(size_of::<v1::Document>() <= shapes_size("pgfox.v1.IngestRequest.documents"));
    assert!(size_of::<v1::Filter>() <= shapes_size("pgfox.v1.FilterList.filters"));
    assert!(size_of::<v1::SearchRequest>() <= shapes_size("pgfox.v1.SearchBatchRequest.searches"));
    // A map reserves room for eleven values with the first.
    let objects = field(4, &field(1, &field(2, &field(6, &field(1, &field(5, &field(1, &[]))).repeat(10_000)))));
    let taken = check(ingest(), &field(2, &objects)).expect("few enough");
    assert!(taken > 10_000 * 11 * (size_of::<prost_types::Value>() + size_of::<String>()), "{taken}");
}

fn shapes_size(full_name: &str) -> usize {
    let field = shapes().iter().flat_map(Shape::fields).find(|field| field.full_name == full_name).expect("a field");
    field.cost(Some(&[]), false) / 2
}

#[test]
fn cut_and_foreign_messages_are_undecodable() {
    for message in [&[0x12][..], &[0x12, 5, 1], &[0x07], &[0xff; 11], &[0x0b]] {
        assert!(matches!(check(ingest(), message), Err(Refused::Undecodable(_))), "{message:?}");
        assert!(v1::IngestRequest::decode(message).is_err());
    }
    // Unknown fields are skipped.
    assert!(check(ingest(), &[0x7a, 1, 0, 0x7b, 0x08, 1, 0x7c]).is_ok());
}
