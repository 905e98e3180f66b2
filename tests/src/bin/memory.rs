//! `memory PID HEX…`: how often each of these byte strings is in the memory of a process, one number per line, and
//! last how many bytes were searched. For where the tests themselves cannot look: inside a virtual machine.

use anyhow::Context as _;
use secmon_testkit::memory;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let pid = args.next().context("usage: memory PID HEX…")?.parse()?;
    let needles = args.map(|hex| bytes(&hex)).collect::<anyhow::Result<Vec<_>>>()?;
    let (counts, searched) = memory::search(pid, &needles).context("cannot search the process")?;
    counts.iter().for_each(|count| println!("{count}"));
    println!("{searched}");
    Ok(())
}

fn bytes(hex: &str) -> anyhow::Result<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?));
    pairs.collect()
}
