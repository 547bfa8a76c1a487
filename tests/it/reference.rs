//! Generates docs/reference.md and docs/errors.md from the protos and their comments, so that they always agree.
//! `UPDATE=1 cargo test --workspace --test it reference::` writes them again.

use std::{collections::HashMap, fmt::Write as _, path::Path};

use pgfox::v1::ErrorReason;
use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

// Field numbers in descriptor.proto: the paths of comments consist of them.
const MESSAGES: i32 = 4;
const ENUMS: i32 = 5;
const SERVICES: i32 = 6;
const SYNTAX: i32 = 12;
/// The same for the fields, values and methods within a message, an enum and a service.
const MEMBERS: i32 = 2;
/// The oneofs within a message.
const ONEOFS: i32 = 8;

/// The description of types that are not pgfox's.
const WELL_KNOWN: &str = "https://protobuf.dev/reference/protobuf/google.protobuf/#";

#[test]
fn reference_is_as_recorded() {
    let mut page = String::from(
        "# API reference\n\n\
         <!-- Made of proto/ by tests/it/reference.rs; change the comments there. -->\n\n\
         This page describes every call, message and field of [the protos](../proto/pgfox/v1). [Errors](errors.md) lists \
         the reasons of errors.\n",
    );
    let mut files = files();
    files.sort_by_key(|file| file.0.service.is_empty());
    for (file, comments) in &files {
        // "Collections: what a set of documents has in common."
        let about = comments.of(&[SYNTAX]);
        let (title, rest) = about.split_once(": ").expect("the comment of a file is `Title: text`");
        if file.service.is_empty() {
            write!(page, "\n## {title}\n\n{}\n", markdown(&capitalized(rest))).unwrap();
        } else {
            write!(page, "\n{}\n", markdown(rest.split_once("\n\n").expect("paragraphs").1)).unwrap();
        }
        services(&mut page, file, comments);
        for (i, message) in (0..).zip(&file.message_type) {
            self::message(&mut page, message, i, comments);
        }
        for (i, values) in (0..).zip(&file.enum_type) {
            enumeration(&mut page, values, i, comments);
        }
    }
    golden("docs/reference.md", &page);
}

#[test]
fn errors_are_as_recorded() {
    let mut page = String::from(
        "# Errors\n\n\
         <!-- Made of proto/pgfox/v1/errors.proto by tests/it/reference.rs; change the comments there. -->\n\n\
         This page lists every error of pgfox: what it means, and what to do about it.\n\n\
         Every error has a gRPC code, a message for people, and a reason for programs. The reason is in a \
         `google.rpc.ErrorInfo` with\n\
         the domain `pgfox`. Its `reason` is a name of the table, and its `metadata` has the keys in the table. \
         `INVALID_ARGUMENT` also has\n\
         a `google.rpc.BadRequest` with every field that breaks a rule. The clients read all of this: see \
         [Clients](clients.md#errors).\n\n\
         \"Retried\" says whether the clients repeat a unary call by themselves. They do so if the code is \
         `UNAVAILABLE`, or\n\
         `RESOURCE_EXHAUSTED` with a `google.rpc.RetryInfo`, which has the minimum time to wait.\n\n\
         | reason | code | meaning | what to do | metadata | retried |\n|---|---|---|---|---|---|\n",
    );
    let files = files();
    let (file, comments) = files.iter().find(|(file, _)| file.name().ends_with("/errors.proto")).unwrap();
    for (i, value) in (0..).zip(&file.enum_type[0].value).skip(1) {
        let reason = ErrorReason::from_str_name(value.name()).expect("a reason of the proto");
        let comment = comments.of(&[ENUMS, 0, MEMBERS, i]);
        // "CODE[, with RetryInfo]. Meaning. [Metadata: keys.]"
        let (kind, meaning) = comment.split_once(". ").expect("the comment of a reason begins with its code");
        let (code, retry) = kind.split_once(", ").unwrap_or((kind, ""));
        let (meaning, metadata) = meaning.split_once(" Metadata: ").unwrap_or((meaning, ""));
        let (metadata, more) = metadata.split_once(". ").unwrap_or((metadata.trim_end_matches('.'), ""));
        let retried = if is_retried(code, retry == "with RetryInfo") { "yes" } else { "no" };
        let name = value.name().trim_start_matches("ERROR_REASON_");
        let meaning = [meaning, more].join(" ");
        writeln!(
            page,
            "| `{name}` | `{code}` | {} | {} | {} | {retried} |",
            cell(meaning.trim()),
            remedy(reason),
            cell(&metadata.replace('"', "`"))
        )
        .unwrap();
    }
    page.push_str(
        "\nAn error without a reason does not come from pgfox. It comes from a broken connection, a proxy, or gRPC \
         itself, for example\n\
         for a method that does not exist.\n",
    );
    golden("docs/errors.md", &page);
}

