//! The changes that the servers have acknowledged, and others that they may have made.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::documents::{State, Store};

/// The knowledge about a document. A failed call may have been carried out, or may still be while its bytes are on
/// their way. The next check shows the result.
#[derive(Clone, Debug, Default)]
struct Entry {
    /// The last acknowledged state; `None`: it does not exist.
    known: Option<State>,
    /// Numbers that may have been stored instead. `None` if the document may have been deleted.
    perhaps: Vec<Option<u64>>,
    /// Marks that may have been set.
    perhaps_marked: Vec<u64>,
}

impl Entry {
    fn is_certain(&self) -> bool {
        self.perhaps.is_empty() && self.perhaps_marked.is_empty()
    }

    fn allows(&self, found: Option<State>) -> bool {
        if found == self.known {
            return true;
        }
        let Some(found) = found else { return self.perhaps.contains(&None) };
        let known = self.known;
        let is_rewritten = self.perhaps.iter().any(Option::is_some);
        let may_exist = known.is_some() || is_rewritten;
        let number =
            known.is_some_and(|known| known.number == found.number) || self.perhaps.contains(&Some(found.number));
        let mark = match found.mark {
            None => known.is_some_and(|known| known.mark.is_none()) || is_rewritten,
            mark @ Some(new) => known.is_some_and(|known| known.mark == mark) || self.perhaps_marked.contains(&new),
        };
        may_exist && number && mark
    }
}

type Entries = BTreeMap<(Store, String), Entry>;

/// Every document that was ever written. Each is written by one task only.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Mutex<Entries>,
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, store: Store, id: &str, change: impl FnOnce(&mut Entry)) {
        change(self.entries().entry((store, id.to_owned())).or_default());
    }

    pub(crate) fn stored(&self, store: Store, id: &str, number: u64) {
        self.change(store, id, |entry| {
            entry.known = Some(State { number, mark: None });
        });
    }

    pub(crate) fn perhaps_stored(&self, store: Store, id: &str, number: u64) {
        self.change(store, id, |entry| entry.perhaps.push(Some(number)));
    }

    pub(crate) fn deleted(&self, store: Store, id: &str) {
        self.change(store, id, |entry| entry.known = None);
    }

    pub(crate) fn perhaps_deleted(&self, store: Store, id: &str) {
        self.change(store, id, |entry| entry.perhaps.push(None));
    }

    /// A document that does not exist is not marked.
    pub(crate) fn marked(&self, store: Store, id: &str, mark: u64) {
        self.change(store, id, |entry| {
            // It may exist although this is not known.
            if !entry.perhaps.is_empty() {
                entry.perhaps_marked.push(mark);
            }
            if let Some(known) = &mut entry.known {
                known.mark = Some(mark);
            }
        });
    }

    pub(crate) fn perhaps_marked(&self, store: Store, id: &str, mark: u64) {
        self.change(store, id, |entry| entry.perhaps_marked.push(mark));
    }

    /// Its state, if that is certain.
    pub(crate) fn certain(&self, store: Store, id: &str) -> Option<Option<State>> {
        let entries = self.entries();
        let Some(entry) = entries.get(&(store, id.to_owned())) else { return Some(None) };
        entry.is_certain().then_some(entry.known)
    }

    /// Records the certain result of a conditional write. No earlier call can be carried out any more.
    pub(crate) fn settled(&self, store: Store, id: &str, number: u64) {
        let known = Some(State { number, mark: None });
        self.change(store, id, |entry| *entry = Entry { known, ..Entry::default() });
    }

    /// Compares the ledger with everything that is stored, and treats that as certain from now on. No call may be in
    /// flight. Returns the differences.
    pub(crate) fn compare(&self, store: Store, mut stored: BTreeMap<String, State>) -> Vec<String> {
        let mut differences = Vec::new();
        for ((_, id), entry) in self.entries().iter_mut().filter(|((of, _), _)| *of == store) {
            let found = stored.remove(id);
            if !entry.allows(found) {
                let name = store.name();
                differences.push(format!("{id} of {name} is {found:?}, and was acknowledged as {entry:?}"));
            }
            *entry = Entry { known: found, ..Entry::default() };
        }
        let strangers = stored.into_keys().map(|id| format!("{id} of {} was never sent", store.name()));
        differences.extend(strangers);
        differences
    }

    pub(crate) fn len(&self) -> usize {
        self.entries().values().filter(|entry| entry.known.is_some()).count()
    }
}
