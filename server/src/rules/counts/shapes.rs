//! The messages of the API in the form that the search needs, built from the descriptor of the API.

use std::{collections::HashMap, sync::LazyLock};

use pgfox::v1::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

use super::{ALLOCATION, FIRST_IN_MAP, FIRST_IN_VEC, limits::LIMITS};

/// The method of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Method {
    request: usize,
    /// Whether its calls have any number of requests.
    pub(crate) is_streaming: bool,
}

impl Method {
    pub(super) fn request(self) -> &'static Shape {
        &API.shapes[self.request]
    }
}

/// The method at a path such as `/pgfox.v1.PgfoxService/Search`, if pgfox has it.
pub(crate) fn method(path: &str) -> Option<Method> {
    API.methods.get(path).copied()
}

#[cfg(test)]
pub(super) fn methods() -> impl Iterator<Item = Method> {
    API.methods.values().copied()
}

pub(super) fn shapes() -> &'static [Shape] {
    &API.shapes
}

/// A message: its fields, beginning with number 1.
#[derive(Debug, Default)]
pub(super) struct Shape(Vec<Option<Field>>);

impl Shape {
    pub(super) fn field(&self, number: u32) -> Option<&Field> {
        self.0.get((number as usize).checked_sub(1)?)?.as_ref()
    }

    #[cfg(test)]
    pub(super) fn fields(&self) -> impl Iterator<Item = &Field> {
        self.0.iter().flatten()
    }
}

/// A field of a message.
#[derive(Debug)]
pub(super) struct Field {
    /// The name with the name of the message, as in [`LIMITS`].
    #[cfg(test)]
    pub(super) full_name: String,
    pub(super) name: String,
    number: u32,
    pub(super) kind: Kind,
    pub(super) is_repeated: bool,
    is_map: bool,
    /// Position in [`LIMITS`].
    pub(super) limit: Option<usize>,
    /// Whether it leads from a message that contains itself to such a message, also indirectly.
    pub(super) is_within: bool,
    /// Whether it leads from outside to such a message.
    pub(super) enters: bool,
    /// Whether the content of an element has limits of its own, beside the limit of the field.
    pub(super) counts_apart: bool,
    /// Bytes of an element in memory.
    element: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A message, by its position in the shapes.
    Message(usize),
    /// Strings and bytes.
    Text,
    /// A number of this many bytes.
    Fixed(usize),
    /// A number of at least one byte.
    Varint,
}

impl Field {
    /// One bit for each of the first 64 numbers.
    pub(super) fn bit(&self) -> u64 {
        1_u64.checked_shl(self.number).unwrap_or_default()
    }

    /// The number of elements in a value. Numbers can be packed.
    pub(super) fn elements(&self, content: Option<&[u8]>) -> usize {
        match (self.kind, content) {
            (Kind::Fixed(bytes), Some(content)) => content.len() / bytes,
            (Kind::Varint, Some(content)) => content.len(),
            _ => 1,
        }
    }

    /// Maximum number of bytes that a value takes beside its message. A full list doubles its capacity.
    pub(super) fn cost(&self, content: Option<&[u8]>, is_first: bool) -> usize {
        let text = match (self.kind, content) {
            (Kind::Text, Some(content)) if !content.is_empty() => content.len() + ALLOCATION,
            _ => 0,
        };
        let room = match (self.is_repeated, is_first) {
            (false, _) => 0,
            (true, true) if self.is_map => FIRST_IN_MAP * self.element + ALLOCATION,
            (true, true) => FIRST_IN_VEC.max(2 * self.elements(content)) * self.element + ALLOCATION,
            (true, false) => 2 * self.elements(content) * self.element,
        };
        text + room
    }
}

struct Api {
    shapes: Vec<Shape>,
    methods: HashMap<String, Method>,
}

