//! How a command ended on many nodes.

use secmon_protocol::text::printable;

use super::{Look, table::table, units::took};

/// So many nodes on which all went well are shown by name; of more, only their number is.
const WELL_SHOWN: usize = 20;

/// How it ended on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Went {
    /// It exited with another code than 0, or was not to be run.
    Badly,
    /// It was not tried.
    Not,
    /// It exited with 0.
    Well,
}

/// One node in a summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryRow {
    /// Its name.
    pub node: String,
    /// How.
    pub went: Went,
    /// How, in words.
    pub words: String,
    /// How long it took, in nanoseconds; none where nothing ran.
    pub took: Option<i64>,
}

/// A table, failures first, and a line below it.
#[must_use]
pub fn summary(rows: &[SummaryRow], look: &Look) -> String {
    let count = |went| rows.iter().filter(|row| row.went == went).count();
    let (badly, not, well) = (count(Went::Badly), count(Went::Not), count(Went::Well));
    let mut shown: Vec<&SummaryRow> =
        rows.iter().filter(|row| row.went != Went::Well || well <= WELL_SHOWN).collect();
    shown.sort_by(|a, b| (a.went, &a.node).cmp(&(b.went, &b.node)));
    let cells = shown
        .iter()
        .map(|row| {
            let took = row.took.map_or_else(|| "-".to_owned(), took);
            vec![printable(&row.node), took, printable(&row.words)]
        })
        .collect();
    let mut out = String::new();
    if !shown.is_empty() {
        let text = table(&["NODE", "TIME", "RESULT"], cells, look);
        // A cell with colour in it would be measured wrongly; so lines are coloured, and only if none was wrapped.
        let whole = text.lines().count() == shown.len() + 1;
        for (at, line) in text.lines().enumerate() {
            let bad =
                whole && at.checked_sub(1).and_then(|i| shown.get(i)).is_some_and(|r| r.went == Went::Badly);
            out.push_str(&if bad { look.bad(line) } else { line.to_owned() });
            out.push('\n');
        }
    }
    let s = if rows.len() == 1 { "" } else { "s" };
    let mut parts = vec![];
    if badly > 0 {
        parts.push(look.bad(&format!("{badly} failed")));
    }
    if not > 0 {
        parts.push(look.warn(&format!("{not} not run")));
    }
    parts.push(format!("{well} exited with 0"));
    out.push_str(&format!("{} node{s}: {}\n", rows.len(), parts.join(", ")));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(node: &str, went: Went, words: &str, took: Option<i64>) -> SummaryRow {
        SummaryRow { node: node.into(), went, words: words.into(), took }
    }

    #[test]
    fn failures_stand_first() {
        let rows = [
            row("web-1", Went::Well, "exited with 0", Some(120_000_000)),
            row("web-2", Went::Not, "not run", None),
            row("web-3", Went::Badly, "exited with 3", Some(61_000_000_000)),
            row("db\x1b-1", Went::Badly, "the node db-1 is away", Some(0)),
        ];
        insta::assert_snapshot!(summary(&rows, &Look::plain()), @r"
        NODE      TIME   RESULT
        db\x1b-1  0.00s  the node db-1 is away
        web-3     1m 1s  exited with 3
        web-2     -      not run
        web-1     0.12s  exited with 0
        4 nodes: 2 failed, 1 not run, 1 exited with 0
        ");
    }

    #[test]
    fn hundreds_that_went_well_are_a_number() {
        let mut rows: Vec<SummaryRow> =
            (0..500).map(|n| row(&format!("n{n}"), Went::Well, "exited with 0", Some(1))).collect();
        assert_eq!(summary(&rows, &Look::plain()), "500 nodes: 500 exited with 0\n");
        rows[7].went = Went::Badly;
        insta::assert_snapshot!(summary(&rows, &Look::plain()), @"
        NODE  TIME   RESULT
        n7    0.00s  exited with 0
        500 nodes: 1 failed, 499 exited with 0
        ");
    }
}
