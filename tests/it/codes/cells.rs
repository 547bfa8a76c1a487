//! Searches read the codes of the cells near to the query.

use std::collections::HashSet;

use super::*;

const GROWN: usize = 3 * DOCUMENTS;

/// How many rows each node of a plan takes and leaves out of a table of codes, all of them from an index.
fn scans(node: &Json) -> Vec<(f64, f64)> {
    let number = |key: &str| node[key].as_f64().unwrap_or(0.0) * node["Actual Loops"].as_f64().unwrap_or(0.0);
    let is_of_codes = node["Relation Name"].as_str().is_some_and(|name| name.starts_with("codes_"));
    assert!(!is_of_codes || node["Node Type"] == "Index Only Scan", "{node}");
    let below = node["Plans"].as_array().into_iter().flatten().flat_map(scans);
    is_of_codes.then(|| (number("Actual Rows"), number("Rows Removed by Filter"))).into_iter().chain(below).collect()
}

async fn explained(client: &mut Client, request: &v1::SearchRequest) -> (v1::SearchResponse, Vec<(f64, f64)>) {
    let response = search(client, v1::SearchRequest { explain: true, ..request.clone() }).await;
    let plan: Json = serde_json::from_str(&response.explanation.as_ref().unwrap().plan_json).unwrap();
    (response, scans(&plan[0]["Plan"]))
}

/// Searches with a filter by declared fields, exactly and not. Returns the part of the results that are found, and of the
/// codes that are read.
async fn measure(
    client: &mut Client,
    numbers: &mut Numbers,
    filter: &v1::Filter,
    matching: usize,
    candidates: Option<i32>,
    completeness: Completeness,
) -> (f64, f64) {
    const QUERIES: usize = 20;
    let (mut found, mut read) = (0, 0.0);
    for _ in 0..QUERIES {
        let filter = Some(filter.clone());
        let params = Some(v1::SearchParams { rerank_candidates: candidates, ..Default::default() });
        let request = v1::SearchRequest { filter, params, ..near("c", &numbers.vector(), 10) };
        let (response, scans) = explained(client, &request).await;
        assert_eq!(response.completeness(), completeness);
        read += scans.iter().map(|(taken, left_out)| taken + left_out).sum::<f64>();
        let params = Some(v1::SearchParams { exact: true, ..Default::default() });
        let exact = search(client, v1::SearchRequest { params, ..request }).await;
        let nearest: HashSet<_> = ids(&response).into_iter().collect();
        assert_eq!(nearest.len(), response.results.len(), "a document is found twice");
        found += ids(&exact).iter().filter(|id| nearest.contains(*id)).count();
    }
    (found as f64 / (10 * QUERIES) as f64, read / (QUERIES * matching) as f64)
}

