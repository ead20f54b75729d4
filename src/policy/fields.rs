//! Header fields that policies put on responses.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header::Entry};
use smallvec::SmallVec;

/// Header fields for a response, in order. Up to two are held without an allocation.
#[derive(Clone, Debug, Default)]
pub struct ResponseFields {
    /// The first field, if it is one that a policy holds ready. A field is large: to hand on a pointer to it, to leave nothing behind that has to
    /// be dropped, and to change the response in place took what the HTTPS check with HSTS adds from 1660 instructions to 1440.
    shared: Option<Arc<Field>>,
    rest: SmallVec<[Field; 2]>,
}

/// A header field and what happens where the response already has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: HeaderName,
    pub(crate) value: HeaderValue,
    pub(crate) mode: FieldMode,
}

impl ResponseFields {
    /// Creates an empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field.
    pub fn push(&mut self, name: HeaderName, value: HeaderValue, mode: FieldMode) {
        self.rest.push(Field { name, value, mode });
    }

    /// Adds a field that is held ready.
    #[inline]
    pub(crate) fn push_shared(&mut self, field: Arc<Field>) {
        if self.is_empty() {
            self.shared = Some(field);
        } else {
            self.rest.push(Arc::unwrap_or_clone(field));
        }
    }

    /// Returns whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shared.is_none() && self.rest.is_empty()
    }

    /// Returns the fields.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue, FieldMode)> {
        let fields = self.shared.as_deref().into_iter().chain(&self.rest);
        fields.map(|field| (&field.name, &field.value, field.mode))
    }

    /// Appends all fields of `other`.
    pub fn extend(&mut self, mut other: Self) {
        if self.is_empty() {
            *self = other;
        } else {
            self.append(&mut other);
        }
    }

    /// Appends all fields of `other`, without moving the list, which is large.
    #[inline]
    pub(crate) fn append(&mut self, other: &mut Self) {
        if let Some(field) = other.shared.take() {
            self.push_shared(field);
        }
        if !other.rest.is_empty() {
            self.rest.append(&mut other.rest);
        }
    }

    /// Returns whether the list has memory of its own.
    #[inline]
    pub(crate) fn is_spilled(&self) -> bool {
        self.rest.spilled()
    }

    /// Puts the fields into a response's header map.
    pub fn apply(mut self, headers: &mut HeaderMap) {
        self.drain_into(headers);
    }

    /// Puts the fields into a response's header map, without moving the list, which is large.
    pub(crate) fn drain_into(&mut self, headers: &mut HeaderMap) {
        if let Some(field) = self.shared.take() {
            put(headers, &field.name, field.value.clone(), field.mode);
        }
        if !self.rest.is_empty() {
            for Field { name, value, mode } in self.rest.drain(..) {
                put(headers, &name, value, mode);
            }
        }
    }
}

fn put(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue, mode: FieldMode) {
    match mode {
        // A map that is full, as only a service of many thousand fields makes it, stays as it is: the other methods panic.
        FieldMode::Append => {
            let _ = headers.try_append(name, value);
        }
        FieldMode::IfAbsent => insert_if_absent(headers, name, value),
        FieldMode::Replace => {
            let _ = headers.try_insert(name, value);
        }
    }
}

/// Inserts a field unless there is one of that name. A map that is full stays as it is.
#[inline]
pub(crate) fn insert_if_absent(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    if headers.len() != headers.keys_len() {
        if let Ok(Entry::Vacant(entry)) = headers.try_entry(name) {
            let _ = entry.try_insert(value);
        }
        return;
    }
    // No name has two values, so that what is replaced is all there was and can be put back. Most responses have no such field: to insert right
    // away took what the HTTPS check adds from 1440 instructions to 1370, and the preset from 1400 to 1340.
    if let Ok(Some(own)) = headers.try_insert(name, value) {
        let _ = headers.try_insert(name, own);
    }
}

/// What happens where the response already has a field of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum FieldMode {
    /// The field is added beside it.
    Append,
    /// The response's own field is kept.
    IfAbsent,
    /// The response's own field is replaced.
    Replace,
}

#[cfg(test)]
mod tests {
    use http::header::{RETRY_AFTER, VARY};

    use super::*;

    #[test]
    fn what_the_response_has_is_kept_as_it_is() {
        for own in [&["a"][..], &["a", "b"]] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            for value in own {
                let mut value = HeaderValue::from_static(value);
                value.set_sensitive(true);
                headers.append(VARY, value);
            }
            headers.insert("x-last", HeaderValue::from_static("1"));
            let before = headers.clone();
            insert_if_absent(&mut headers, &VARY, HeaderValue::from_static("ours"));
            // The order and the mark, too.
            assert!(headers.iter().eq(before.iter()));
            assert!(headers.get_all(VARY).iter().all(HeaderValue::is_sensitive));
        }
    }

    #[track_caller]
    fn check(mode: FieldMode, expected: &[&str]) {
        let mut headers = HeaderMap::new();
        headers.insert(VARY, HeaderValue::from_static("own"));
        let mut fields = ResponseFields::new();
        fields.push(VARY, HeaderValue::from_static("ours"), mode);
        fields.push(RETRY_AFTER, HeaderValue::from_static("1"), mode);
        fields.apply(&mut headers);
        let values: Vec<_> = headers.get_all(VARY).iter().collect();
        assert_eq!(values, expected);
        assert_eq!(headers[RETRY_AFTER], "1");
    }

    #[test]
    fn fields_that_are_shared_keep_their_place() {
        let vary = |value| Field {
            name: VARY,
            value: HeaderValue::from_static(value),
            mode: FieldMode::Append,
        };
        let list = |shared, own| {
            let mut fields = ResponseFields::new();
            fields.push_shared(Arc::new(vary(shared)));
            fields.push(VARY, HeaderValue::from_static(own), FieldMode::Append);
            fields
        };
        let mut fields = list("a", "b");
        fields.push_shared(Arc::new(vary("c")));
        fields.append(&mut list("d", "e"));
        fields.extend(list("f", "g"));
        let mut first = ResponseFields::new();
        first.append(&mut fields);
        assert!(fields.is_empty());

        let expected = ["a", "b", "c", "d", "e", "f", "g"];
        assert!(first.iter().map(|(_, value, _)| value).eq(expected));
        let mut headers = HeaderMap::new();
        first.apply(&mut headers);
        assert!(headers.get_all(VARY).iter().eq(expected));
    }

    #[test]
    fn modes_differ_where_the_field_exists() {
        check(FieldMode::Append, &["own", "ours"]);
        check(FieldMode::IfAbsent, &["own"]);
        check(FieldMode::Replace, &["ours"]);
    }
}
