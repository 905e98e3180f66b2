//! Golden vectors: the bytes of every message, record body, facet value and number that crosses a wire or
//! a disk, byte for byte, both ways.
//!
//! `vectors.txt` holds one vector per line: its name and its bytes in hexadecimal. A change there is a
//! change of the protocol: what was released stays as it is for ever, and a new form is a new version
//! with vectors of its own. After a deliberate change (a new vector, or one of a form that was not
//! released yet) `UPDATE_GOLDEN=1 cargo test -p secmon-protocol --test golden` writes the file anew; read
//! its diff before it is committed.
//!
//! A new variant of an enum does not compile until it stands in `variants.rs`, and then fails
//! `every_variant_has_a_vector` until it has a vector.

mod case;
mod client;
mod facets;
mod file;
mod join;
mod node;
mod numbers;
mod records;
mod runner;
#[path = "../common/samples.rs"]
mod samples;
#[path = "../common/variants.rs"]
mod variants;

use std::collections::BTreeSet;

use case::Cases;

fn cases() -> Cases {
    let mut cases = Cases::default();
    numbers::add(&mut cases);
    node::add(&mut cases);
    runner::add(&mut cases);
    join::add(&mut cases);
    client::add(&mut cases);
    records::add(&mut cases);
    facets::add(&mut cases);
    cases
}

#[test]
fn every_value_has_the_bytes_of_its_vector() {
    let cases = cases();
    let vectors = file::load(&cases);
    for case in &cases.all {
        let Some(bytes) = vectors.get(&case.name) else {
            panic!("{} has no vector; it would be {}", case.name, file::hex(&case.bytes));
        };
        assert_eq!(file::hex(&case.bytes), file::hex(bytes), "{} has changed", case.name);
    }
}

#[test]
fn every_vector_reads_as_its_value() {
    let cases = cases();
    let vectors = file::load(&cases);
    for case in &cases.all {
        let bytes = vectors.get(&case.name).expect("every value has a vector");
        (case.check)(bytes).unwrap_or_else(|wrong| panic!("{}: {wrong}", case.name));
    }
}

#[test]
fn no_vector_is_without_a_value() {
    let cases = cases();
    let names: BTreeSet<&str> = cases.all.iter().map(|case| &*case.name).collect();
    assert_eq!(names.len(), cases.all.len(), "two values have the same name");
    let vectors = file::load(&cases);
    let orphans: Vec<&String> = vectors.keys().filter(|name| !names.contains(name.as_str())).collect();
    assert_eq!(orphans, Vec::<&String>::new());
}

#[test]
fn every_variant_has_a_vector() {
    let missing = cases().missing;
    assert_eq!(missing, Vec::<String>::new());
}