/// The advice for the caller. A match, so that nobody adds a reason without advice.
fn remedy(reason: ErrorReason) -> &'static str {
    match reason {
        ErrorReason::Unspecified => unreachable!("it is never sent"),
        ErrorReason::InvalidField => "Change the fields that are named.",
        ErrorReason::DimensionMismatch => {
            "Send vectors of the model that the collection was made for, or create another collection."
        }
        ErrorReason::CollectionNotFound => "Create it, or call ListCollections to see its name.",
        ErrorReason::DocumentNotFound => "Send ids that exist; GetDocuments takes `allow_missing`.",
        ErrorReason::IndexNotFound => {
            "Call ListIndexes to see the names. If you wanted to drop it, nothing is left to do."
        }
        ErrorReason::CollectionExists => "Use it, or choose another name.",
        ErrorReason::ModelUnavailable => "Name a model that the server has, or configure its provider.",
        ErrorReason::DocumentWithoutVector => "Store the document with a text or a vector.",
        ErrorReason::TooFewRows => {
            "Build HNSW, ingest more documents first, request fewer lists, or set `allow_few_rows`."
        }
        ErrorReason::IndexUnsupported => {
            "Build the other kind, or search without an index. The message says what is possible."
        }
        ErrorReason::BuildRunning => "Wait for it, or stop it with DropIndex.",
        ErrorReason::BuildFailed => "Remove the cause and call BuildIndex again.",
        ErrorReason::ExtensionMissing => "Run the command in the message as an owner of the database.",
        ErrorReason::DatabaseUnavailable => "Try again. If it lasts, check the database and the log of the server.",
        ErrorReason::DatabaseBusy => "Try again. If it lasts, raise `--pool-size`, or send fewer calls at a time.",
        ErrorReason::DatabaseRefused => "Grant the role the privilege that the log, or the message, names.",
        ErrorReason::ProviderUnavailable => "Try again. If it lasts, check the provider and `--openai-base-url`.",
        ErrorReason::ProviderRateLimited => "Try again later, or raise the limit at the provider.",
        ErrorReason::ProviderQuotaExhausted => "Raise the quota at the provider.",
        ErrorReason::ProviderRefused => {
            "Correct the provider's key in the settings of the server, or choose a model that the provider offers."
        }
        ErrorReason::TextRefused => {
            "Shorten the text, or use a collection with chunking. `skip_invalid` stores the other documents."
        }
        ErrorReason::DeadlineExceeded => "Allow more time, or request less at once.",
        ErrorReason::MessageTooLarge => "Send or request less at once. The limits are settings of the server.",
        ErrorReason::HeadersTooLarge => {
            "Send less metadata, such as a shorter token or less baggage. A proxy may add some, too."
        }
        ErrorReason::TooManyDocuments => {
            "Narrow the filter, send ids from ListDocuments, or raise `--max-bulk-documents`."
        }
        ErrorReason::Unauthenticated => "Send a key of the server as `authorization: Bearer <key>`.",
        ErrorReason::ShuttingDown => "Try again.",
        ErrorReason::Internal => "Report it, with the lines of the log that have this id.",
        ErrorReason::CollectionInUse => "Drop the objects that depend on it, such as views.",
        ErrorReason::DatabaseReadOnly => "Try again. If it lasts, check whether `--database-url` names the primary.",
        ErrorReason::QueryCancelled => "Find out who cancelled it, then send it again.",
        ErrorReason::SchemaMissing => {
            "Restore the schema from a backup, or run `pgfox-server migrate` for an empty one."
        }
        ErrorReason::CollectionDamaged => {
            "Restore the missing part from a backup, or delete the collection and create it again. The log of the server names the part."
        }
        ErrorReason::ServerBusy => "Try again. If it lasts, send fewer calls at a time, or run more servers.",
        ErrorReason::TooManyBytes => {
            "Try again, with smaller requests and fewer at a time. If it lasts, raise `--max-bytes-in-flight`."
        }
        ErrorReason::CollectionAttached => "Do what the message says, for example by SQL, or change the row.",
        ErrorReason::SourceChanged => "Undo the change of the table, or delete the collection and attach it again.",
        ErrorReason::SourceNotFollowed => "Attach the collection with `source.follow`.",
        ErrorReason::VersionMismatch => "Read the document again, repeat your change on it, and send its new version.",
    }
}

