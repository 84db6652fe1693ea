//! `railbus serve`: runs a command for each request of a service, and replies with its output.
//!
//! The command runs in a shell. Its standard input is written by a thread, so that a command may write
//! while it reads. If the client does not wait any more, the command is killed.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use railbus::{
    Channel, ChannelName, ChannelOptions, Error, RecvError, ReplyError, Request, Server, ServerOptions,
};

use crate::failure::{Failure, Outcome, note, receive_failed};
use crate::interrupt;
use crate::open::{self, OwnerArgs};
use crate::units::parse_bytes;

const EXAMPLES: &str = "\
Examples:
  railbus serve demo/calc --exec bc --create                      made if it does not exist
  railbus serve demo/upper --exec 'tr a-z A-Z' -j 4               four requests at once
  railbus serve demo/story --exec ./tell --parts                  the client gets the output as it comes
  railbus serve demo/pay --exec ./pay --create --at-most-once     a request is never executed twice

The command gets the request on its standard input, and RAILBUS_POSITION, RAILBUS_ATTEMPT, \
RAILBUS_DEADLINE_MS (if the client has one) and TRACEPARENT (if the request has one) in its environment. Its \
output is the reply. If it fails, the request fails with the command's exit code, or 128 plus its signal. A \
command whose client does not wait any more is killed. Ends with exit code 0 at -n, SIGINT or SIGTERM, after \
the requests that it has.";

/// How often a running command's client is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The most bytes of a part.
const PART_BYTES: usize = 64 << 10;

/// Serve a service: run a command for each request, and reply with its output
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeArgs {
    /// The service, as BUS/CHANNEL
    channel: ChannelName,
    /// The command, which runs in a shell
    #[arg(long, value_name = "CMD")]
    exec: String,
    /// Send the output in parts, as it comes, rather than as a whole
    #[arg(long)]
    parts: bool,
    /// Serve so many requests at once
    #[arg(short, long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=255))]
    jobs: u32,
    /// Stop after so many requests
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// Make the service if it does not exist
    #[arg(long)]
    create: bool,
    /// With --create: a request whose server dies is not given to another one
    #[arg(long, requires = "create")]
    at_most_once: bool,
    /// With --create: bytes of a slot, a power of two; a request has at most 40 less [default: 1KiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, requires = "create")]
    slot_bytes: Option<u64>,
    /// With --create: room for one reply, a power of two [default: 4KiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, requires = "create")]
    reply_bytes: Option<u64>,
    /// A name for observers
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    #[command(flatten)]
    owner: OwnerArgs,
}

/// Serves.
pub(crate) fn run(args: &ServeArgs) -> Outcome {
    let channel = open_service(args)?;
    interrupt::catch();
    let options = ServerOptions::default().name(args.name.as_str());
    // All of them are there before the first request is taken.
    let servers: Result<Vec<Server>, Error> = (0..args.jobs).map(|_| channel.server(&options)).collect();
    let served = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            servers?.into_iter().map(|server| scope.spawn(|| serve(server, args, &served))).collect();
        // A thread that fails ends the others, too.
        let outcomes: Vec<Outcome> =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(panicked()))).collect();
        outcomes.into_iter().collect()
    })
}

fn panicked() -> Failure {
    Failure::new("a server thread has panicked; this is an error of this program")
}

fn open_service(args: &ServeArgs) -> Result<Channel, Failure> {
    if !args.create {
        return Ok(open::channel_of(&args.channel, args.owner)?);
    }
    let mut options = ChannelOptions::service();
    if args.at_most_once {
        options = options.max_attempts(1);
    }
    if let Some(bytes) = args.slot_bytes {
        options = options.slot_bytes(bytes);
    }
    if let Some(bytes) = args.reply_bytes {
        options = options.reply_bytes(bytes);
    }
    Ok(open::bus_for(&args.channel, args.owner)?.create_or_attach(args.channel.channel(), &options)?)
}

