//! Reads Parquet files: rows as records, with the columns of id, text and vector, and every other column as metadata.

use std::{fs::File, path::Path, sync::Arc};

use parquet::{
    basic::{ConvertedType, LogicalType, TimeUnit},
    errors::ParquetError,
    file::reader::{FileReader as _, SerializedFileReader},
    record::{Field, Row},
    schema::types::{SchemaDescriptor, Type},
};
use pgfox_client::v1::{Document, Vector};
use prost_types::{ListValue, Struct, Timestamp, Value, value::Kind};

use super::{
    Flaw, Options, Records, Stopped, document,
    fields::{Draft, Names, Role},
    number,
    source::Source,
};

/// Seconds of a day.
const DAY: i64 = 86_400;

pub(super) fn read(source: &Source, path: &Path, options: &Options, records: &mut Records) -> Result<(), Stopped> {
    let unreadable = |error: ParquetError| Flaw::new(format!("it cannot be read as Parquet: {error}"));
    let opened = File::open(path)
        .map_err(|error| Flaw::new(format!("cannot open it: {error}")))
        .map(|file| (file.metadata().map_or(0, |metadata| metadata.len()), file))
        .and_then(|(bytes, file)| Ok((bytes, SerializedFileReader::new(file).map_err(unreadable)?)));
    let (bytes, reader) = match opened {
        Ok(opened) => opened,
        Err(flaw) => return records.push(Err(flaw), source.place(None)),
    };
    let file = reader.metadata().file_metadata();
    let schema = file.schema_descr();
    let expected = u64::try_from(file.num_rows()).unwrap_or(0);
    let columns = columns(schema);
    let rows = projection(schema, options).and_then(|projection| reader.get_row_iter(projection).map_err(unreadable));
    let rows = match rows {
        Ok(rows) => rows,
        Err(flaw) => return records.push(Err(flaw), source.place(None)),
    };
    let mut number = 0;
    for row in rows {
        number += 1;
        let flaw = match row {
            Ok(row) => {
                source.advance(bytes / expected.max(1));
                records.push(to_document(&row, &columns, options), source.place(Some(number)))?;
                continue;
            }
            Err(error) => Flaw::new(format!("the rest of the file cannot be read: {error}")),
        };
        return records.push(Err(flaw), source.place(Some(number)));
    }
    if number != expected {
        let flaw = Flaw::new(format!("the file has {expected} rows, but only {number} can be read"));
        return records.push(Err(flaw), source.place(None));
    }
    Ok(())
}

/// A column whose numbers are times although their type does not show it to the reader.
struct Column {
    name: String,
    /// Number of parts per second. `None`: the values are plain numbers.
    unit: Option<i64>,
}

fn columns(schema: &SchemaDescriptor) -> Vec<Column> {
    let unit = |column: &parquet::schema::types::ColumnDescriptor| match column.logical_type_ref() {
        Some(LogicalType::Timestamp(time)) if column.converted_type() == ConvertedType::NONE => Some(match time.unit {
            TimeUnit::MILLIS => 1_000,
            TimeUnit::MICROS => 1_000_000,
            TimeUnit::NANOS => 1_000_000_000,
        }),
        _ => None,
    };
    schema.columns().iter().map(|column| Column { name: column.path().string(), unit: unit(column) }).collect()
}

/// The needed columns. Others, such as pictures, are not even read.
fn projection(schema: &SchemaDescriptor, options: &Options) -> Result<Option<Type>, Flaw> {
    let root = schema.root_schema();
    let names: Vec<&str> = root.get_fields().iter().map(|field| field.name()).collect();
    options.check_columns(&names)?;
    let needed = |field: &&Arc<Type>| options.names.role(field.name()) != Role::LeftOut;
    let fields: Vec<Arc<Type>> = root.get_fields().iter().filter(needed).cloned().collect();
    let projection = Type::group_type_builder(root.name()).with_fields(fields).build();
    projection.map(Some).map_err(|error| Flaw::new(error.to_string()))
}

fn to_document(row: &Row, columns: &[Column], options: &Options) -> Result<Document, Flaw> {
    let names: &Names = &options.names;
    let mut draft = Draft::new(names);
    for (name, field) in row.get_column_iter() {
        let wrong = |problem: String| Flaw::new(format!("the column `{name}` {problem}"));
        match (names.role(name), field) {
            (Role::LeftOut, _) | (Role::Vector | Role::Metadata, Field::Null) => {}
            (Role::Id, field) => draft.document.id = text(field).map_err(wrong)?,
            (Role::Text(i), field) => draft.set_text(i, text(field).map_err(wrong)?),
            (Role::Vector, field) => draft.document.vector = Some(vector(field).map_err(wrong)?),
            (Role::Metadata, field) => {
                if matches!(field, Field::ListInternal(_)) {
                    names.check_list(name)?;
                }
                let unit = columns.iter().find(|column| column.name == *name).and_then(|column| column.unit);
                let value = match (field, unit) {
                    (Field::Long(parts), Some(unit)) => Some(time(*parts, unit)),
                    _ => value(field, options.keeps_digits).map_err(wrong)?,
                };
                if let Some(value) = value {
                    draft.set_metadata(name.clone(), value)?;
                }
            }
        }
    }
    Ok(draft.finish())
}

