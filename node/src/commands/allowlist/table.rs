//! TOML with places: tables whose keys and values know where in the file they stand, so that whatever is wrong is said
//! with line and column. Knows nothing of commands.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Keys that differ by more are not taken for a slip (Jaro-Winkler, 1 is equal).
const NEAR: f64 = 0.75;

/// What is wrong, and at which byte of the file.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) at: usize,
    pub(super) why: String,
}

impl Wrong {
    /// Line and column, from 1.
    pub(super) fn place(&self, text: &str) -> String {
        let before = text.get(..self.at).unwrap_or_default();
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!("line {}, column {column}", before.matches('\n').count() + 1)
    }

    /// The same, of something that is named.
    pub(super) fn of(self, what: &str) -> Self {
        Self { at: self.at, why: format!("{what}: {}", self.why) }
    }
}

/// A table, and where it was opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'t> {
    at: usize,
    table: &'t DeTable<'t>,
}

/// A value, and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'t> {
    /// The key that has it, for messages.
    key: &'t str,
    value: &'t Spanned<DeValue<'t>>,
}

/// Reads a whole file and hands it to `read`.
pub(super) fn document<T>(text: &str, read: impl FnOnce(Table<'_>) -> Result<T, Wrong>) -> Result<T, Wrong> {
    let parsed = DeTable::parse(text).map_err(|error| {
        let why = error.message().lines().map(str::trim).collect::<Vec<_>>().join("; ");
        Wrong { at: error.span().map_or(0, |span| span.start), why }
    })?;
    read(Table { at: 0, table: parsed.get_ref() })
}

impl<'t> Table<'t> {
    /// An error about the table.
    pub(super) fn wrong(&self, why: impl Into<String>) -> Wrong {
        Wrong { at: self.at, why: why.into() }
    }

    /// Whether it has no other keys than these.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Wrong> {
        let Some((at, key)) = self.keys().find(|(_, key)| !known.contains(key)) else { return Ok(()) };
        let meant = known
            .iter()
            .map(|known| (strsim::jaro_winkler(key, known), known))
            .filter(|(likeness, _)| *likeness >= NEAR)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let why = match meant {
            Some((_, meant)) => format!("unknown key {key:?}; did you mean {meant:?}?"),
            None => format!("unknown key {key:?}; known are {}", known.join(", ")),
        };
        Err(Wrong { at, why })
    }

    /// The value of a key, if it is there.
    pub(super) fn get(&self, key: &'static str) -> Option<Value<'t>> {
        self.table.get(key).map(|value| Value { key, value })
    }

    /// All keys and values, in the order of the file.
    pub(super) fn all(&self) -> Vec<(&'t str, Value<'t>)> {
        let mut all: Vec<_> = self.table.iter().collect();
        all.sort_by_key(|(key, _)| key.span().start);
        all.into_iter().map(|(key, value)| (&**key.get_ref(), Value { key: key.get_ref(), value })).collect()
    }

    fn keys(&self) -> impl Iterator<Item = (usize, &'t str)> + use<'t> {
        self.table.keys().map(|key| (key.span().start, &**key.get_ref()))
    }
}

impl<'t> Value<'t> {
    /// An error about the value.
    pub(super) fn wrong(&self, why: impl Into<String>) -> Wrong {
        Wrong { at: self.span().start, why: why.into() }
    }

    fn span(&self) -> Range<usize> {
        self.value.span()
    }

    fn not(&self, wanted: &str) -> Wrong {
        self.wrong(format!("{} must be {wanted}, not a TOML {}", self.key, self.value.get_ref().type_str()))
    }

    /// A text.
    pub(super) fn string(&self) -> Result<&'t str, Wrong> {
        self.value.get_ref().as_str().ok_or_else(|| self.not("a text in quotes"))
    }

    /// A text, read by `read`.
    pub(super) fn parse<T>(&self, read: impl FnOnce(&str) -> Result<T, String>) -> Result<T, Wrong> {
        read(self.string()?).map_err(|why| self.wrong(format!("{}: {why}", self.key)))
    }

    /// A whole number between two others.
    pub(super) fn integer(&self, range: std::ops::RangeInclusive<i64>) -> Result<i64, Wrong> {
        let number = self.value.get_ref().as_integer().ok_or_else(|| self.not("a whole number"))?;
        let parsed = i64::from_str_radix(number.as_str(), number.radix()).ok();
        parsed.filter(|number| range.contains(number)).ok_or_else(|| {
            self.wrong(format!("{} = {number} must be from {} to {}", self.key, range.start(), range.end()))
        })
    }

    /// True or false.
    pub(super) fn boolean(&self) -> Result<bool, Wrong> {
        self.value.get_ref().as_bool().ok_or_else(|| self.not("true or false"))
    }

    /// A list.
    pub(super) fn list(&self) -> Result<Vec<Self>, Wrong> {
        let list = self.value.get_ref().as_array().ok_or_else(|| self.not("a list, [\"…\", \"…\"]"))?;
        Ok(list.iter().map(|value| Self { key: self.key, value }).collect())
    }

    /// A table.
    pub(super) fn table(&self) -> Result<Table<'t>, Wrong> {
        let table = self.value.get_ref().as_table().ok_or_else(|| self.not("a table, { … = … }"))?;
        Ok(Table { at: self.span().start, table })
    }
}
