//! Header fields that policies put on responses.

use http::{HeaderMap, HeaderName, HeaderValue, header::Entry};
use smallvec::SmallVec;

/// Header fields for a response, in order. Up to two are held without an allocation.
#[derive(Clone, Debug, Default)]
pub struct ResponseFields(SmallVec<[(HeaderName, HeaderValue, FieldMode); 2]>);

impl ResponseFields {
    /// Creates an empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field.
    pub fn push(&mut self, name: HeaderName, value: HeaderValue, mode: FieldMode) {
        self.0.push((name, value, mode));
    }

    /// Returns whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the fields.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue, FieldMode)> {
        self.0
            .iter()
            .map(|(name, value, mode)| (name, value, *mode))
    }

    /// Appends all fields of `other`.
    pub fn extend(&mut self, other: Self) {
        if self.0.is_empty() {
            *self = other;
        } else {
            self.0.extend(other.0);
        }
    }

    /// Appends all fields of `other`, without moving the list, which is large.
    pub(crate) fn append(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
    }

    /// Puts the fields into a response's header map.
    pub fn apply(mut self, headers: &mut HeaderMap) {
        self.drain_into(headers);
    }

    /// Puts the fields into a response's header map, without moving the list, which is large.
    pub(crate) fn drain_into(&mut self, headers: &mut HeaderMap) {
        for (name, value, mode) in self.0.drain(..) {
            match mode {
                // A map that is full, as only a service of many thousand fields makes it, stays as it is: the other methods panic.
                FieldMode::Append => {
                    let _ = headers.try_append(name, value);
                }
                FieldMode::IfAbsent => {
                    if let Ok(Entry::Vacant(entry)) = headers.try_entry(name) {
                        let _ = entry.try_insert(value);
                    }
                }
                FieldMode::Replace => {
                    let _ = headers.try_insert(name, value);
                }
            }
        }
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
    fn modes_differ_where_the_field_exists() {
        check(FieldMode::Append, &["own", "ours"]);
        check(FieldMode::IfAbsent, &["own"]);
        check(FieldMode::Replace, &["ours"]);
    }
}
