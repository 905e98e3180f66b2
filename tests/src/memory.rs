//! Looking for bytes in the memory of a running process: `/proc/PID/maps` and `/proc/PID/mem`, see proc(5).
//!
//! All that the process can write is searched: heap, stacks, data of the program. Needs to be root, or the
//! process's owner.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
};

/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// How often each of `needles` is in the memory of the process, and how many bytes were searched.
///
/// # Errors
/// When the process is gone, or belongs to somebody else.
pub fn search(pid: u32, needles: &[Vec<u8>]) -> io::Result<(Vec<usize>, u64)> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let longest = needles.iter().map(Vec::len).max().unwrap_or(0);
    let (mut counts, mut searched) = (vec![0; needles.len()], 0);
    let mut buffer = vec![0; CHUNK];
    for (start, end) in maps.lines().filter_map(writable) {
        let mut at = start;
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            // A page may go while the process runs.
            let Ok(read @ 1..) = memory.read_at(&mut buffer[..wanted], at) else { break };
            // What lies across two chunks is found in the second, which begins early enough. What lies wholly in
            // the part that is read twice is counted twice: none and some are all that matters.
            for (count, needle) in counts.iter_mut().zip(needles) {
                *count += occurrences(&buffer[..read], needle);
            }
            searched += read as u64;
            let done = at + read as u64 >= end || read <= longest;
            at += if done { read } else { read - longest } as u64;
        }
    }
    Ok((counts, searched))
}

/// Start and end of a mapping that the process may read and write.
fn writable(line: &str) -> Option<(u64, u64)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let number = |hex| u64::from_str_radix(hex, 16).ok();
    rest.starts_with("rw").then_some((number(start)?, number(end)?))
}

fn occurrences(hay: &[u8], needle: &[u8]) -> usize {
    let Some(first) = needle.first() else { return 0 };
    let (mut found, mut at) = (0, 0);
    while let Some(next) = hay[at..].iter().position(|byte| byte == first) {
        at += next;
        found += usize::from(hay[at..].starts_with(needle));
        at += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_where_they_are_and_nowhere_else() {
        // Put together here, so that the whole of it is in memory only because of this line.
        let held: Vec<u8> = (0..32_u8).map(|n| n.wrapping_mul(37).wrapping_add(91)).collect();
        let absent: Vec<u8> = b"a text that nobody ever has".iter().map(|byte| byte ^ 0x5a).collect();
        let reversed: Vec<u8> = absent.iter().rev().copied().collect();
        drop(absent);
        let (counts, searched) = search(std::process::id(), &[held.clone(), reversed.clone()]).unwrap();
        assert!(counts[0] > 0 && searched > 0, "{counts:?} of {searched}");
        // The search itself holds what it looks for.
        assert!(counts[1] > 0, "{counts:?}");
        assert_eq!(occurrences(b"aabaab", b"ab"), 2);
        assert_eq!(occurrences(b"aab", b"abc"), 0);
    }
}
