//! Objects and lists of them.

use std::marker::PhantomData;

use serde::de::{MapAccess, SeqAccess};

use super::ReportError;
use super::name::{Key, Name};
use super::read::Notes;
use super::value::{Kind, Read};
use crate::oddity::Oddity;

/// The fields of one kind of object.
pub(super) trait Fields<'de>: Sized {
    /// The object before any field has come.
    fn blank() -> Self;

    /// Takes the value of field `name`, be it to skip it.
    fn read<A: MapAccess<'de>>(
        &mut self,
        name: Name,
        map: &mut A,
        notes: &mut Notes,
    ) -> Result<(), A::Error>;
}

/// An object, which starts blank; `None` if it is none.
pub(super) struct Object<'r, T> {
    notes: &'r mut Notes,
    kind: PhantomData<T>,
}

impl<'r, T> Object<'r, T> {
    pub(super) fn new(notes: &'r mut Notes) -> Object<'r, T> {
        Object { notes, kind: PhantomData }
    }
}

impl<'de, T: Fields<'de>> Kind<'de> for Object<'_, T> {
    type Value = Option<T>;

    fn notes(&mut self) -> &mut Notes {
        self.notes
    }

    fn absent(&mut self) -> Option<T> {
        None
    }

    fn object<A: MapAccess<'de>>(&mut self, mut map: A) -> Result<Option<T>, A::Error> {
        let mut object = T::blank();
        let mut seen = 0_u32;
        while let Some(name) = map.next_key_seed(Key(self.notes))? {
            // Of a repeated field the later value counts, as with most readers of JSON. An unknown
            // one is skipped however often it comes.
            let bit = 1 << name as u8;
            if seen & bit != 0 && name != Name::Unknown {
                self.notes.note(Oddity::RepeatedKey);
            }
            seen |= bit;
            object.read(name, &mut map, self.notes)?;
        }
        Ok(Some(object))
    }
}

/// A list of one kind of object.
pub(super) trait Items<'de>: Default {
    type Item: Fields<'de>;

    /// Keeps one more, or says why the report cannot be read for it.
    fn add(&mut self, item: Self::Item, notes: &mut Notes) -> Result<(), ReportError>;
}

/// A list of objects; one object alone is a list of one. What is no object in it is left out.
pub(super) struct List<'r, T> {
    notes: &'r mut Notes,
    kind: PhantomData<T>,
}

impl<'r, T> List<'r, T> {
    pub(super) fn new(notes: &'r mut Notes) -> List<'r, T> {
        List { notes, kind: PhantomData }
    }
}

impl<'de, T: Items<'de>> Kind<'de> for List<'_, T> {
    type Value = Option<T>;

    fn notes(&mut self) -> &mut Notes {
        self.notes
    }

    fn absent(&mut self) -> Option<T> {
        None
    }

    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<Option<T>, A::Error> {
        let mut items = T::default();
        while let Some(item) = list.next_element_seed(Read(Object::new(self.notes)))? {
            match item {
                Some(item) => items.add(item, self.notes).map_err(|why| self.notes.refuse(why))?,
                None => self.notes.note(Oddity::UnusualShape),
            }
        }
        Ok(Some(items))
    }

    fn object<A: MapAccess<'de>>(&mut self, map: A) -> Result<Option<T>, A::Error> {
        self.notes.note(Oddity::UnusualShape);
        let mut items = T::default();
        if let Some(item) = Object::new(self.notes).object(map)? {
            items.add(item, self.notes).map_err(|why| self.notes.refuse(why))?;
        }
        Ok(Some(items))
    }
}