static API: LazyLock<Api> = LazyLock::new(|| {
    // The build encoded it, so it can be decoded. A test looks up a method.
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default().file;
    let mut messages = Vec::new();
    for file in &files {
        file.message_type.iter().for_each(|message| collect(&mut messages, file.package(), message));
    }
    let positions: HashMap<&str, usize> =
        messages.iter().enumerate().map(|(position, (name, _))| (name.as_str(), position)).collect();
    let position = |name: &str| positions.get(name.trim_start_matches('.')).copied();
    let reached = reached(&messages, &position);
    let circle = |at: usize| (0..messages.len()).find(|other| reached[at][*other] && reached[*other][at]);
    let has_limits: Vec<bool> = messages
        .iter()
        .map(|(name, message)| message.field.iter().any(|field| limit(&format!("{name}.{}", field.name())).is_some()))
        .collect();
    let mut shapes = Vec::with_capacity(messages.len());
    for (at, (name, message)) in messages.iter().enumerate() {
        let mut shape = Shape::default();
        for field in &message.field {
            let kind = kind(field, &position);
            let target = if let Kind::Message(target) = kind { Some(target) } else { None };
            let full_name = format!("{name}.{}", field.name());
            let is_within = target.is_some_and(|target| reached[at][target] && reached[target][at]);
            let read = Field {
                limit: limit(&full_name),
                #[cfg(test)]
                full_name,
                name: field.name().to_owned(),
                number: field.number() as u32,
                kind,
                is_repeated: field.label() == Label::Repeated,
                is_map: target.is_some_and(|target| {
                    messages[target].1.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry)
                }),
                is_within,
                enters: !is_within && target.is_some_and(|target| circle(target).is_some()),
                counts_apart: target.is_some_and(|target| {
                    (0..messages.len()).any(|at| has_limits[at] && (at == target || reached[target][at]))
                }),
                element: element_size(field, &messages, &position),
            };
            let index = (read.number as usize).saturating_sub(1);
            shape.0.resize_with(shape.0.len().max(index + 1), || None);
            shape.0[index] = Some(read);
        }
        shapes.push(shape);
    }
    let mut methods = HashMap::new();
    for file in &files {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                if let Some(request) = position(method.input_type()) {
                    methods.insert(path, Method { request, is_streaming: method.client_streaming() });
                }
            }
        }
    }
    Api { shapes, methods }
});

/// Collects a message and those declared in it, with their full names.
fn collect(messages: &mut Vec<(String, DescriptorProto)>, scope: &str, message: &DescriptorProto) {
    let name = format!("{scope}.{}", message.name());
    message.nested_type.iter().for_each(|nested| collect(messages, &name, nested));
    messages.push((name, message.clone()));
}

fn kind(field: &FieldDescriptorProto, position: &impl Fn(&str) -> Option<usize>) -> Kind {
    match field.r#type() {
        Type::Message | Type::Group => position(field.type_name()).map_or(Kind::Text, Kind::Message),
        Type::String | Type::Bytes => Kind::Text,
        Type::Double | Type::Fixed64 | Type::Sfixed64 => Kind::Fixed(8),
        Type::Float | Type::Fixed32 | Type::Sfixed32 => Kind::Fixed(4),
        Type::Int64
        | Type::Uint64
        | Type::Int32
        | Type::Uint32
        | Type::Sint32
        | Type::Sint64
        | Type::Bool
        | Type::Enum => Kind::Varint,
    }
}

/// For each message, all messages that it contains, also indirectly.
fn reached(messages: &[(String, DescriptorProto)], position: &impl Fn(&str) -> Option<usize>) -> Vec<Vec<bool>> {
    let next = |at: usize| messages[at].1.field.iter().filter_map(|field| position(field.type_name()));
    let from = |start| {
        let mut reached = vec![false; messages.len()];
        let mut open: Vec<usize> = next(start).collect();
        while let Some(at) = open.pop() {
            if !std::mem::replace(&mut reached[at], true) {
                open.extend(next(at));
            }
        }
        reached
    };
    (0..messages.len()).map(from).collect()
}

fn limit(full_name: &str) -> Option<usize> {
    LIMITS.iter().position(|(name, ..)| *name == full_name)
}

/// Maximum number of bytes of a message in memory, without what it points to.
fn size(
    message: &DescriptorProto,
    messages: &[(String, DescriptorProto)],
    position: &impl Fn(&str) -> Option<usize>,
) -> usize {
    let of = |field: &FieldDescriptorProto| match field.label() {
        Label::Repeated => size_of::<Vec<u8>>(),
        _ => element_size(field, messages, position),
    };
    let is_choice = |field: &&FieldDescriptorProto| field.oneof_index.is_some() && !field.proto3_optional();
    let plain: usize = message.field.iter().filter(|field| !is_choice(field)).map(of).sum();
    // No message of the API has two oneofs.
    let choice = message.field.iter().filter(is_choice).map(|field| of(field) + 8).max().unwrap_or_default();
    plain + choice
}

/// The bytes of a field's value or of a list's element, including whether it is set.
fn element_size(
    field: &FieldDescriptorProto,
    messages: &[(String, DescriptorProto)],
    position: &impl Fn(&str) -> Option<usize>,
) -> usize {
    match kind(field, position) {
        Kind::Message(at) => {
            size(&messages[at].1, messages, position) + if field.label() == Label::Repeated { 0 } else { 8 }
        }
        Kind::Text => size_of::<String>(),
        Kind::Fixed(4) if field.label() == Label::Repeated => 4,
        Kind::Fixed(_) | Kind::Varint => 8,
    }
}
