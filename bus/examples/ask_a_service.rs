//! A service between two threads, as between two processes: a whole reply, a failure, and a reply in
//! parts.
//!
//! `cargo run --example ask_a_service`

use std::time::Duration;

use railbus::{Bus, CallError, CallOptions, ChannelOptions, ClientOptions, ServerOptions};

fn main() -> railbus::Result<()> {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let bus = Bus::at(base.path(), "demo")?;
    let calc = bus.create("calc", &ChannelOptions::service())?;

    let mut server = calc.server(&ServerOptions::default().name("calculator"))?;
    let serving = std::thread::spawn(move || -> railbus::Result<()> {
        for _ in 0..3 {
            let mut request = server.take()?;
            match &*request {
                b"count" => {
                    for number in ["one", "two"] {
                        request.reply_part(number.as_bytes())?;
                    }
                    request.reply(b"three")?;
                }
                b"divide by zero" => request.fail(33, "there is no such number")?,
                numbers => {
                    let sum: u8 = numbers.iter().sum();
                    request.reply(&[sum])?;
                }
            }
        }
        Ok(())
    });

    let mut client = calc.client(&ClientOptions::default().name("caller"))?;
    let sum = client.call_timeout(&[40, 2], Duration::from_secs(10))?;
    println!("40 + 2 = {}", sum[0]);
    match client.call(b"divide by zero") {
        Err(CallError::Failed { code, text }) => println!("failed with code {code}: {text}"),
        other => println!("unexpected: {other:?}"),
    }
    let call = client.start(b"count", &CallOptions::default())?;
    while let Some(part) = client.next_part(call)? {
        println!("part {}", String::from_utf8_lossy(&part));
    }
    serving.join().expect("the server ends")?;
    match client.call(b"more") {
        Err(CallError::NoServer) => println!("nobody serves it any more"),
        other => println!("unexpected: {other:?}"),
    }
    Ok(())
}