/// Whether clients retry a call that ends like this. The Rust client is asked; the others do the same.
fn is_retried(code: &str, with_retry_info: bool) -> bool {
    let code = (0..17)
        .map(Code::from_i32)
        .find(|known| format!("{known:?}").to_uppercase() == code.replace('_', ""))
        .unwrap_or_else(|| panic!("{code} is not a gRPC code"));
    let delay = with_retry_info.then(|| std::time::Duration::from_secs(1));
    let details = delay.map_or_else(ErrorDetails::new, |delay| ErrorDetails::with_retry_info(Some(delay)));
    pgfox_client::error::is_retryable(&Status::with_error_details(code, "", details))
}

/// The comments of a file by their paths.
struct Comments(HashMap<Vec<i32>, String>);

impl Comments {
    fn of(&self, path: &[i32]) -> &str {
        self.0.get(path).unwrap_or_else(|| panic!("{path:?} has no comment"))
    }
}

/// The files of pgfox with their comments, in which lines are joined to paragraphs.
fn files() -> Vec<(FileDescriptorProto, Comments)> {
    let set = FileDescriptorSet::decode(pgfox::v1::FILE_DESCRIPTOR_SET).unwrap();
    let own = set.file.into_iter().filter(|file| file.package() == "pgfox.v1");
    own.map(|file| {
        let locations = file.source_code_info.iter().flat_map(|info| &info.location);
        let comments = locations.filter(|location| location.leading_comments.is_some()).map(|location| {
            let lines: Vec<&str> = location.leading_comments().lines().map(str::trim).collect();
            let paragraphs: Vec<String> = lines.split(|line| line.is_empty()).map(|lines| lines.join(" ")).collect();
            (location.path.clone(), paragraphs.join("\n\n").trim().to_owned())
        });
        let comments = Comments(comments.collect());
        (file, comments)
    })
    .collect()
}

fn services(page: &mut String, file: &FileDescriptorProto, comments: &Comments) {
    for (s, service) in (0..).zip(&file.service) {
        write!(page, "\n## {}\n\n{}\n\n", service.name(), markdown(comments.of(&[SERVICES, s]))).unwrap();
        page.push_str("| method | request | response | |\n|---|---|---|---|\n");
        for (m, method) in (0..).zip(&service.method) {
            let side = |name: &str, streams: bool| format!("{}{}", if streams { "stream of " } else { "" }, link(name));
            let request = side(method.input_type(), method.client_streaming());
            let response = side(method.output_type(), method.server_streaming());
            let comment = cell(comments.of(&[SERVICES, s, MEMBERS, m]));
            writeln!(page, "| `{}` | {request} | {response} | {comment} |", method.name()).unwrap();
        }
    }
}