/// A string, or a number as its digits. null means no text. The error completes "the column".
fn text(field: &Field) -> Result<String, String> {
    match field {
        Field::Null => Ok(String::new()),
        Field::Str(text) => Ok(text.clone()),
        Field::Bytes(bytes) => utf8(bytes.data()),
        Field::Byte(_)
        | Field::Short(_)
        | Field::Int(_)
        | Field::Long(_)
        | Field::UByte(_)
        | Field::UShort(_)
        | Field::UInt(_)
        | Field::ULong(_)
        | Field::Decimal(_) => Ok(field.to_string()),
        _ => Err("contains neither strings nor whole numbers".to_owned()),
    }
}

fn utf8(bytes: &[u8]) -> Result<String, String> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| "contains bytes that are not text; leave it out with --metadata-fields");
    Ok(text?.to_owned())
}

fn vector(field: &Field) -> Result<Vector, String> {
    let elements = match field {
        Field::ListInternal(list) => list.elements(),
        Field::Str(text) => return document::parse_vector(text),
        _ => return Err("does not contain lists of numbers, so it cannot be the vector".to_owned()),
    };
    let element = |field: &Field| match field {
        Field::Float(value) => Some(*value),
        Field::Double(value) => Some(*value as f32),
        Field::Float16(value) => Some(value.to_f32()),
        Field::Byte(value) => Some(f32::from(*value)),
        Field::Short(value) => Some(f32::from(*value)),
        Field::Int(value) => Some(*value as f32),
        Field::Long(value) => Some(*value as f32),
        _ => None,
    };
    let values = elements.iter().map(|field| element(field).filter(|value| value.is_finite()));
    let values: Option<Vec<f32>> = values.collect();
    values
        .map(|values| Vector { values })
        .ok_or_else(|| "has a vector with an element that does not fit a 4-byte float".to_owned())
}

/// A metadata value. `None` means no value, which is how pandas writes a missing number.
fn value(field: &Field, keeps_digits: bool) -> Result<Option<Value>, String> {
    let exact = |digits: String| match digits.parse() {
        Ok(number) if number::is_exact(&digits) => Ok(Kind::NumberValue(number)),
        Ok(_) | Err(_) if keeps_digits => Ok(Kind::StringValue(digits)),
        _ => Err(format!("has the number {digits}, which would lose digits as a double: add --inexact-as-strings")),
    };
    let double = |value: f64| {
        if value.is_infinite() { Err("has an infinite number".to_owned()) } else { Ok(Kind::NumberValue(value)) }
    };
    let list = |fields: &[Field]| {
        let values: Result<Vec<Value>, String> = fields
            .iter()
            .map(|field| Ok(value(field, keeps_digits)?.unwrap_or(Value { kind: Some(Kind::NullValue(0)) })))
            .collect();
        values.map(|values| Kind::ListValue(ListValue { values }))
    };
    let kind = match field {
        Field::Null => return Ok(None),
        Field::Double(value) if value.is_nan() => return Ok(None),
        Field::Float(value) if value.is_nan() => return Ok(None),
        Field::Float16(value) if value.is_nan() => return Ok(None),
        Field::Bool(value) => Kind::BoolValue(*value),
        Field::Byte(_)
        | Field::Short(_)
        | Field::Int(_)
        | Field::Long(_)
        | Field::UByte(_)
        | Field::UShort(_)
        | Field::UInt(_)
        | Field::ULong(_)
        | Field::Decimal(_) => exact(field.to_string())?,
        // The digits that restore the float, rather than those of the nearest double.
        Field::Float(value) => double(value.to_string().parse().unwrap_or(f64::from(*value)))?,
        Field::Float16(value) => double(value.to_f64())?,
        Field::Double(value) => double(*value)?,
        Field::Str(text) => Kind::StringValue(text.clone()),
        Field::Bytes(bytes) => Kind::StringValue(utf8(bytes.data())?),
        Field::Date(days) => return Ok(Some(time(i64::from(*days) * DAY, 1))),
        Field::TimestampMillis(parts) => return Ok(Some(time(*parts, 1_000))),
        Field::TimestampMicros(parts) => return Ok(Some(time(*parts, 1_000_000))),
        Field::TimeMillis(_) | Field::TimeMicros(_) => Kind::StringValue(field.to_string()),
        Field::Group(row) => {
            let mut fields = Struct::default();
            for (name, field) in row.get_column_iter() {
                if let Some(value) = value(field, keeps_digits)? {
                    fields.fields.insert(name.clone(), value);
                }
            }
            Kind::StructValue(fields)
        }
        Field::ListInternal(elements) => list(elements.elements())?,
        Field::MapInternal(map) => {
            let mut fields = Struct::default();
            for (name, field) in map.entries() {
                if let Some(value) = value(field, keeps_digits)? {
                    fields.fields.insert(text(name)?, value);
                }
            }
            Kind::StructValue(fields)
        }
    };
    Ok(Some(Value { kind: Some(kind) }))
}

/// A time as RFC 3339, in UTC.
fn time(parts: i64, unit: i64) -> Value {
    let nanos = parts.rem_euclid(unit) * (1_000_000_000 / unit);
    let time = Timestamp { seconds: parts.div_euclid(unit), nanos: i32::try_from(nanos).unwrap_or(0) };
    Value { kind: Some(Kind::StringValue(time.to_string())) }
}
