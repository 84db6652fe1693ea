//! `railbus call`: sends a request to a service, and prints the reply.

use std::io::{IsTerminal, Read, stdout};
use std::time::Duration;

use railbus::{CallError, CallOptions, ChannelName, ClientOptions, Error, TraceContext};

use crate::failure::{Failure, Outcome};
use crate::open::{self, OwnerArgs};
use crate::output::EventOutput;
use crate::units::parse_time;

const EXAMPLES: &str = "\
Examples:
  railbus call demo/calc < request > reply
  railbus call demo/calc '2 + 2' --timeout 1s
  railbus call demo/calc < request --wait-server 10s      waits for a server to come
  railbus call demo/story 'a dragon' --parts              prints each part of the reply as it comes

Exit code 1: the server says that the request has failed; 3: nobody serves it; 7: the server died, and the \
service is at most once; 8: the time is over.";

/// Send a request to a service, and print the reply
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CallArgs {
    /// The service, as BUS/CHANNEL
    channel: ChannelName,
    /// The request [default: all of standard input]
    #[arg(allow_hyphen_values = true)]
    request: Option<String>,
    /// How long the call may take; the server gets to know it [default: without end]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    timeout: Option<Duration>,
    /// If there is no server, wait for one, at most this long [default: not at all]
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "0", hide_default_value = true)]
    wait_server: Duration,
    /// Print each part of the reply as it comes
    #[arg(long)]
    parts: bool,
    /// The trace context that the server gets, as in a traceparent header
    #[arg(long, value_name = "CONTEXT")]
    traceparent: Option<TraceContext>,
    /// A name for observers
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    #[command(flatten)]
    owner: OwnerArgs,
}

/// Calls.
pub(crate) fn run(args: &CallArgs) -> Outcome {
    let request = match &args.request {
        Some(request) => request.as_bytes().to_vec(),
        None => from_standard_input()?,
    };
    let failed = |error| call_failed(&args.channel, error);
    let channel = open::channel_of(&args.channel, args.owner)?;
    let options = ClientOptions::default().name(args.name.as_str()).patience(args.wait_server);
    let mut client = channel.client(&options)?;
    let options = CallOptions::default().timeout(args.timeout).trace(args.traceparent);
    let mut output = EventOutput::new();
    if args.parts {
        let call = client.start(&request, &options).map_err(failed)?;
        while let Some(part) = client.next_part(call).map_err(failed)? {
            output.append(&part)?;
            output.flush()?;
        }
    } else {
        output.append(&client.call_with(&request, &options).map_err(failed)?)?;
    }
    if stdout().is_terminal() {
        output.append(b"\n")?;
    }
    output.flush()
}

fn from_standard_input() -> Result<Vec<u8>, Error> {
    let mut request = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut request);
    read.map_err(|error| Error::io("read", "standard input", error))?;
    Ok(request)
}

/// How a call of `channel` has ended without a reply.
fn call_failed(channel: &ChannelName, error: CallError) -> Failure {
    let text = match &error {
        CallError::NoServer => {
            format!("{channel}: nobody serves it; start `railbus serve {channel}`, or use --wait-server")
        }
        error => format!("{channel}: {error}"),
    };
    Failure::Told { text, code: Error::from(error).exit_code() }
}
