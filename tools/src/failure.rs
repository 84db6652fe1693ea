//! How a command fails: one line on stderr, and one of the program's stable exit codes.

use std::io::{self, ErrorKind};

use railbus::{ChannelName, Error, RecvError, SendError};

/// The result of a command.
pub(crate) type Outcome = Result<(), Failure>;

/// Why a command ends.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// The reader of the output has closed it: this is no error, and nothing is printed.
    Closed,
    /// An error to be reported.
    Told {
        /// The operation, the object, the reason, and how to correct it.
        text: String,
        /// The exit code; see [`EXIT_CODES`].
        code: u8,
    },
}

/// The part of the help that lists the exit codes.
pub(crate) const EXIT_CODES: &str = "\
Exit codes: 0 fine, 1 failed, 2 usage, 3 not found, 4 not allowed, 5 corrupt or wrong layout, 6 no space \
or memory, 7 peer gone, 8 timed out, 9 somebody is stuck (watch --once), 10 an unfinished event with that \
unique key exists (pub --unique).";

impl Failure {
    /// A failure of the general kind: exit code 1.
    pub(crate) fn new(text: impl Into<String>) -> Failure {
        Failure::Told { text: text.into(), code: 1 }
    }

    /// The arguments do not fit each other or the channel: exit code 2.
    pub(crate) fn usage(text: impl Into<String>) -> Failure {
        Failure::Told { text: text.into(), code: 2 }
    }

    /// The text.
    pub(crate) fn text(&self) -> &str {
        match self {
            Failure::Closed => "",
            Failure::Told { text, .. } => text,
        }
    }

    /// Prints the failure and returns the exit code.
    pub(crate) fn tell(&self) -> u8 {
        match self {
            Failure::Closed => 0,
            Failure::Told { text, code } => {
                say(text);
                *code
            }
        }
    }
}

/// Prints a line on stderr, under the program's name; with colours only if the terminal and
/// NO_COLOR allow them.
pub(crate) fn say(text: &str) {
    let style = anstyle::AnsiColor::Red.on_default().bold();
    anstream::eprintln!("{style}railbus:{style:#} {text}");
}

/// The same for a line that is no error.
pub(crate) fn note(text: &str) {
    let style = anstyle::AnsiColor::Yellow.on_default();
    anstream::eprintln!("{style}railbus:{style:#} {text}");
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Told { text: error.to_string(), code: error.exit_code() }
    }
}

/// Why nothing was published to `channel`. The hot path's errors name the reason in one phrase, not
/// the object; [`Error`] knows the exit code.
pub(crate) fn send_failed(channel: &ChannelName, error: SendError) -> Failure {
    let text = match error {
        SendError::Evicted => evicted("publisher", channel),
        SendError::Corrupt(why) => corrupt(channel, why),
        error => format!("{channel}: {error}"),
    };
    Failure::Told { text, code: Error::from(error).exit_code() }
}

/// Why no event comes from `channel`.
pub(crate) fn receive_failed(channel: &ChannelName, error: RecvError) -> Failure {
    let text = match error {
        RecvError::Evicted => evicted("consumer", channel),
        RecvError::Corrupt(why) => corrupt(channel, why),
        error => format!("{channel}: {error}"),
    };
    Failure::Told { text, code: Error::from(error).exit_code() }
}

fn evicted(who: &str, channel: &ChannelName) -> String {
    format!(
        "this {who} of {channel} was evicted, by an operator or because it held others up; start it again"
    )
}

fn corrupt(channel: &ChannelName, why: &str) -> String {
    format!("{channel} is corrupt: {why}; remove it with `railbus rm {channel}`, and create it again")
}

/// A failed write to standard output.
pub(crate) fn output_failed(error: io::Error) -> Failure {
    match (error.kind(), error.raw_os_error()) {
        (ErrorKind::BrokenPipe, _) => Failure::Closed,
        // Events are written as they lie in the ring, and the kernel reads them.
        (_, Some(libc::EFAULT)) => {
            let why = "it was truncated while this process wrote its events out; remove the channel, and create it again";
            Error::corrupt("a file of the channel", why).into()
        }
        _ => Error::io("write to", "standard output", error).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_hot_path_says_is_told_with_the_channel_and_what_to_do() {
        let channel: ChannelName = "demo/ticks".parse().expect("a name");
        for (failure, code, words) in [
            (
                send_failed(&channel, SendError::Evicted),
                7,
                ["publisher of demo/ticks was evicted", "start it again"],
            ),
            (
                receive_failed(&channel, RecvError::Evicted),
                7,
                ["consumer of demo/ticks was evicted", "start it again"],
            ),
            (
                send_failed(&channel, SendError::Corrupt("x")),
                5,
                ["demo/ticks is corrupt: x", "railbus rm demo/ticks"],
            ),
            (
                receive_failed(&channel, RecvError::Corrupt("x")),
                5,
                ["is corrupt: x", "railbus rm demo/ticks"],
            ),
            (
                send_failed(&channel, SendError::TooLong { bytes: 9, max: 8 }),
                2,
                ["demo/ticks: the event has 9", "--slot-bytes"],
            ),
            (receive_failed(&channel, RecvError::TimedOut), 8, ["demo/ticks: timed out", "an event"]),
        ] {
            let Failure::Told { text, code: found } = failure else { panic!("{words:?}") };
            assert!(found == code && words.iter().all(|word| text.contains(word)), "{found} {text}");
        }
    }
}
