//! A case: a name, the bytes of a value, and the way back from bytes to that value.

use std::{collections::BTreeSet, fmt::Debug};

use secmon_protocol::codec::{self, CodecError, Value};
use serde::{Serialize, de::DeserializeOwned};

use crate::variants::Variants;

/// Reads bytes and says what is wrong when they are not the case's value.
type Check = Box<dyn Fn(&[u8]) -> Result<(), String>>;

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) check: Check,
}

#[derive(Default)]
pub(crate) struct Cases {
    pub(crate) all: Vec<Case>,
    /// Variants without a case.
    pub(crate) missing: Vec<String>,
}

impl Cases {
    /// A value as it stands in a message or on a disk.
    pub(crate) fn add<T>(&mut self, name: &str, value: T)
    where
        T: Serialize + DeserializeOwned + PartialEq + Debug + 'static,
    {
        self.put(name, codec::encode(&value).to_vec(), value, |bytes| codec::decode(bytes));
    }

    /// All variants of an enum: each value named `TYPE.VARIANT`, and with `/LABEL` where it has a label.
    pub(crate) fn variants<T>(&mut self, values: impl IntoIterator<Item = (&'static str, T)>)
    where
        T: Variants + Serialize + DeserializeOwned + PartialEq + Debug + 'static,
    {
        let mut seen = BTreeSet::new();
        for (label, value) in values {
            let variant = value.variant();
            seen.insert(variant);
            let slash = if label.is_empty() { "" } else { "/" };
            self.add(&format!("{}.{variant}{slash}{label}", T::NAME), value);
        }
        let missing = T::ALL.iter().filter(|variant| !seen.contains(*variant));
        self.missing.extend(missing.map(|variant| format!("{}.{variant}", T::NAME)));
    }

    /// A list of values, see [`codec::encode_list`].
    pub(crate) fn list<T>(&mut self, name: &str, values: Vec<T>)
    where
        T: Serialize + DeserializeOwned + PartialEq + Debug + 'static,
    {
        self.put(name, codec::encode_list(&values).to_vec(), values, |bytes| codec::decode_list(bytes));
    }

    /// A facet's key or value, see [`codec::encode_value`].
    pub(crate) fn facet<T: Value + PartialEq + Debug + 'static>(&mut self, name: &str, value: T) {
        self.put(name, codec::encode_value(&value).to_vec(), value, |bytes| codec::decode_value(bytes));
    }

    /// Bytes with a reader of their own.
    pub(crate) fn put<T: PartialEq + Debug + 'static>(
        &mut self,
        name: &str,
        bytes: Vec<u8>,
        value: T,
        read: impl Fn(&[u8]) -> Result<T, CodecError> + 'static,
    ) {
        let check = move |bytes: &[u8]| match read(bytes) {
            Ok(found) if found == value => Ok(()),
            Ok(found) => Err(format!("read {found:?}, expected {value:?}")),
            Err(error) => Err(error.to_string()),
        };
        self.all.push(Case { name: name.to_owned(), bytes, check: Box::new(check) });
    }
}
