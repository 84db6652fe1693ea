//! A POSIX message queue, with sleeping ends. The kernel limits the size of messages, usually to 8
//! KiB, and the queue to 10 of them.

use std::path::Path;

use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_open, mq_receive, mq_send, mq_unlink};
use nix::sys::stat::Mode;

use crate::rival::{Result, Rival, Rx, Tx};

/// Queues with names of their own, which are removed at the end.
pub struct PosixQueue {
    names: Vec<String>,
    owner: u32,
}

/// Either end.
pub struct QueueEnd {
    queue: MqdT,
    payload: Box<[u8]>,
}

impl Drop for PosixQueue {
    fn drop(&mut self) {
        if std::process::id() == self.owner {
            for name in &self.names {
                // A name that is gone is what was wanted.
                let _ = mq_unlink(name.as_str());
            }
        }
    }
}

impl<const BYTES: usize> Rival<BYTES> for PosixQueue {
    type Tx = QueueEnd;
    type Rx = QueueEnd;

    fn prepare(place: &Path, lanes: usize, _readers: usize) -> Result<PosixQueue> {
        let place = place.file_name().and_then(|name| name.to_str()).ok_or("a directory without a name")?;
        let owner = std::process::id();
        let queues = PosixQueue { names: (0..lanes).map(|lane| format!("/{place}{lane}")).collect(), owner };
        for name in &queues.names {
            let attributes = MqAttr::new(0, 10, BYTES as i64, 0);
            let flags = MQ_OFlag::O_CREAT | MQ_OFlag::O_RDWR;
            mq_open(name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR, Some(&attributes))?;
        }
        Ok(queues)
    }

    fn tx(&self, lane: usize) -> Result<QueueEnd> {
        let queue = mq_open(self.names[lane].as_str(), MQ_OFlag::O_RDWR, Mode::empty(), None)?;
        Ok(QueueEnd { queue, payload: vec![0; BYTES].into() })
    }

    fn rx(&self, lane: usize, _reader: usize) -> Result<QueueEnd> {
        <PosixQueue as Rival<BYTES>>::tx(self, lane)
    }
}

impl Tx for QueueEnd {
    fn try_send(&mut self, payload: &[u8]) -> Result<bool> {
        mq_send(&self.queue, payload, 0)?;
        Ok(true)
    }
}

impl Rx for QueueEnd {
    fn poll(&mut self, each: &mut impl FnMut(&[u8])) -> Result<bool> {
        let mut priority = 0;
        let bytes = mq_receive(&self.queue, &mut self.payload, &mut priority)?;
        each(&self.payload[..bytes]);
        Ok(true)
    }
}
