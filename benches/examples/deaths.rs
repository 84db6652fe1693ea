//! How long the others stand still when a participant is killed in the middle of a step. Real
//! processes, SIGKILL.
//!
//! `cargo run --release -p railbus-benches --example deaths`: for each case the time from the kill
//! to the survivor's next step, in us: median and maximum of 30 rounds.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use railbus::{Bus, ChannelOptions, Kind, Result, SendOptions, SubscribeOptions, WorkOptions};

const ROUNDS: usize = 30;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [base, role] = arguments.as_slice() {
        return victim(&Bus::at(base, "deaths")?, role);
    }
    let base = format!("/dev/shm/railbus-deaths-{}", std::process::id());
    let outcome = measure(&base);
    // Nothing is attached any more.
    let _ = std::fs::remove_dir_all(&base);
    outcome
}

fn measure(base: &str) -> Result<()> {
    println!("{:<68} {:>9} {:>9}", "from the kill to the survivor's next step, us", "median", "max");
    let bus = Bus::at(base, "deaths")?;
    report("a stream's publisher behind a dead subscriber that held the ring", || {
        // A new ring each time; otherwise events that an earlier round's dead participant held
        // would be passed over first.
        let _ = bus.remove("s");
        let channel = bus.create("s", &ChannelOptions::new(Kind::Stream).capacity_bytes(4096))?;
        let mut publisher = channel.publisher(&SendOptions::default())?;
        let victim = start(base, "subscriber");
        while publisher.try_publish(&[0; 64]).is_ok() {}
        let killed = kill(victim);
        publisher.publish(&[0; 64])?;
        Ok(killed.elapsed())
    })?;
    report("a queue's worker waiting for the event in a dead worker's hands", || {
        let channel = bus.create_or_attach("q", &ChannelOptions::new(Kind::Queue).slots(64))?;
        channel.producer(&SendOptions::default())?.publish(b"job")?;
        let victim = start(base, "worker");
        let mut worker = channel.worker(&WorkOptions::default())?;
        let killed = kill(victim);
        let _ = worker.take()?.done();
        Ok(killed.elapsed())
    })?;
    report("a topic's subscriber behind the ticket of a dead publisher", || {
        let channel = bus.create_or_attach("t", &ChannelOptions::new(Kind::Topic).slots(64))?;
        let mut subscriber = channel.topic_subscriber(&SubscribeOptions::default())?;
        let victim = start(base, "publisher");
        channel.topic_publisher(&SendOptions::default())?.publish(b"next")?;
        let killed = kill(victim);
        let _ = subscriber.recv()?;
        Ok(killed.elapsed())
    })
}

fn report(case: &str, mut round: impl FnMut() -> Result<Duration>) -> Result<()> {
    let mut pauses = (0..ROUNDS).map(|_| round()).collect::<Result<Vec<Duration>>>()?;
    pauses.sort();
    println!("{case:<68} {:>9} {:>9}", pauses[ROUNDS / 2].as_micros(), pauses[ROUNDS - 1].as_micros());
    Ok(())
}

/// Starts a victim and waits until it is in the middle of its step.
fn start(base: &str, role: &str) -> Victim {
    let program = std::env::current_exe().expect("the own program");
    let mut child =
        Command::new(program).args([base, role]).stdout(Stdio::piped()).spawn().expect("a child process");
    let mut line = String::new();
    let out = child.stdout.take().expect("its output");
    BufReader::new(out).read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    Victim(Some(child))
}

/// A child process that does not outlive its round.
struct Victim(Option<Child>);

impl Drop for Victim {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Kills it; the time counts from before the signal.
fn kill(mut victim: Victim) -> Instant {
    let killed = Instant::now();
    if let Some(child) = &mut victim.0 {
        child.kill().expect("to kill a child");
    }
    // A thread of its own collects it: waiting for the end must not help the survivor.
    thread::spawn(move || drop(victim));
    killed
}

fn victim(bus: &Bus, role: &str) -> Result<()> {
    let wait = || -> ! {
        println!("ready");
        loop {
            thread::sleep(Duration::from_secs(60));
        }
    };
    match role {
        "subscriber" => {
            let _subscriber = bus.attach("s")?.subscriber(&SubscribeOptions::default())?;
            wait()
        }
        "worker" => {
            let mut worker = bus.attach("q")?.worker(&WorkOptions::default())?;
            let _job = worker.take()?;
            wait()
        }
        _ => {
            let mut publisher = bus.attach("t")?.topic_publisher(&SendOptions::default())?;
            let _claim = publisher.claim(8)?;
            wait()
        }
    }
}
