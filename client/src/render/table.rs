//! Tables without lines: a head, columns two spaces apart, wrapped to the terminal's width.

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};

use super::Look;

/// Terminals narrower than this have one space between columns instead of two.
const NARROW: u16 = 80;
/// Words up to this long are not broken as long as the terminal has room for that.
const WORD: usize = 12;
/// The last column may become as narrow as this for the sake of the others.
const LAST: u16 = 6;

/// A table as lines, without spaces at their ends. Cells are safe to print already.
pub(super) fn table(head: &[&str], rows: Vec<Vec<String>>, look: &Look) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(head.to_vec());
    let words = longest_words(head, &rows);
    table.add_rows(rows);
    let padding = if look.width.is_some_and(|width| width < NARROW) { 1 } else { 2 };
    let last = words.len().saturating_sub(1);
    for (i, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if i == last { 0 } else { padding }));
    }
    match look.width {
        Some(width) => {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
            let mut least: Vec<u16> =
                words.iter().map(|w| u16::try_from(*w).unwrap_or(u16::MAX).saturating_add(padding)).collect();
            // The last column is what people say: where there is too little room, its words are broken, and no others.
            if let Some((last, others)) = least.split_last_mut() {
                let rest = width.saturating_sub(others.iter().fold(0_u16, |sum, w| sum.saturating_add(*w)));
                *last = last.saturating_sub(padding).min(rest.max(LAST));
            }
            if least.iter().fold(0_u16, |sum, w| sum.saturating_add(*w)) <= width {
                let bound = |w: &u16| ColumnConstraint::LowerBoundary(Width::Fixed(*w));
                table.set_constraints(least.iter().map(bound));
            }
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    let mut out = String::new();
    for line in table.lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// The longest word of each column, in characters, at most [`WORD`].
fn longest_words(head: &[&str], rows: &[Vec<String>]) -> Vec<usize> {
    let longest =
        |text: &str| text.split_whitespace().map(|w| w.chars().count().min(WORD)).max().unwrap_or(0);
    head.iter()
        .enumerate()
        .map(|(i, name)| {
            rows.iter().filter_map(|row| row.get(i)).map(|cell| longest(cell)).fold(longest(name), usize::max)
        })
        .collect()
}
