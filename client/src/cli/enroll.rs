//! `enroll`: the one line to paste on a new server.

use std::{net::SocketAddr, time::Duration};

use clap::Args;
use jiff::{Span, SpanRelativeTo};
use secmon_protocol::{ids::NodeName, text::printable};
use serde_json::json;

use super::{
    Common, EXIT_CODES, Failure,
    screen::{look, note, now, print, print_json},
};
use crate::render;

const EXAMPLES: &str = "\
Examples:
  secmon enroll web-1
  secmon enroll web-1 --expires 15m
  secmon enroll web-1 --replace      new papers for a server that was set up anew";

/// Arguments of `enroll`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct EnrollArgs {
    /// What the new node shall be called: letters, digits, '.', '_' and '-'
    name: NodeName,
    /// How long the token is good: 15m, 2h, 1d
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = valid)]
    expires: Duration,
    /// Give a known node of that name new papers, and refuse its old ones
    #[arg(long)]
    replace: bool,
    /// Print one JSON object: token, expires, addresses, command
    #[arg(long)]
    json: bool,
}

fn valid(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<Span>().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
    match Duration::try_from(parsed.map_err(|_| "write it as 15m, 2h or 1d".to_owned())?) {
        Ok(duration) if duration >= Duration::from_secs(1) && duration.as_secs() <= u64::from(u32::MAX) => {
            Ok(duration)
        }
        _ => Err("it must be at least one second, and at most 136 years".to_owned()),
    }
}

pub(super) async fn enroll(args: &EnrollArgs, common: &Common) -> Result<u8, Failure> {
    let client = common.connect().await?;
    let made = client.enroll(&args.name, Some(args.expires), args.replace).await?;
    // The hub makes tokens of letters and digits; anything else would not be safe to paste.
    let command = format!("secmon node --join {}", printable(&made.token.0));
    if args.json {
        print_json([json!({
            "token": made.token.0,
            "expires": made.expires.rfc3339(),
            "addresses": made.addresses,
            "command": command,
        })])?;
        return Ok(0);
    }
    let addresses: Vec<String> = made.addresses.iter().map(|a| printable(a)).collect();
    let left = made.expires.0.saturating_sub(now().0);
    note(&format!("Paste this on {} (as root, to see everything):", args.name));
    print(&format!("{command}\n"))?;
    note(&format!(
        "It works once, until {} ({} from now), and leads to {}.",
        local(made.expires),
        // A hub rounds down to seconds, and the way here took a moment: an hour shall read as one.
        render::duration(left.saturating_add(1_000_000_000)),
        if addresses.is_empty() { "no address: set hub.advertise".to_owned() } else { addresses.join(", ") }
    ));
    if !made.addresses.is_empty() && made.addresses.iter().all(|address| is_loopback(address)) {
        note("Only this machine can reach that; for other servers start the hub with --listen 0.0.0.0:7373.");
    }
    Ok(0)
}

/// Whether `HOST:PORT` is this machine itself.
fn is_loopback(address: &str) -> bool {
    match address.parse::<SocketAddr>() {
        Ok(address) => address.ip().is_loopback(),
        Err(_) => address.starts_with("localhost:"),
    }
}

fn local(at: secmon_protocol::time::UnixNanos) -> String {
    at.timestamp().to_zoned(look().zone).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_leads_nowhere_else_is_known() {
        for address in ["127.0.0.1:7373", "[::1]:7373", "localhost:7373"] {
            assert!(is_loopback(address), "{address}");
        }
        for address in ["10.0.0.1:7373", "localhost.example.org:7373", "[2001:db8::1]:7373"] {
            assert!(!is_loopback(address), "{address}");
        }
    }

    #[test]
    fn durations_are_written_as_people_write_them() {
        assert_eq!(valid("1h").unwrap(), Duration::from_secs(3600));
        assert_eq!(valid("15m").unwrap(), Duration::from_secs(900));
        assert_eq!(valid("1d").unwrap(), Duration::from_secs(86_400));
        assert_eq!(valid("1h 30m").unwrap(), Duration::from_secs(5400));
        for bad in ["", "x", "0s", "-1h", "10ms", "1000000000h"] {
            assert!(valid(bad).is_err(), "{bad}");
        }
    }
}
