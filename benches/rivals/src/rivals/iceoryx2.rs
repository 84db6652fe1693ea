//! iceoryx2: publish and subscribe with loans, without overflow, as reliable as a ring.

use std::path::Path;
use std::time::{Duration, Instant};

use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::port::update_connections::UpdateConnections;
use iceoryx2::prelude::*;

use crate::rival::{Result, Rival, Rx, Tx, slots};

/// Services of this measurement.
pub struct Iceoryx2 {
    name: String,
    readers: usize,
}

type Participant = iceoryx2::node::Node<ipc::Service>;
type Factory = iceoryx2::service::port_factory::publish_subscribe::PortFactory<ipc::Service, [u8], ()>;

/// A publisher and the node that it belongs to.
pub struct Sending {
    publisher: Publisher<ipc::Service, [u8], ()>,
    _node: Participant,
}

/// A subscriber and the node that it belongs to.
pub struct Receiving {
    subscriber: Subscriber<ipc::Service, [u8], ()>,
    _node: Participant,
}

impl Iceoryx2 {
    fn service<const BYTES: usize>(&self, lane: usize) -> Result<(Participant, Factory)> {
        let node = NodeBuilder::new().create::<ipc::Service>().map_err(|error| format!("{error:?}"))?;
        let name = format!("{}/{lane}", self.name);
        let name = ServiceName::new(&name).map_err(|error| format!("{error:?}"))?;
        let service = node
            .service_builder(&name)
            .publish_subscribe::<[u8]>()
            .enable_safe_overflow(false)
            .history_size(0)
            .subscriber_max_buffer_size(slots(BYTES))
            .max_publishers(1)
            .max_subscribers(self.readers)
            .open_or_create()
            .map_err(|error| format!("{error:?}"))?;
        Ok((node, service))
    }
}

impl<const BYTES: usize> Rival<BYTES> for Iceoryx2 {
    type Tx = Sending;
    type Rx = Receiving;

    fn prepare(place: &Path, _lanes: usize, readers: usize) -> Result<Iceoryx2> {
        set_log_level(LogLevel::Error);
        let name = place.file_name().and_then(|name| name.to_str()).ok_or("a directory without a name")?;
        Ok(Iceoryx2 { name: format!("rivals{name}"), readers })
    }

    fn tx(&self, lane: usize) -> Result<Sending> {
        let (node, service) = self.service::<BYTES>(lane)?;
        let publisher = service
            .publisher_builder()
            .initial_max_slice_len(BYTES)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()
            .map_err(|error| format!("{error:?}"))?;
        // Without a subscriber what is sent is lost.
        let start = Instant::now();
        while service.dynamic_config().number_of_subscribers() < self.readers {
            if start.elapsed() > Duration::from_secs(10) {
                return Err("the subscribers do not come".into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        publisher.update_connections().map_err(|error| format!("{error:?}"))?;
        Ok(Sending { publisher, _node: node })
    }

    fn rx(&self, lane: usize, _reader: usize) -> Result<Receiving> {
        let (node, service) = self.service::<BYTES>(lane)?;
        let subscriber = service
            .subscriber_builder()
            .buffer_size(slots(BYTES))
            .create()
            .map_err(|error| format!("{error:?}"))?;
        Ok(Receiving { subscriber, _node: node })
    }
}

impl Tx for Sending {
    #[inline(always)]
    fn try_send(&mut self, payload: &[u8]) -> Result<bool> {
        let sample = self.publisher.loan_slice_uninit(payload.len()).map_err(|error| format!("{error:?}"))?;
        sample.write_from_slice(payload).send().map_err(|error| format!("{error:?}"))?;
        Ok(true)
    }
}

impl Rx for Receiving {
    #[inline(always)]
    fn poll(&mut self, each: &mut impl FnMut(&[u8])) -> Result<bool> {
        match self.subscriber.receive() {
            Ok(Some(sample)) => {
                each(sample.payload());
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => Err(format!("{error:?}").into()),
        }
    }
}
