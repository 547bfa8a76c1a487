//! What a request may be before it is decoded: a few bytes of protobuf can become a thousand times as much memory, so the
//! encoded message is looked through first, for how many there are of each thing and how much memory they will take.

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

/// Messages within each other that prost decodes; it refuses what is deeper.
const MAX_DEPTH: usize = 100;
/// Up to here errors say how many there are; to count on would only take time.
const MAX_COUNTED: usize = 100_000;
/// What an allocation takes beside what was asked for.
const ALLOCATION: usize = 16;
/// Elements that a `Vec` and a map make room for with their first.
const FIRST_IN_VEC: usize = 4;
const FIRST_IN_MAP: usize = 11;

/// Why a message is not decoded.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It is no protobuf.
    Undecodable(DecodeError),
    /// There is too much of something in it.
    TooMany(Violations),
}

impl From<DecodeError> for Refused {
    fn from(error: DecodeError) -> Self {
        Self::Undecodable(error)
    }
}

/// Looks through an encoded request of a method, up to the first count that is too large. Returns the most bytes that the
/// decoded message takes in memory.
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
    /// `path` is that of the field in the message that was looked through last; empty for that message itself.
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
    /// How many there are of what each limit counts, in the element of a list that is looked through. Fields that are no
    /// lists share the counts of their message, since prost merges those that come again.
    counts: [usize; LIMITS.len()],
    bytes: usize,
}

impl Walk {
    /// `entered` is the limit of the field through which the walk came into messages that contain themselves: what is in
    /// them counts there, however deep.
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

    /// An element of a list: it has counts of its own, but for that which goes through all of them.
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
        // A test sees to it that every list has a limit.
        let Some(limit) = limit else { return Err(Rule { most: 0, things: "entries", sums: field.is_within }) };
        let (_, most, things) = LIMITS[limit];
        self.counts[limit] += elements;
        if self.counts[limit] > most { Err(Rule { most, things, sums: field.is_within }) } else { Ok(()) }
    }
}

impl Stop {
    /// The same of a message that is the value of a field, or an element of it at a position.
    fn within(self, field: &Field, position: impl Fn() -> usize) -> Self {
        let Self::TooMany { path, rule, limit } = self else { return self };
        // What counts where the walk came in is told there.
        if limit.is_some() && (field.is_within || field.limit != limit) {
            return Self::TooMany { path: String::new(), rule, limit };
        }
        let place = if field.is_repeated { format!("{}[{}]", field.name, position()) } else { field.name.clone() };
        let path = if path.is_empty() { place } else { format!("{place}.{path}") };
        Self::TooMany { path, rule, limit: None }
    }
}

/// A count that was exceeded.
struct Rule {
    most: usize,
    things: &'static str,
    /// Whether it is one over several lists.
    sums: bool,
}

impl Rule {
    /// How far to count.
    fn counted(&self) -> usize {
        MAX_COUNTED.max(self.most + 1)
    }

    /// In the words of the other rules, with how many there are in one list.
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

/// Skips the value of a field; returns what is in it, if it has a length.
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

/// How many elements of a field a message has, as far as it can be read, up to `most`.
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
