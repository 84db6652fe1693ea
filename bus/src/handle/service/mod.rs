//! Request and reply: [`Client`] calls, [`Server`] answers.
//!
//! A service is a queue of requests. A client is a producer of it, and a server is a worker. The way
//! back is in `railbus_ring::replies`. A request begins with 24 bytes that say to which call it belongs,
//! and until when the client waits (`head.rs`).

mod call;
mod client;
mod error;
mod head;
mod look;
mod options;
mod request;
mod server;
mod waiting;

use railbus_ring::members::registry::{ROLE_WORKER, generation};
use railbus_ring::replies::reader::ReplyReader;
use railbus_ring::replies::writer::{ReplyView, ReplyWriter};

pub use self::call::Call;
pub use self::client::Client;
pub use self::error::{CallError, ReplyError};
pub use self::options::{CallOptions, ClientOptions, ServerOptions};
pub use self::request::{Accepted, Request};
pub use self::server::Server;
use crate::channel::mapped::Trusted;
use crate::channel::memories::Memories;
use crate::channel::open::Channel;
use crate::error::{Error, Result};
use crate::handle::member::Member;
use crate::handle::options::{SendOptions, WorkOptions};

/// Whether a policy word is that of a server.
fn is_server(policy: u64) -> bool {
    policy & 0xFF == ROLE_WORKER
}

impl Channel {
    /// Opens a client of this service. Opening blocks for about 20 ms at most while no entry is free.
    ///
    /// # Errors
    /// - [`Error::Busy`] when no entry is left, or the channel is being made again;
    /// - [`Error::Invalid`] if the channel is no service;
    /// - [`Error::NotFound`] if the channel was removed;
    /// - [`Error::NotAllowed`] if this process may not produce.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::Bus;
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::{ChannelOptions, ClientOptions, ServerOptions};
    ///
    /// let calc = bus.create("calc", &ChannelOptions::service())?;
    /// let mut server = calc.server(&ServerOptions::default())?;
    /// let serving = std::thread::spawn(move || {
    ///     let request = server.take()?;
    ///     let answer: u64 = request.iter().map(|&byte| u64::from(byte)).sum();
    ///     request.reply(&answer.to_le_bytes())?;
    ///     railbus::Result::Ok(())
    /// });
    ///
    /// let mut client = calc.client(&ClientOptions::default())?;
    /// assert_eq!(client.call(&[40, 2])?, 42u64.to_le_bytes());
    /// serving.join().unwrap()
    /// # }
    /// ```
    pub fn client(&self, options: &ClientOptions) -> Result<Client> {
        self.expect_service("client")?;
        let sending = SendOptions::default().name(options.name.clone()).wait(options.wait);
        let sender = self.slot_sender_undiverted::<false>(&sending)?;
        let view = self.reply_view(&sender.member)?;
        let registered = sender.member.registered;
        let (replies, incoming) = ReplyReader::new(view, registered.index, generation(registered.state));
        Ok(Client::new(sender, replies, incoming, options))
    }

    /// Opens a server of this service. Opening blocks for about 20 ms at most while no entry is free.
    ///
    /// # Errors
    /// As for [`Self::client`]; [`Error::NotAllowed`] if this process may not consume.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn main() -> railbus::Result<()> {
    /// # let bus = railbus::Bus::open("demo")?;
    /// use railbus::{ChannelOptions, ServerOptions};
    ///
    /// let calc = bus.create_or_attach("calc", &ChannelOptions::service())?;
    /// let mut server = calc.server(&ServerOptions::default().name("calculator"))?;
    /// loop {
    ///     let request = server.take()?;
    ///     let answer = std::str::from_utf8(&request).map(str::to_uppercase);
    ///     match answer {
    ///         Ok(text) => request.reply(text.as_bytes())?,
    ///         Err(error) => request.fail(1, &error.to_string())?,
    ///     }
    /// }
    /// # }
    /// ```
    pub fn server(&self, options: &ServerOptions) -> Result<Server> {
        self.expect_service("server")?;
        // One request at a time, so that a death concerns no other one.
        let working = WorkOptions::default().name(options.name.clone()).wait(options.wait).grab(1u32);
        let worker = self.worker_of_any(&working)?;
        let view = self.reply_view(worker.participant())?;
        let replies = ReplyWriter::new(view, worker.participant().registered.index);
        Ok(Server::new(worker, replies))
    }

    fn expect_service(&self, handle: &str) -> Result<()> {
        if self.header().is_service() {
            return Ok(());
        }
        let found = self.header().kind_name();
        Err(Error::invalid(format!("{handle} of {}", self.name()), format!("it is a {found}, not a service")))
    }

    fn reply_view(&self, member: &Member) -> Result<ReplyView<Trusted>> {
        let geometry = self.header().reply_geometry();
        let geometry = geometry.ok_or_else(|| Error::invalid(self.name().to_string(), "it is no service"))?;
        let Memories { ring, acks, done, .. } = member.memories;
        Ok(ReplyView { ring, acks, done, geometry })
    }
}

/// Handles move between threads.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Client>();
    is_send::<Server>();
};
