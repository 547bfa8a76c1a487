//! The statements that a connection keeps prepared: a limited number, those used last.
//!
//! Postgres keeps the tree of a prepared statement until the statement is closed, and every collection has its own
//! statements. So a statement is sent unnamed the first time, which costs no additional round trip. It is prepared when
//! it is used again, and closed when more recent statements replace it.

use std::collections::HashMap;

/// Maximum number of statements that a connection remembers. Each takes about 45 kB in its backend, and a search by cells,
/// with its plan, 330 kB. So all take 5 to 40 MB.
const MAX_STATEMENTS: usize = 120;

/// A statement as it is sent.
#[derive(Clone, Debug)]
pub enum Statement<'a> {
    /// Prepared under a name.
    Named(tokio_postgres::Statement),
    /// The text, sent each time.
    Unnamed(&'a str),
}

/// Anything that can be sent: a [`Statement`], or a text that is not worth preparing.
pub trait AsStatement {
    /// The statement.
    fn as_statement(&self) -> Statement<'_>;
}

impl AsStatement for Statement<'_> {
    fn as_statement(&self) -> Statement<'_> {
        self.clone()
    }
}

impl AsStatement for str {
    fn as_statement(&self) -> Statement<'_> {
        Statement::Unnamed(self)
    }
}

impl AsStatement for String {
    fn as_statement(&self) -> Statement<'_> {
        Statement::Unnamed(self)
    }
}

/// The state of a statement on this connection.
pub(super) enum Seen {
    /// It is new, and may never be used again.
    First,
    /// It was used before but is not prepared.
    Again,
    /// It is prepared.
    Prepared(tokio_postgres::Statement),
}

/// The statements that were used last.
#[derive(Default)]
pub(super) struct Statements {
    slots: HashMap<Box<str>, Slot>,
    /// The number of uses so far.
    clock: u64,
}

struct Slot {
    /// `None` if it was used once. Dropping it closes it in Postgres.
    prepared: Option<tokio_postgres::Statement>,
    collection: Option<i64>,
    /// The value of `clock` at its last use.
    used: u64,
}

impl Statements {
    /// Notes that a statement of a collection is used.
    pub(super) fn use_one(&mut self, sql: &str, collection: Option<i64>) -> Seen {
        self.clock += 1;
        let used = self.clock;
        if let Some(slot) = self.slots.get_mut(sql) {
            slot.used = used;
            return slot.prepared.clone().map_or(Seen::Again, Seen::Prepared);
        }
        self.make_room();
        self.slots.insert(sql.into(), Slot { prepared: None, collection, used });
        Seen::First
    }

    /// Keeps a prepared statement.
    pub(super) fn keep(&mut self, sql: &str, prepared: tokio_postgres::Statement) {
        if let Some(slot) = self.slots.get_mut(sql) {
            slot.prepared = Some(prepared);
        }
    }

    /// Closes the statements of a deleted collection.
    pub(super) fn forget_collection(&mut self, collection: i64) {
        self.slots.retain(|_, slot| slot.collection != Some(collection));
    }

    /// Closes all statements.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
    }

    fn make_room(&mut self) {
        if self.slots.len() < MAX_STATEMENTS {
            return;
        }
        let oldest = self.slots.iter().min_by_key(|(_, slot)| slot.used).map(|(sql, _)| sql.clone());
        if let Some(oldest) = oldest {
            self.slots.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_first(statements: &mut Statements, sql: &str) -> bool {
        matches!(statements.use_one(sql, Some(1)), Seen::First)
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut statements = Statements::default();
        for number in 0..MAX_STATEMENTS {
            assert!(is_first(&mut statements, &number.to_string()));
        }
        assert!(!is_first(&mut statements, "0"));
        assert!(is_first(&mut statements, "one more"));
        assert_eq!(statements.slots.len(), MAX_STATEMENTS);
        assert!(!is_first(&mut statements, "0"));
        assert!(is_first(&mut statements, "1"));
    }

    #[test]
    fn a_collection_takes_its_statements_along() {
        let mut statements = Statements::default();
        statements.use_one("a", Some(1));
        statements.use_one("b", Some(2));
        statements.use_one("c", None);
        statements.forget_collection(1);
        assert!(matches!(statements.use_one("a", Some(1)), Seen::First));
        assert!(matches!(statements.use_one("b", Some(2)), Seen::Again));
        assert!(matches!(statements.use_one("c", None), Seen::Again));
    }
}
