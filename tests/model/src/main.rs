//! Runs many seeds: `cargo run --release -p secmon-model -- --seeds 1000000`.

use std::{
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use clap::Parser;
use secmon_model::{Broken, Tally, run};

/// Plays node, hub and subscriber in virtual time, one run per seed, and says which promises were not kept.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds
    #[arg(long, default_value_t = 1_000_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    first: u64,
}

fn main() -> ExitCode {
    let Arguments { seeds, first } = Arguments::parse();
    let (next, broken) = (AtomicU64::new(first), Mutex::new(None::<Broken>));
    let work = || {
        let mut sum = Tally::default();
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed - first >= seeds || broken.lock().is_ok_and(|broken| broken.is_some()) {
                return sum;
            }
            match run(seed) {
                Ok(tally) => sum += tally,
                Err(error) => {
                    if let Ok(mut broken) = broken.lock() {
                        *broken = Some(error);
                    }
                }
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let sum = thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        all.into_iter().filter_map(|one| one.join().ok()).fold(Tally::default(), |mut sum, one| {
            sum += one;
            sum
        })
    });
    println!("{sum:?}");
    match broken.into_inner() {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(broken)) => {
            eprintln!("{broken}");
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::FAILURE,
    }
}
