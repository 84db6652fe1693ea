//! A worker is killed with SIGKILL while it works, and its job is delivered again.
//!
//! Run it with `cargo run --example queue_with_a_death`. The program starts itself again as the worker that
//! is killed. Nobody cleans up after it: another worker finds out that it is dead, and takes the job.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use railbus::{Bus, ChannelOptions, Kind, RecvError, Result, SendOptions, WorkOptions};

fn main() -> Result<()> {
    if let Some(base) = std::env::args_os().nth(1) {
        return take_a_job_and_hang(Path::new(&base));
    }
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let jobs = Bus::at(base.path(), "demo")?.create("jobs", &ChannelOptions::new(Kind::Queue))?;
    let mut producer = jobs.producer(&SendOptions::default())?;
    for job in ["resize cat.png", "resize dog.png", "resize owl.png"] {
        producer.publish(job.as_bytes())?;
    }
    drop(producer);

    let this_program = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new(this_program);
    let mut victim = command.arg(base.path()).stdout(Stdio::piped()).spawn().expect("a second process");
    let mut taken = String::new();
    let output = victim.stdout.take().expect("its output");
    BufReader::new(output).read_line(&mut taken).expect("a line from the second process");
    println!("process {} has taken: {}", victim.id(), taken.trim());
    victim.kill().expect("SIGKILL"); // that is the signal which `kill` sends
    victim.wait().expect("the second process ends");
    let killed = Instant::now();

    let mut worker = jobs.worker(&WorkOptions::default().until_closed(true))?;
    let mut again = 0;
    loop {
        match worker.take() {
            Ok(job) => {
                println!("attempt {}: {}", job.attempt(), String::from_utf8_lossy(&job));
                if job.attempt() == 2 {
                    println!("delivered again {} us after the death", killed.elapsed().as_micros());
                    again += 1;
                }
                assert!(job.done());
            }
            Err(RecvError::Closed) => break, // no producer is left, and every job is done
            Err(error) => return Err(error.into()),
        }
    }
    println!("{} jobs done, {again} of them delivered twice", worker.events());
    assert_eq!((worker.events(), again), (3, 1));
    Ok(())
}

/// The second process.
fn take_a_job_and_hang(base: &Path) -> Result<()> {
    let jobs = Bus::at(base, "demo")?.attach("jobs")?;
    let mut worker = jobs.worker(&WorkOptions::default())?;
    let job = worker.take()?;
    println!("{}", String::from_utf8_lossy(&job));
    std::io::stdout().flush().expect("the first process listens");
    // Long enough to be killed, and no longer, should the first process be gone.
    std::thread::sleep(Duration::from_secs(30));
    Ok(())
}
