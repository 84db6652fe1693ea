//! `railbus metrics`: what the observer sees, for Prometheus and for a browser.
//!
//! One thread looks at the channels ([`crate::observe`]) at each interval; the server ([`server`]) hands out what was seen
//! last, as OpenMetrics text ([`openmetrics`]) and as JSON for the page (`page.html`, which is all there is to it: no
//! other file, no other host). Nobody can change anything through it. It listens on loopback unless told otherwise.

mod openmetrics;
mod server;

use crate::failure::{Failure, Outcome, note};
use crate::interrupt;
use crate::observe::{Sampled, Sampler, Wanted};
use crate::open;
use crate::output::print;
use crate::units::parse_time;
use railbus::Error;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
Examples:
  railbus metrics                                  http://127.0.0.1:9464/ and /metrics
  railbus metrics demo --listen 127.0.0.1:9500
  railbus metrics --listen '[::1]:0'               a free port; it is printed
  curl -s http://127.0.0.1:9464/metrics | grep railbus_depth

/ is a page with live charts, /metrics OpenMetrics text for Prometheus, /stat.json what `railbus stat --json` \
prints. Ends with exit code 0 at SIGINT or SIGTERM. Whoever can reach the address can read it: an address that is \
not loopback is told aloud.";

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
}

/// What was seen last, as it is handed out.
#[derive(Debug, Default)]
pub(crate) struct Latest {
    openmetrics: String,
    json: String,
}

/// Shared by the thread that looks and the server.
type Shared = Arc<Mutex<Arc<Latest>>>;

/// Serves until SIGINT or SIGTERM.
pub(crate) fn run(args: &MetricsArgs) -> Outcome {
    if args.interval < Duration::from_millis(50) || args.interval > Duration::from_secs(3600) {
        return Err(Failure::usage("--interval: must be 50ms to 1h"));
    }
    let base = open::base()?;
    let (listener, address) = listen(&args.listen)?;
    let mut sampler = Sampler::new(&base, &args.wanted);
    let shared: Shared = Arc::default();
    show(&shared, sampler.sample_what_is_there()?)?;
    interrupt::catch();
    if !address.ip().is_loopback() {
        note(&format!(
            "{address} is not loopback: whoever can reach it can read the names and rates of all channels"
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
        let served = server::serve(listener, &shared, || looking.is_finished());
        // Either ends when somebody asks both to; a failure to look ends the server, too.
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

fn show(shared: &Shared, sampled: Sampled) -> Outcome {
    let json =
        serde_json::to_string(&sampled.channels).map_err(|error| Failure::new(format!("JSON: {error}")))?;
    let openmetrics = openmetrics::text(&sampled);
    *shared.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(Latest { openmetrics, json });
    Ok(())
}