// L2 has the rule of cosine.
#[rstest]
#[case(Distance::Cosine)]
#[case(Distance::InnerProduct)]
#[tokio::test]
async fn a_collection_that_grows_gets_cells(#[case] distance: Distance) {
    let server = Server::start(18).await;
    let mut client = server.client();
    let mut numbers = Numbers(5);
    load(&mut client, &server, distance, &mut numbers).await;
    let admin = server.sql().await;
    let cells = async || {
        let sql = "SELECT cardinality(centroids) / cardinality(centre) FROM pgfox_internal.codes WHERE state = 'ready'";
        admin.query_one(sql, &[]).await.unwrap().get::<_, i32>(0)
    };
    assert_eq!(cells().await, 1);
    for first in (DOCUMENTS..GROWN).step_by(1_000) {
        ingest(&mut client, "c", (first..first + 1_000).map(|id| numbers.document(id)).collect()).await;
    }
    // Unoptimised and on a busy machine it takes long to make the codes.
    for _ in 0..3_000 {
        if cells().await >= 10 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(cells().await >= 10);
    are_in_step(&server).await;

    let sql = "SELECT format('pgfox_internal.codes_%s_%s', s.collection_id, k.id)
               FROM pgfox_internal.codes k JOIN pgfox_internal.embedding_spaces s ON s.id = k.space_id";
    let table: String = admin.query_one(sql, &[]).await.unwrap().get(0);
    let count = async |condition: &str| {
        let sql = format!("SELECT count(*) FROM {table} WHERE {condition}");
        admin.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0) as usize
    };

    let since = |year: i32| field("year", Test::AtLeast(value(&json!(year))));
    let between = |first: i32, end: i32| all_of(vec![since(first), field("year", Test::LessThan(value(&json!(end))))]);
    let (most, some) = (GROWN * 9 / 10, GROWN * 7 / 40);
    let drama = || equals("genre", &json!("drama"));
    let sixties = count("f1 >= 1960 AND f1 < 1970").await;
    for (filter, matching, candidates, expected) in [
        (since(1950), most, None, 0.0..0.9),
        // With so many candidates, only cells can be missing.
        (since(1950), most, Some(500), 0.0..0.9),
        // So few match that the first matches are many of them.
        (drama(), some, None, 0.0..2.0),
        (drama(), some, Some(500), 0.0..2.0),
        (between(1960, 1970), sixties, None, 0.6..1.2),
    ] {
        let (recall, read) =
            measure(&mut client, &mut numbers, &filter, matching, candidates, Completeness::Approximate).await;
        let is_expected = recall >= 0.9 && expected.contains(&read);
        assert!(is_expected, "{distance:?} {filter:?}: {recall} of the nearest, {read} of the codes");
    }

    // All are among the first matches, so their estimates tell which 60 are the best, except for rounding. Nearly all others
    // are left out.
    for _ in 0..20 {
        let params = Some(v1::SearchParams { rerank_candidates: Some(60), ..Default::default() });
        let filter = Some(between(1960, 1963));
        let request = v1::SearchRequest { filter, params, ..near("c", &numbers.vector(), 10) };
        let (_, scans) = explained(&mut client, &request).await;
        let taken: Vec<_> = scans.iter().filter(|(_, left_out)| *left_out > 0.0).map(|(taken, _)| *taken).collect();
        assert!(taken.len() == 1 && (58.0..75.0).contains(&taken[0]), "{distance:?}: {scans:?}");
    }

    // If fewer match than are compared, all are compared.
    let filter = equals("year", &json!(1960));
    let matching = count("f1 = 1960").await;
    let (recall, read) = measure(&mut client, &mut numbers, &filter, matching, Some(500), Completeness::Exact).await;
    assert_eq!((recall, read), (1.0, 2.0), "{distance:?}: of {matching}");

    // If few match and the results may be in many cells, all are read at once, after the first matches. Here Postgres expects
    // fewer than match.
    let sql = "UPDATE pgfox_internal.codes SET slack = 1e6;
               UPDATE pgfox_internal.collections SET revision = revision + 1;
               CREATE OR REPLACE FUNCTION pgfox_internal.expected_rows(query text, wanted text[]) RETURNS float8
                   LANGUAGE sql AS 'SELECT 400'";
    admin.batch_execute(sql).await.unwrap();
    let matching = count("f1 >= 1950").await;
    let (recall, read) =
        measure(&mut client, &mut numbers, &since(1950), matching, None, Completeness::Approximate).await;
    let all = (500 + matching) as f64 / matching as f64;
    assert!(recall >= 0.9 && (read - all).abs() < 0.001, "{distance:?}: {recall} found, {read} instead of {all}");

    // A server that does not know of cells writes codes without them.
    admin.batch_execute(&format!("UPDATE {table} SET cell = -1 WHERE f1 IS NOT NULL")).await.unwrap();
    let (recall, _) = measure(&mut client, &mut numbers, &since(1950), GROWN, None, Completeness::Approximate).await;
    assert!(recall >= 0.9, "{distance:?}: {recall} of the nearest without cells");
}