/// Serves until there is a reason to end. `begun` counts the requests of all threads.
fn serve(mut server: Server, args: &ServeArgs, begun: &AtomicU64) -> Outcome {
    let most = args.count.unwrap_or(u64::MAX);
    loop {
        // Relaxed: a count, which orders nothing.
        if interrupt::is_asked() || begun.load(Ordering::Relaxed) >= most {
            return Ok(());
        }
        let request = match server.take_timeout(interrupt::LOOK_EVERY) {
            Ok(request) => request,
            Err(RecvError::TimedOut) => continue,
            Err(error) => {
                interrupt::ask();
                return Err(receive_failed(&args.channel, error));
            }
        };
        // One too many is handed back.
        if begun.fetch_add(1, Ordering::Relaxed) >= most {
            continue;
        }
        let position = request.position();
        match execute(request, args) {
            // It finds the eviction again at its next take.
            Ok(Ok(()) | Err(ReplyError::Evicted)) => {}
            Ok(Err(error)) => note(&format!("request {position}: {error}")),
            Err(failure) => {
                interrupt::ask();
                return Err(failure);
            }
        }
    }
}

/// Runs the command for a request, and replies.
fn execute(mut request: Request<'_>, args: &ServeArgs) -> Result<Result<(), ReplyError>, Failure> {
    let failed = |error| Failure::from(Error::io("run a command in", "/bin/sh", error));
    let mut child = start(&request, &args.exec).map_err(failed)?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let bytes = request.to_vec();
    let (ended, reply) = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A command need not read its input.
            input.map(|mut input| input.write_all(&bytes))
        });
        let (parts, reader) = std::sync::mpsc::sync_channel(1);
        scope.spawn(move || {
            let mut output = output;
            let mut buffer = vec![0; PART_BYTES];
            while let Some(output) = &mut output {
                match output.read(&mut buffer) {
                    Ok(bytes @ 1..) if parts.send(buffer[..bytes].to_vec()).is_ok() => {}
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    _ => break,
                }
            }
        });
        collect(&mut request, &mut child, &reader, args.parts)
    });
    let status = child.wait().map_err(failed)?;
    if let Err(error) = ended {
        // The client does not wait; there is nobody to reply to.
        let _ = request.reply(b"");
        return Ok(Err(error));
    }
    Ok(if status.success() {
        request.reply(&reply)
    } else {
        request.fail(code_of(status), &format!("the command ended with {status}"))
    })
}

/// Collects the output of a command, or sends it in parts. A command whose client does not wait any more is
/// killed.
fn collect(
    request: &mut Request<'_>,
    child: &mut Child,
    reader: &std::sync::mpsc::Receiver<Vec<u8>>,
    in_parts: bool,
) -> (Result<(), ReplyError>, Vec<u8>) {
    use std::sync::mpsc::RecvTimeoutError;
    let mut reply = Vec::new();
    loop {
        let sent = match reader.recv_timeout(LOOK_EVERY) {
            Ok(bytes) if in_parts => request.reply_part(&bytes),
            Ok(bytes) => {
                reply.extend(bytes);
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => return (Ok(()), reply),
        };
        let ended = if request.is_cancelled() { sent.and(Err(ReplyError::Cancelled)) } else { sent };
        if ended.is_err() {
            // With the processes that it has started. They may have ended by themselves.
            let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
            // Its reader ends when nobody takes the parts.
            while reader.recv_timeout(LOOK_EVERY).is_ok() {}
            return (ended, reply);
        }
    }
}

fn start(request: &Request<'_>, command: &str) -> std::io::Result<Child> {
    let mut shell = Command::new("/bin/sh");
    match request.trace() {
        Some(trace) => shell.env("TRACEPARENT", trace.to_string()),
        // Our own context would be taken for the request's.
        None => shell.env_remove("TRACEPARENT"),
    };
    match request.deadline() {
        Some(left) => shell.env("RAILBUS_DEADLINE_MS", left.as_millis().to_string()),
        None => shell.env_remove("RAILBUS_DEADLINE_MS"),
    };
    shell
        .args(["-c", command])
        .process_group(0)
        .env("RAILBUS_POSITION", request.position().to_string())
        .env("RAILBUS_ATTEMPT", request.attempt().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
}

/// The code of a command that failed, as a shell has it.
fn code_of(status: ExitStatus) -> u32 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.unwrap_or(1) as u32
}
