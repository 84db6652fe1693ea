//! A stream in an epoll loop, beside another descriptor: a [`Bridge`] has an eventfd that becomes readable
//! when there is something to receive.
//!
//! Run it with `cargo run --example epoll_bridge`. The program starts itself again as a publisher. The loop
//! waits for its events and for the end of its output.

use std::os::fd::AsFd;
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use railbus::{Bridge, Bus, ChannelOptions, Kind, Result, SendOptions, SubscribeOptions, Subscriber};

/// The numbers by which epoll reports the bridge, and the output of the second process.
const BRIDGE: u64 = 1;
const OUTPUT: u64 = 2;

fn main() -> Result<()> {
    if let Some(base) = std::env::args_os().nth(1) {
        return publish(Path::new(&base));
    }
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let ticks = Bus::at(base.path(), "demo")?.create("ticks", &ChannelOptions::new(Kind::Stream))?;
    let mut subscriber = ticks.subscriber(&SubscribeOptions::default())?;
    let bridge = Bridge::new(&ticks)?;

    let this_program = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new(this_program);
    let mut publisher = command.arg(base.path()).stdout(Stdio::piped()).spawn().expect("a second process");
    let output = publisher.stdout.take().expect("its output");

    let wake_ups = receive_until_closed(&mut subscriber, &bridge, output);
    publisher.wait().expect("the second process ends");
    println!("{} events in an epoll loop", subscriber.events());
    assert!(subscriber.events() == 5 && wake_ups? > 0);
    Ok(())
}

/// Receives in an epoll loop until the second process has closed its output. Returns how often the bridge
/// was readable.
fn receive_until_closed(subscriber: &mut Subscriber, bridge: &Bridge, output: ChildStdout) -> Result<u32> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("an epoll descriptor");
    epoll.add(bridge, EpollEvent::new(EpollFlags::EPOLLIN, BRIDGE)).expect("the bridge is waited for");
    epoll.add(output.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, OUTPUT)).expect("so is the output");

    let mut has_ended = false;
    let mut wake_ups = 0;
    while !has_ended {
        receive_all(subscriber)?;
        // Armed after the last empty poll: an event that came in between makes the bridge readable at once.
        bridge.arm(subscriber.watch());
        let mut ready = [EpollEvent::empty(); 2];
        let count = epoll.wait(&mut ready, EpollTimeout::NONE).expect("epoll waits");
        for event in &ready[..count] {
            match event.data() {
                BRIDGE => {
                    wake_ups += 1;
                    bridge.drain();
                }
                _ => has_ended = true, // the second process has closed its output
            }
        }
    }
    receive_all(subscriber)?; // what it published last
    Ok(wake_ups)
}

fn receive_all(subscriber: &mut Subscriber) -> Result<()> {
    while let Some(event) = subscriber.try_recv()? {
        println!("{}", String::from_utf8_lossy(event.payload()));
    }
    Ok(())
}

/// The second process.
fn publish(base: &Path) -> Result<()> {
    let ticks = Bus::at(base, "demo")?.attach("ticks")?;
    let mut publisher = ticks.publisher(&SendOptions::default())?;
    for number in 1..=5 {
        std::thread::sleep(Duration::from_millis(20));
        publisher.publish(format!("tick {number}").as_bytes())?;
    }
    Ok(())
}
