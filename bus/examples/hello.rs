//! Two processes and a stream: one publishes, the other receives until the publisher has left.
//!
//! Run it with `cargo run --example hello`. The program starts itself again as the publisher.

use std::path::Path;
use std::process::Command;

use railbus::{Bus, ChannelOptions, Kind, RecvError, Result, SendOptions, SubscribeOptions};

fn main() -> Result<()> {
    if let Some(base) = std::env::args_os().nth(1) {
        return publish(Path::new(&base));
    }
    // A program of yours calls `Bus::open("demo")`, which needs no directory. This one leaves nothing behind.
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let greetings = Bus::at(base.path(), "demo")?.create("greetings", &ChannelOptions::new(Kind::Stream))?;
    let options = SubscribeOptions::default().until_closed(true);
    let mut subscriber = greetings.subscriber(&options)?;

    let this_program = std::env::current_exe().expect("the path of this program");
    let mut publisher = Command::new(this_program).arg(base.path()).spawn().expect("a second process");
    let end = loop {
        match subscriber.recv() {
            Ok(event) => {
                println!("{} at position {}", String::from_utf8_lossy(event.payload()), event.position());
            }
            Err(error) => break error,
        }
    };
    let status = publisher.wait().expect("the second process ends");
    assert_eq!(end, RecvError::Closed);
    println!("{} events, and the publisher has left", subscriber.events());
    assert!(status.success());
    Ok(())
}

/// The second process.
fn publish(base: &Path) -> Result<()> {
    let greetings = Bus::at(base, "demo")?.attach("greetings")?;
    let mut publisher = greetings.publisher(&SendOptions::default())?;
    publisher.publish(b"hello")?;
    publisher.publish(format!("from process {}", std::process::id()).as_bytes())?;
    Ok(())
}
