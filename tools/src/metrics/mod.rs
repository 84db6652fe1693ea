//! `railbus metrics`: the observer's view, for Prometheus and for a browser.
//!
//! One thread looks at the channels ([`crate::observe`]) at each interval. The server ([`server`])
//! returns the last look, as OpenMetrics text ([`openmetrics`]) and as JSON for the page. The page
//! is `page.html` alone: no other file, no other host. Nobody can change anything through it. It
//! listens on loopback by default.

mod openmetrics;
mod peer;
mod server;

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use peer::Rules;
use railbus::Error;

use crate::failure::{Failure, Outcome, note};
use crate::observe::{Sampled, Sampler, Wanted};
use crate::output::print;
use crate::units::parse_time;
use crate::{interrupt, open};

const EXAMPLES: &str = "\
Examples:
  railbus metrics                                  http://127.0.0.1:9464/ and /metrics
  railbus metrics demo --listen 127.0.0.1:9500
  railbus metrics --listen '[::1]:0'               a free port; it is printed
  curl -s http://127.0.0.1:9464/metrics | grep railbus_depth
  railbus metrics --token-file /etc/railbus/token  another user's Prometheus, with `authorization: credentials_file`

/ is a page with live charts, /metrics OpenMetrics text for Prometheus, /stat.json what `railbus stat --json` \
prints. Ends with exit code 0 at SIGINT or SIGTERM. Your own processes and root's, on this host, see every channel; \
others see those that every user may read (mode 644 and more), or all with the token of --token-file. An address that \
is not loopback causes a warning.";

/// Serve metrics for Prometheus, and a page with live charts
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MetricsArgs {
    /// Buses and channels, as BUS or BUS/CHANNEL [default: all]
    wanted: Vec<Wanted>,
    /// Where to listen, as HOST:PORT
    #[arg(long, default_value = "127.0.0.1:9464", value_name = "ADDRESS")]
    listen: String,
    /// How often to look at the channels
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = parse_time)]
    interval: Duration,
    /// A file with the token that shows every channel to a client that sends it (Authorization:
    /// Bearer, or ?token=)
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A host name that clients may use in requests, besides addresses and localhost; may be given
    /// again
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
}

/// The last look, in the forms that are served.
#[derive(Debug, Default, Clone)]
pub(crate) struct Texts {
    openmetrics: String,
    json: String,
}

/// The last look, for clients who may see everything and for all others.
#[derive(Debug, Default)]
pub(crate) struct Latest {
    all: Texts,
    public: Texts,
}

/// Shared by the thread that looks and the server.
type Shared = Arc<Mutex<Arc<Latest>>>;

/// Serves until SIGINT or SIGTERM.
pub(crate) fn run(args: &MetricsArgs) -> Outcome {
    if args.interval < Duration::from_millis(50) || args.interval > Duration::from_secs(3600) {
        return Err(Failure::usage("--interval: must be 50ms to 1h"));
    }
    let rules = Rules {
        hosts: args.allow_host.iter().map(|host| host.to_ascii_lowercase()).collect(),
        token: args.token_file.as_deref().map(read_token).transpose()?,
    };
    let base = open::base_to_look_at()?;
    let (listener, address) = listen(&args.listen)?;
    let mut sampler = Sampler::new(&base, &args.wanted);
    let shared: Shared = Arc::default();
    show(&shared, sampler.sample_what_is_there()?)?;
    interrupt::catch();
    if !address.ip().is_loopback() {
        note(&format!(
            "{address} is not loopback: everybody who can reach it can read the names and rates of all channels that every \
             user may read, and with the token of all"
        ));
    }
    print(&format!("http://{address}/ and http://{address}/metrics\n"))?;
    let interval = args.interval;
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut next = Instant::now();
            loop {
                next = (next + interval).max(Instant::now());
                if !interrupt::sleep_until(next) {
                    return Ok(());
                }
                show(&shared, sampler.sample_what_is_there()?)?;
            }
        });
        let served = server::serve(listener, &shared, rules, || looking.is_finished());
        // Either thread ends when both are asked to finish; a failure to look ends the server, too.
        interrupt::ask();
        let looked =
            looking.join().map_err(|_| Failure::new("the thread that looks at the channels has failed"))?;
        served.and(looked)
    })
}

/// Opens the address.
fn listen(text: &str) -> Result<(TcpListener, SocketAddr), Failure> {
    let addresses = text.to_socket_addrs().map_err(|error| {
        Failure::usage(format!(
            "--listen {text:?}: {error}; expected HOST:PORT, such as 127.0.0.1:9464 or [::1]:9464"
        ))
    })?;
    let addresses: Vec<SocketAddr> = addresses.collect();
    let listener = TcpListener::bind(&addresses[..]).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Failure::new(format!(
            "--listen {text}: something else listens there; choose another port, or 0 for a free one"
        )),
        std::io::ErrorKind::AddrNotAvailable => Failure::usage(format!(
            "--listen {text}: this host has no such address; `ip addr` lists those it has"
        )),
        _ => Error::io("listen on", text, error).into(),
    })?;
    let address = listener.local_addr().map_err(|error| Error::io("examine", text, error))?;
    Ok((listener, address))
}

fn show(shared: &Shared, mut sampled: Sampled) -> Outcome {
    let texts = |sampled: &Sampled| -> Result<Texts, Failure> {
        let json = serde_json::to_string(&sampled.channels);
        let json = json.map_err(|error| Failure::new(format!("JSON: {error}")))?;
        Ok(Texts { openmetrics: openmetrics::text(sampled), json })
    };
    let all = texts(&sampled)?;
    // It is not known whether everybody may read a channel that cannot be looked at.
    sampled.failed.clear();
    sampled.channels.retain(|channel| channel.is_public);
    let public = texts(&sampled)?;
    *shared.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(Latest { all, public });
    Ok(())
}

/// Reads the token that lets a client see every channel.
fn read_token(path: &std::path::Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
    let token = text.trim();
    if token.len() < 16
        || token.contains(|character: char| character.is_whitespace() || "&#+%".contains(character))
    {
        return Err(Failure::usage(format!(
            "--token-file {}: a token has at least 16 characters, without spaces and `&#+%`; \
             `openssl rand -hex 16` makes one",
            path.display()
        )));
    }
    Ok(token.to_owned())
}
