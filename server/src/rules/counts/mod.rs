//! Limits a request before it is decoded. A few bytes of protobuf can become a thousand times as much memory. So the
//! encoded message is searched first, for the number of each thing and the memory that decoding will take.

mod limits;
mod shapes;

use prost::{
    DecodeError,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

pub(crate) use self::shapes::{Method, method};
use self::{
    limits::LIMITS,
    shapes::{Field, Kind, Shape, shapes},
};
use super::{Violation, Violations};

/// Maximum nesting of messages that prost decodes. It refuses deeper ones.
const MAX_DEPTH: usize = 100;
/// Errors count up to this number. Counting on would only take time.
const MAX_COUNTED: usize = 100_000;
/// The bytes that an allocation takes in addition.
const ALLOCATION: usize = 16;
/// The number of elements that a `Vec` and a map reserve for their first element.
const FIRST_IN_VEC: usize = 4;
const FIRST_IN_MAP: usize = 11;

/// Why a message is not decoded.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It is not protobuf.
    Undecodable(DecodeError),
    /// It contains too many of something.
    TooMany(Violations),
}

impl From<DecodeError> for Refused {
    fn from(error: DecodeError) -> Self {
        Self::Undecodable(error)
    }
}

/// Searches an encoded request of a method, up to the first count that is too large. Returns the maximum number of
/// bytes that the decoded message takes in memory.
pub(crate) fn check(method: Method, message: &[u8]) -> Result<usize, Refused> {
    let mut walk = Walk { counts: [0; LIMITS.len()], bytes: 0 };
    match walk.message(method.request(), message, None, 0) {
        Ok(()) => Ok(walk.bytes),
        Err(Stop::Undecodable(error)) => Err(Refused::Undecodable(error)),
        Err(Stop::TooMany { path, rule, .. }) => Err(Refused::TooMany(Violation::new(path, rule).into())),
    }
}

enum Stop {
    Undecodable(DecodeError),
    /// `path` is the path of the field in the message that was searched last. It is empty for that message itself.
    TooMany {
        path: String,
        rule: String,
        limit: Option<usize>,
    },
}

impl From<DecodeError> for Stop {
    fn from(error: DecodeError) -> Self {
        Self::Undecodable(error)
    }
}

struct Walk {
    /// The count for each limit, in the current element of a list. Fields that are not lists share the counts of their
    /// message, since prost merges repeated ones.
    counts: [usize; LIMITS.len()],
    bytes: usize,
}

impl Walk {
    /// Searches a message. `entered` is the limit of the field that led into messages that contain themselves.
    /// Everything inside them counts there, at any depth.
    fn message(&mut self, shape: &Shape, message: &[u8], entered: Option<usize>, depth: usize) -> Result<(), Stop> {
        let mut rest = message;
        let mut seen = 0_u64;
        while !rest.is_empty() {
            let at = message.len() - rest.len();
            let (number, wire_type) = decode_key(&mut rest)?;
            let content = content(number, wire_type, &mut rest)?;
            let Some(field) = shape.field(number) else { continue };
            let is_first = seen & field.bit() == 0;
            seen |= field.bit();
            self.bytes += field.cost(content, is_first);
            if field.is_repeated {
                let limit = if field.is_within { entered } else { field.limit };
                self.count(field, limit, field.elements(content)).map_err(|rule| {
                    let all = count(message, number, field, rule.counted());
                    let path = if field.is_within { String::new() } else { field.name.clone() };
                    Stop::TooMany { path, rule: rule.with(all), limit: limit.filter(|_| field.is_within) }
                })?;
            }
            let (Kind::Message(inner), Some(content)) = (&field.kind, content) else { continue };
            if depth == MAX_DEPTH {
                continue;
            }
            let entered = if field.is_within { entered } else { field.enters.then_some(field.limit).flatten() };
            let inner = &shapes()[*inner];
            let walked = if field.is_repeated && field.counts_apart {
                self.element(field, inner, content, entered, depth)
            } else {
                self.message(inner, content, entered, depth + 1)
            };
            walked.map_err(|stop| stop.within(field, || count(&message[..at], number, field, usize::MAX)))?;
        }
        Ok(())
    }

    /// Searches an element of a list. It has its own counts, except those that include all elements.
    fn element(
        &mut self,
        field: &Field,
        shape: &Shape,
        content: &[u8],
        entered: Option<usize>,
        depth: usize,
    ) -> Result<(), Stop> {
        let outer = self.counts;
        let shared = entered.filter(|_| field.is_within);
        for (limit, count) in self.counts.iter_mut().enumerate() {
            if Some(limit) != shared {
                *count = 0;
            }
        }
        self.message(shape, content, entered, depth + 1)?;
        let inner = std::mem::replace(&mut self.counts, outer);
        if let Some(shared) = shared {
            self.counts[shared] = inner[shared];
        }
        Ok(())
    }

    fn count(&mut self, field: &Field, limit: Option<usize>, elements: usize) -> Result<(), Rule> {
        // A test ensures that every list has a limit.
        let Some(limit) = limit else { return Err(Rule { most: 0, things: "entries", sums: field.is_within }) };
        let (_, most, things) = LIMITS[limit];
        self.counts[limit] += elements;
        if self.counts[limit] > most { Err(Rule { most, things, sums: field.is_within }) } else { Ok(()) }
    }
}

impl Stop {
    /// The same error for a message that is the value of a field, or its element at a position.
    fn within(self, field: &Field, position: impl Fn() -> usize) -> Self {
        let Self::TooMany { path, rule, limit } = self else { return self };
        // A count for nested messages is reported at the field that led into them.
        if limit.is_some() && (field.is_within || field.limit != limit) {
            return Self::TooMany { path: String::new(), rule, limit };
        }
        let place = if field.is_repeated { format!("{}[{}]", field.name, position()) } else { field.name.clone() };
        let path = if path.is_empty() { place } else { format!("{place}.{path}") };
        Self::TooMany { path, rule, limit: None }
    }
}

/// A limit that was exceeded.
struct Rule {
    most: usize,
    things: &'static str,
    /// Whether it is a sum over several lists.
    sums: bool,
}

impl Rule {
    /// How far to count.
    fn counted(&self) -> usize {
        MAX_COUNTED.max(self.most + 1)
    }

    /// The violation as other rules word it, with the count of a single list.
    fn with(&self, all: usize) -> String {
        let Self { most, things, .. } = self;
        if all >= self.counted() {
            format!("must have at most {most} {things}, not {all} or more")
        } else if all > *most || !self.sums {
            format!("must have at most {most} {things}, not {all}")
        } else {
            format!("must have at most {most} {things}")
        }
    }
}

/// Skips the value of a field. Returns its content if it has a length.
fn content<'a>(number: u32, wire_type: WireType, rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, DecodeError> {
    let value = *rest;
    skip_field(wire_type, number, rest, DecodeContext::default())?;
    if wire_type != WireType::LengthDelimited {
        return Ok(None);
    }
    let value = &value[..value.len() - rest.len()];
    let mut content = value;
    decode_varint(&mut content)?;
    Ok(Some(content))
}

/// The number of elements of a field in a message, up to `most`, as far as it can be read.
fn count(mut message: &[u8], wanted: u32, field: &Field, most: usize) -> usize {
    let mut elements = 0;
    while !message.is_empty() && elements < most {
        let Ok((number, wire_type)) = decode_key(&mut message) else { break };
        let Ok(content) = content(number, wire_type, &mut message) else { break };
        if number == wanted {
            elements += field.elements(content);
        }
    }
    elements
}

#[cfg(test)]
mod tests;
