//! Removes U+0000, which Postgres cannot store.

use pgfox_client::v1::Document;
use prost_types::{Struct, Value, value::Kind};

/// A document without U+0000 in its text and metadata. The id stays as it is, since two ids could become the same.
pub(super) fn strip(mut document: Document) -> Document {
    strip_text(&mut document.text);
    document.metadata.iter_mut().for_each(strip_fields);
    document
}

fn strip_text(text: &mut String) {
    if text.contains('\0') {
        text.retain(|c| c != '\0');
    }
}

fn strip_fields(fields: &mut Struct) {
    if fields.fields.keys().any(|name| name.contains('\0')) {
        let named = std::mem::take(&mut fields.fields);
        fields.fields = named.into_iter().map(|(name, value)| (name.replace('\0', ""), value)).collect();
    }
    fields.fields.values_mut().for_each(strip_value);
}

fn strip_value(value: &mut Value) {
    match &mut value.kind {
        Some(Kind::StringValue(text)) => strip_text(text),
        Some(Kind::StructValue(fields)) => strip_fields(fields),
        Some(Kind::ListValue(list)) => list.values.iter_mut().for_each(strip_value),
        None | Some(Kind::NullValue(_) | Kind::NumberValue(_) | Kind::BoolValue(_)) => {}
    }
}
