//! Aeron IPC with its C driver in a process of its own.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rusteron_client::{
    Aeron, AeronContext, AeronExclusivePublication, AeronSubscription, Handlers, IntoCString,
};

use crate::rival::{Result, Rival, Rx, Tx};

const WAIT: Duration = Duration::from_secs(10);

/// The driver's process.
pub struct AeronIpc {
    directory: String,
    driver: Child,
}

/// A publication.
pub struct AeronSender {
    publication: AeronExclusivePublication,
    _client: Aeron,
}

/// A subscription. A message of several fragments is put together.
pub struct AeronReceiver<const BYTES: usize> {
    subscription: AeronSubscription,
    parts: Vec<u8>,
    _client: Aeron,
}

/// Runs the media driver in this process until it is killed.
pub fn drive(directory: &str) -> Result<()> {
    // On a machine with few cores the driver does not come to run beside actors that poll.
    let first = libc::sched_param { sched_priority: 1 };
    // SAFETY: the argument outlives the call. Without the right it fails, and the driver runs as it can.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &first) };
    let context = rusteron_media_driver::AeronDriverContext::new()?;
    context.set_dir(&directory.into_c_string())?;
    context.set_dir_delete_on_start(true)?;
    context.set_ipc_term_buffer_length(1 << 20)?;
    context.set_ipc_mtu_length(8 << 10)?;
    context.set_term_buffer_sparse_file(false)?;
    let (_stop, thread) = rusteron_media_driver::AeronDriver::launch_embedded(context, false);
    thread.join().map_err(|_| "the driver panicked")??;
    Ok(())
}

impl AeronIpc {
    fn client(&self) -> Result<Aeron> {
        let start = Instant::now();
        loop {
            let context = AeronContext::new()?;
            context.set_dir(&self.directory.as_str().into_c_string())?;
            match Aeron::new(&context) {
                Ok(client) => {
                    client.start()?;
                    return Ok(client);
                }
                Err(error) if start.elapsed() > WAIT => return Err(error.into()),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Drop for AeronIpc {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl<const BYTES: usize> Rival<BYTES> for AeronIpc {
    type Tx = AeronSender;
    type Rx = AeronReceiver<BYTES>;

    fn prepare(place: &Path, _lanes: usize, _readers: usize) -> Result<AeronIpc> {
        let directory = place.join("aeron").to_str().ok_or("a path that is no text")?.to_owned();
        let driver = Command::new(std::env::current_exe()?).arg("--driver").arg(&directory).spawn()?;
        Ok(AeronIpc { directory, driver })
    }

    fn tx(&self, lane: usize) -> Result<AeronSender> {
        let client = self.client()?;
        let channel = "aeron:ipc".into_c_string();
        let publication =
            client.async_add_exclusive_publication(&channel, 1000 + lane as i32)?.poll_blocking(WAIT)?;
        let start = Instant::now();
        while !publication.is_connected() {
            if start.elapsed() > WAIT {
                return Err("the subscription does not come".into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(AeronSender { publication, _client: client })
    }

    fn rx(&self, lane: usize, _reader: usize) -> Result<AeronReceiver<BYTES>> {
        let client = self.client()?;
        let channel = "aeron:ipc".into_c_string();
        let subscription = client
            .async_add_subscription(&channel, 1000 + lane as i32, Handlers::NONE, Handlers::NONE)?
            .poll_blocking(WAIT)?;
        Ok(AeronReceiver { subscription, parts: Vec::new(), _client: client })
    }
}

impl Tx for AeronSender {
    #[inline(always)]
    fn try_send(&mut self, payload: &[u8]) -> Result<bool> {
        match self.publication.offer(payload) {
            Ok(_) => Ok(true),
            Err(error) if error.is_retryable() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl<const BYTES: usize> Rx for AeronReceiver<BYTES> {
    #[inline(always)]
    fn poll(&mut self, each: &mut impl FnMut(&[u8])) -> Result<bool> {
        let parts = &mut self.parts;
        let mut whole = false;
        self.subscription.poll_fn(
            |fragment: &[u8], _header| {
                if fragment.len() == BYTES {
                    each(fragment);
                    whole = true;
                    return;
                }
                parts.extend_from_slice(fragment);
                if parts.len() >= BYTES {
                    each(parts);
                    parts.clear();
                    whole = true;
                }
            },
            64,
        )?;
        Ok(whole)
    }
}