fn message(page: &mut String, message: &DescriptorProto, index: i32, comments: &Comments) {
    write!(page, "\n### {}\n\n{}\n", message.name(), markdown(comments.of(&[MESSAGES, index]))).unwrap();
    if message.field.is_empty() {
        page.push_str("\nIt has no fields.\n");
        return;
    }
    page.push_str("\n| | field | type | |\n|---|---|---|---|\n");
    let mut oneof = None;
    for (i, field) in (0..).zip(&message.field) {
        // `optional` makes a oneof too, which nobody wrote.
        let within = field.oneof_index.filter(|_| !field.proto3_optional());
        if let Some(new) = within.filter(|_| within != oneof) {
            let name = message.oneof_decl[usize::try_from(new).unwrap()].name();
            let comment = cell(comments.of(&[MESSAGES, index, ONEOFS, new]));
            writeln!(page, "| | `{name}` | one of these | {comment} |").unwrap();
        }
        oneof = within;
        let indent = if within.is_some() { "&nbsp;&nbsp;" } else { "" };
        let comment = cell(comments.of(&[MESSAGES, index, MEMBERS, i]));
        let type_name = type_of(field, message);
        writeln!(page, "| {} | {indent}`{}` | {type_name} | {comment} |", field.number(), field.name()).unwrap();
    }
}

fn enumeration(page: &mut String, values: &EnumDescriptorProto, index: i32, comments: &Comments) {
    write!(page, "\n### {}\n\n{}\n", values.name(), markdown(comments.of(&[ENUMS, index]))).unwrap();
    page.push_str("\n| | value | |\n|---|---|---|\n");
    for (i, value) in (0..).zip(&values.value) {
        let comment = cell(comments.of(&[ENUMS, index, MEMBERS, i]));
        writeln!(page, "| {} | `{}` | {comment} |", value.number(), value.name()).unwrap();
    }
}

fn type_of(field: &FieldDescriptorProto, message: &DescriptorProto) -> String {
    let scalar = match field.r#type() {
        Type::Message | Type::Enum => None,
        scalar => Some(scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase()),
    };
    if let Some(scalar) = scalar {
        return match field.label() {
            Label::Repeated => format!("repeated {scalar}"),
            _ if field.proto3_optional() => format!("optional {scalar}"),
            _ => scalar,
        };
    }
    // A map is a message of its own within this one.
    let short = field.type_name().rsplit('.').next().unwrap_or_default();
    if let Some(entry) = message.nested_type.iter().find(|nested| nested.name() == short) {
        let sides: Vec<String> = entry.field.iter().map(|side| type_of(side, entry)).collect();
        return format!("map of {}", sides.join(" to "));
    }
    let repeated = if field.label() == Label::Repeated { "repeated " } else { "" };
    format!("{repeated}{}", link(field.type_name()))
}

/// A type with the place where it is described.
fn link(full_name: &str) -> String {
    let name = full_name.rsplit('.').next().unwrap_or_default();
    if full_name.starts_with(".google.protobuf.") {
        // The page gives these names anchors with dashes: #field-mask.
        let anchor: String =
            name.chars().flat_map(|c| c.is_uppercase().then_some('-').into_iter().chain(c.to_lowercase())).collect();
        return format!("[google.protobuf.{name}]({WELL_KNOWN}{})", anchor.trim_start_matches('-'));
    }
    format!("[{name}](#{})", name.to_lowercase())
}

/// Comments as Markdown: outside backticks `<key>` would be taken for HTML.
fn markdown(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let parts: Vec<String> =
        parts.map(|(i, part)| if i % 2 == 0 { part.replace('<', "&lt;") } else { part.into() }).collect();
    parts.join("`")
}

/// The same for a cell of a table.
fn cell(text: &str) -> String {
    markdown(text).replace("\n\n", "<br>").replace('|', "\\|")
}

fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}

/// Compares with the file, or writes it with UPDATE=1.
fn golden(path: &str, page: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(file, page).unwrap();
    } else {
        let recorded = std::fs::read_to_string(file).unwrap_or_default();
        assert!(
            recorded == page,
            "{path} is not what the protos say; run `UPDATE=1 cargo test --workspace --test it reference::`"
        );
    }
}
