//! Times in metadata: how they may be written, and that no string breaks a filter or an index.

use pgfox::v1::condition::Test;
use rstest::rstest;
use serde_json::json;

use super::{NOON, at, random::random};
use crate::{
    calls::{build_time_index, ingest},
    metadata::{document, field, fill, selected},
    support::Server,
};

/// Noon of the first of May 2024, as people and programs write it.
const SPELLINGS: [&str; 20] = [
    "2024-05-01T12:00:00Z",
    "2024-05-01T12:00:00z",
    "2024-05-01t12:00:00z",
    "2024-05-01T12:00:00",
    "2024-05-01T12:00",
    "2024-05-01T12:00Z",
    "2024-05-01 12:00",
    "2024-05-01 12:00:00",
    "2024-05-01 12:00:00Z",
    "2024-05-01 12:00:00+00",
    "2024-05-01T12:00:00+0000",
    "2024-05-01T12:00:00+00:00",
    "2024-05-01T12:00:00-00:00",
    "2024-05-01 12:00:00 UTC",
    "2024-05-01 12:00:00 +0000",
    "2024-05-01 12:00:00,000",
    "2024-05-01T12:00:00.000000000Z",
    "2024-05-01T17:30:00+05:30",
    "2024-05-01T06:30-0530",
    "2024-05-02T03:59+15:59",
];

/// Strings that look like times but are not.
const NOT_TIMES: [&str; 26] = [
    "2024-13-01T12:00:00Z",
    "2024-02-30",
    "2023-02-29T12:00:00Z",
    "1900-02-29",
    "2024-04-31 12:00",
    "2024-00-10",
    "2024-05-00",
    "0000-05-01T12:00:00Z",
    "2024-05-01T24:00:00Z",
    "2024-05-01T12:60:00Z",
    "2024-05-01T12:00:61Z",
    "2024-05-01T12:00:60.5Z",
    "2024-05-01T12:00:00.Z",
    "2024-05-01T12:00:00.0000000001Z",
    "2024-05-01T12:00:00+99:99",
    "2024-05-01T12:00:00+16:00",
    "2024-05-01T12:00:00+5:30",
    "2024-05-01T12:00:00 CET",
    "2024-05-01Z",
    "2024-05-01T",
    "2024-05-01T12:00:00Z\n",
    " 2024-05-01",
    "\u{662}\u{660}\u{662}\u{664}-05-01T12:00:00Z",
    "20240501",
    "99999-05-01",
    "infinity",
];

