//! How any value in a report is read, and how one is passed over.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::ReportError;
use super::read::Notes;
use crate::limits::MAX_JSON_LEVELS;
use crate::oddity::Oddity;

/// A kind of value. What a kind does not speak of is not expected of it: it is noted, skipped, and
/// counts as absent.
pub(super) trait Kind<'de>: Sized {
    type Value;

    fn notes(&mut self) -> &mut Notes;

    /// What `null` means, and a value of another kind.
    fn absent(&mut self) -> Self::Value;

    fn scalar(&mut self, _: Scalar<'_>) -> Result<Self::Value, ReportError> {
        self.notes().note(Oddity::UnusualShape);
        Ok(self.absent())
    }

    fn list<A: SeqAccess<'de>>(&mut self, list: A) -> Result<Self::Value, A::Error> {
        self.notes().note(Oddity::UnusualShape);
        Skip::new(self.notes()).list(list)?;
        Ok(self.absent())
    }

    fn object<A: MapAccess<'de>>(&mut self, map: A) -> Result<Self::Value, A::Error> {
        self.notes().note(Oddity::UnusualShape);
        Skip::new(self.notes()).object(map)?;
        Ok(self.absent())
    }
}

/// A value that holds no others.
pub(super) enum Scalar<'v> {
    Text(&'v str),
    Whole(u64),
    Negative(i64),
    Float(f64),
    Bool(bool),
}

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Text(text) => f.write_str(text),
            Scalar::Whole(number) => number.fmt(f),
            Scalar::Negative(number) => number.fmt(f),
            Scalar::Float(number) => number.fmt(f),
            Scalar::Bool(value) => value.fmt(f),
        }
    }
}

/// The one visitor: asks a [`Kind`] what to do.
pub(super) struct Read<K>(pub(super) K);

impl<'de, K: Kind<'de>> DeserializeSeed<'de> for Read<K> {
    type Value = K::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<K::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, K: Kind<'de>> Read<K> {
    fn scalar<E: Error>(mut self, scalar: Scalar<'_>) -> Result<K::Value, E> {
        self.0.scalar(scalar).map_err(|why| self.0.notes().refuse(why))
    }
}

impl<'de, K: Kind<'de>> Visitor<'de> for Read<K> {
    type Value = K::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(mut self) -> Result<K::Value, E> {
        Ok(self.0.absent())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<K::Value, E> {
        self.scalar(Scalar::Bool(value))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<K::Value, E> {
        self.scalar(Scalar::Whole(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<K::Value, E> {
        self.scalar(Scalar::Negative(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<K::Value, E> {
        self.scalar(Scalar::Float(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<K::Value, E> {
        self.scalar(Scalar::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, list: A) -> Result<K::Value, A::Error> {
        self.0.list(list)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<K::Value, A::Error> {
        self.0.object(map)
    }
}

/// A value that nobody wants, down to [`MAX_JSON_LEVELS`].
pub(super) struct Skip<'r> {
    level: usize,
    notes: &'r mut Notes,
}

impl<'r> Skip<'r> {
    pub(super) fn new(notes: &'r mut Notes) -> Skip<'r> {
        Skip { level: 0, notes }
    }

    fn below<E: Error>(&mut self) -> Result<Read<Skip<'_>>, E> {
        if self.level >= MAX_JSON_LEVELS {
            return Err(self.notes.refuse(ReportError::TooDeep));
        }
        Ok(Read(Skip { level: self.level + 1, notes: self.notes }))
    }
}

impl<'de> Kind<'de> for Skip<'_> {
    type Value = ();

    fn notes(&mut self) -> &mut Notes {
        self.notes
    }

    fn absent(&mut self) {}

    fn scalar(&mut self, _: Scalar<'_>) -> Result<(), ReportError> {
        Ok(())
    }

    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(self.below()?)?.is_some() {}
        Ok(())
    }

    fn object<A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(self.below()?)?;
        }
        Ok(())
    }
}
