//! A pair of Unix sockets that keep the borders of messages, with sleeping ends.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

use crate::inherited::Inherited;
use crate::rival::{Result, Rival, Rx, Tx};

/// Socket pairs that the actors inherit.
pub struct UnixSocket(Inherited);

/// Either end.
pub struct SocketEnd {
    socket: OwnedFd,
    payload: Box<[u8]>,
}

impl<const BYTES: usize> Rival<BYTES> for UnixSocket {
    type Tx = SocketEnd;
    type Rx = SocketEnd;

    fn prepare(_place: &Path, lanes: usize, _readers: usize) -> Result<UnixSocket> {
        let pair = || socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
        Ok(UnixSocket(Inherited::make(lanes, pair)?))
    }

    fn started(&self) {
        self.0.close();
    }

    fn tx(&self, lane: usize) -> Result<SocketEnd> {
        Ok(SocketEnd { socket: self.0.sending(lane)?, payload: Box::default() })
    }

    fn rx(&self, lane: usize, _reader: usize) -> Result<SocketEnd> {
        Ok(SocketEnd { socket: self.0.receiving(lane)?, payload: vec![0; BYTES].into() })
    }
}

impl Tx for SocketEnd {
    fn try_send(&mut self, payload: &[u8]) -> Result<bool> {
        send(self.socket.as_raw_fd(), payload, MsgFlags::MSG_NOSIGNAL)?;
        Ok(true)
    }
}

impl Rx for SocketEnd {
    fn poll(&mut self, each: &mut impl FnMut(&[u8])) -> Result<bool> {
        let bytes = recv(self.socket.as_raw_fd(), &mut self.payload, MsgFlags::empty())?;
        if bytes == 0 {
            return Err("the sender is gone".into());
        }
        each(&self.payload[..bytes]);
        Ok(true)
    }
}