#[rstest]
#[tokio::test]
async fn every_common_spelling_is_read(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let written = SPELLINGS.iter().chain(&NOT_TIMES).chain(&["2024-05-01", "2024-05-02"]);
    fill(&mut client, written.map(|text| document(text, &json!({"t": text}))).collect()).await;
    let sorted = |mut ids: Vec<&str>| {
        ids.sort_unstable();
        ids.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    for index in [false, true] {
        if index {
            build_time_index(&mut client, "c", "t").await;
        }
        let since = selected(&mut client, &field("t", Test::Since(at(NOON, 0)))).await;
        assert_eq!(since, sorted([&SPELLINGS[..], &["2024-05-02"]].concat()));
        assert_eq!(selected(&mut client, &field("t", Test::Since(at(NOON, 1_000)))).await, ["2024-05-02"]);
        assert_eq!(selected(&mut client, &field("t", Test::Before(at(NOON, 0)))).await, ["2024-05-01"]);
        let before = selected(&mut client, &field("t", Test::Before(at(NOON, 1_000)))).await;
        assert_eq!(before, sorted([&SPELLINGS[..], &["2024-05-01"]].concat()));
    }
}

#[rstest]
#[tokio::test]
async fn a_poisonous_string_is_not_a_time(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let poison = format!("2024-05-01T12:00:00.{}1Z", "0".repeat(400));
    fill(&mut client, vec![document("noon", &json!({"t": SPELLINGS[0]})), document("x", &json!({"t": poison}))]).await;
    let since = field("t", Test::Since(at(0, 0)));
    assert_eq!(selected(&mut client, &since).await, ["noon"]);
    build_time_index(&mut client, "c", "t").await;
    assert_eq!(ingest(&mut client, "c", vec![document("y", &json!({"t": poison}))]).await.upserted_count, 1);
    assert_eq!(selected(&mut client, &since).await, ["noon"]);
}

/// The microseconds since 1970 that a string means.
fn read(text: &str) -> Option<i64> {
    let number = |text: &str, digits: usize| {
        (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse::<i64>().unwrap())
    };
    if !text.is_ascii() || text.len() < 10 {
        return None;
    }
    let (date, rest) = text.split_at(10);
    let [year, month, day] = <[&str; 3]>::try_from(date.split('-').collect::<Vec<_>>()).ok()?;
    let (year, month, day) = (number(year, 4)?, number(month, 2)?, number(day, 2)?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = [31, 28 + i64::from(is_leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let in_month = *days.get(usize::try_from(month - 1).ok()?)?;
    if year == 0 || !(1..=in_month).contains(&day) {
        return None;
    }
    let before = year - 1;
    let day = before * 365 + before / 4 - before / 100
        + before / 400
        + days[..month as usize - 1].iter().sum::<i64>()
        + (day - 1)
        - 719_162;
    let Some(rest) = rest.strip_prefix(['T', 't', ' ']) else {
        return rest.is_empty().then_some(day * 86_400_000_000);
    };
    let (hour, rest) = (number(rest.get(..2)?, 2)?, rest[2..].strip_prefix(':')?);
    let (minute, mut rest) = (number(rest.get(..2)?, 2)?, &rest[2..]);
    let mut microseconds = 0;
    if let Some(seconds) = rest.strip_prefix(':') {
        let second = number(seconds.get(..2)?, 2)?;
        rest = &seconds[2..];
        microseconds = second * 1_000_000;
        if second > 60 {
            return None;
        }
        if let Some(fraction) = rest.strip_prefix(['.', ',']).filter(|_| second < 60) {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            if !(1..=9).contains(&digits) {
                return None;
            }
            microseconds += format!("{:0<6}", &fraction[..digits])[..6].parse::<i64>().unwrap();
            rest = &fraction[digits..];
        }
    }
    let minutes = if ["", "Z", "z", "UTC", " UTC"].contains(&rest) {
        0
    } else {
        let zone = rest.strip_prefix(' ').unwrap_or(rest);
        let sign = if zone.strip_prefix('-').is_some() { -1 } else { 1 };
        let zone = zone.strip_prefix(['+', '-'])?;
        let (hours, minutes) = (number(zone.get(..2)?, 2)?, &zone[2..]);
        let minutes = if minutes.is_empty() { 0 } else { number(minutes.strip_prefix(':').unwrap_or(minutes), 2)? };
        if hours > 15 || minutes > 59 {
            return None;
        }
        sign * (hours * 60 + minutes)
    };
    (hour < 24 && minute < 60).then(|| ((day * 24 + hour) * 60 + minute - minutes) * 60_000_000 + microseconds)
}

/// A string that is nearly a time, and often is one.
fn nearly() -> String {
    let one = |of: &[&str]| of[random(of.len())].to_owned();
    let mut text = one(&["0000", "0001", "0004", "1900", "2000", "2023", "2024", "9999", "10000", "-001"])
        + "-"
        + &one(&["01", "02", "02", "04", "11", "12", "00", "13", "1"])
        + "-"
        + &one(&["01", "28", "29", "30", "31", "00", "32", "9"]);
    if random(10) > 0 {
        text += &one(&["T", "t", " ", "T", "  ", "_", ""]);
        text += &one(&["00", "12", "23", "24", "1"]);
        text += &one(&[":00", ":59", ":30", ":60", ":5", ""]);
        text += &one(&[
            "",
            ":00",
            ":59",
            ":60",
            ":61",
            ":60.5",
            ":00.000001",
            ":59.9999999",
            ":01,5",
            ":59.999999999",
            ":00.",
        ]);
        if random(2) == 0 {
            text += &"0123456789"[..random(11)];
        }
        text += &one(&["", "Z", "z", "UTC", " UTC", "+00", "+0000", "-00:00", "+15:59", "-1559", "+16", "+99:99"]);
        text += &one(&["", "", "", "", " +0530", " -01", "Z", " ", "\n", "EST", "+05:30:15"]);
    }
    while random(4) == 0 {
        let at = random(text.len());
        if text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
            text.replace_range(at..=at, &one(&["", "0", "9", "-", ":", "+", ".", " ", "٣", "é", "e", "T", "\u{a0}"]));
        }
        if text.is_empty() {
            break;
        }
    }
    text
}

#[rstest]
#[tokio::test]
async fn no_string_fails_and_each_is_read_as_written(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let sql = server.sql().await;
    // These settings could change the result.
    sql.batch_execute(
        "SET datestyle = 'German, DMY'; SET timezone = 'Asia/Kolkata'; SET intervalstyle = 'sql_standard'",
    )
    .await
    .unwrap();
    let texts: Vec<String> = (0..50_000).map(|_| nearly()).collect();
    let rows = sql
        .query(
            "SELECT (extract(epoch FROM pgfox_internal.utc_2(text)) * 1000000)::bigint
             FROM unnest($1::text[]) WITH ORDINALITY texts (text, position) ORDER BY position",
            &[&texts],
        )
        .await
        .expect("no string is an error");
    let mut times = 0;
    for (text, row) in texts.iter().zip(&rows) {
        let meant = read(text);
        assert_eq!(row.get::<_, Option<i64>>(0), meant, "{text:?}");
        times += usize::from(meant.is_some());
    }
    assert!(times > 500, "{times}: the strings tell nothing");
    for text in SPELLINGS {
        assert_eq!(read(text), Some(NOON * 1_000_000), "{text}");
    }
    assert_eq!(NOT_TIMES.map(read), [None; NOT_TIMES.len()]);
}
