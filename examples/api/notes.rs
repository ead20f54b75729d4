//! The notes, in memory and bounded.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

/// How many notes are kept at most.
const MAX_NOTES: usize = 1_000;
/// How long a note may be, in bytes.
const MAX_TEXT: usize = 4_096;

/// One note.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Note {
    pub(crate) id: u64,
    pub(crate) text: String,
}

/// What a client sends to make a note.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewNote {
    pub(crate) text: String,
}

/// Why a note is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NotTaken {
    Empty,
    Full,
    TooLong,
}

/// All notes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    last_id: u64,
    notes: BTreeMap<u64, Note>,
}

impl Notes {
    pub(crate) fn create(&self, note: NewNote) -> Result<Note, NotTaken> {
        if note.text.is_empty() {
            return Err(NotTaken::Empty);
        }
        if MAX_TEXT < note.text.len() {
            return Err(NotTaken::TooLong);
        }
        let mut inner = self.lock();
        if MAX_NOTES <= inner.notes.len() {
            return Err(NotTaken::Full);
        }
        inner.last_id += 1;
        let note = Note {
            id: inner.last_id,
            text: note.text,
        };
        inner.notes.insert(note.id, note.clone());
        Ok(note)
    }

    pub(crate) fn list(&self) -> Vec<Note> {
        self.lock().notes.values().cloned().collect()
    }

    pub(crate) fn read(&self, id: u64) -> Option<Note> {
        self.lock().notes.get(&id).cloned()
    }

    pub(crate) fn delete(&self, id: u64) -> bool {
        self.lock().notes.remove(&id).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that could panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(text: impl Into<String>) -> NewNote {
        NewNote { text: text.into() }
    }

    #[test]
    fn notes_come_and_go() {
        let notes = Notes::default();
        let first = notes.create(note("a")).unwrap();
        let second = notes.create(note("b")).unwrap();
        assert_eq!(notes.list(), [first.clone(), second.clone()]);
        assert_eq!(notes.read(first.id), Some(first.clone()));
        assert!(notes.delete(first.id));
        assert!(!notes.delete(first.id));
        assert_eq!(notes.list(), [second]);
    }

    #[test]
    fn notes_are_bounded() {
        let notes = Notes::default();
        assert_eq!(notes.create(note("")), Err(NotTaken::Empty));
        let long = "x".repeat(MAX_TEXT + 1);
        assert_eq!(notes.create(note(long)), Err(NotTaken::TooLong));
        for _ in 0..MAX_NOTES {
            notes.create(note("x")).unwrap();
        }
        assert_eq!(notes.create(note("x")), Err(NotTaken::Full));
    }
}
