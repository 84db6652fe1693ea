//! ZeroMQ: PUSH and PULL over ipc://, with sleeping ends, as it is used.

use std::path::{Path, PathBuf};

use crate::rival::{Result, Rival, Rx, Tx, slots};

/// Endpoints below a directory.
pub struct ZeroMq {
    place: PathBuf,
}

/// A socket.
pub struct Socket {
    socket: zmq::Socket,
    message: zmq::Message,
}

impl ZeroMq {
    fn socket<const BYTES: usize>(&self, kind: zmq::SocketType) -> Result<zmq::Socket> {
        let socket = zmq::Context::new().socket(kind)?;
        socket.set_sndhwm(slots(BYTES) as i32)?;
        socket.set_rcvhwm(slots(BYTES) as i32)?;
        socket.set_linger(0)?;
        Ok(socket)
    }

    fn endpoint(&self, lane: usize) -> String {
        format!("ipc://{}/zmq{lane}", self.place.display())
    }
}

impl<const BYTES: usize> Rival<BYTES> for ZeroMq {
    type Tx = Socket;
    type Rx = Socket;

    fn prepare(place: &Path, _lanes: usize, _readers: usize) -> Result<ZeroMq> {
        Ok(ZeroMq { place: place.to_owned() })
    }

    fn tx(&self, lane: usize) -> Result<Socket> {
        let socket = self.socket::<BYTES>(zmq::PUSH)?;
        socket.bind(&self.endpoint(lane))?;
        Ok(Socket { socket, message: zmq::Message::new() })
    }

    fn rx(&self, lane: usize, _reader: usize) -> Result<Socket> {
        let socket = self.socket::<BYTES>(zmq::PULL)?;
        socket.connect(&self.endpoint(lane))?;
        Ok(Socket { socket, message: zmq::Message::new() })
    }
}

impl Tx for Socket {
    fn try_send(&mut self, payload: &[u8]) -> Result<bool> {
        self.socket.send(payload, 0)?;
        Ok(true)
    }
}

impl Rx for Socket {
    fn poll(&mut self, each: &mut impl FnMut(&[u8])) -> Result<bool> {
        self.socket.recv(&mut self.message, 0)?;
        each(&self.message);
        Ok(true)
    }
}
