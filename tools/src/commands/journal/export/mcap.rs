//! MCAP, so that existing viewers open it.
//!
//! There is a topic for each type id: `/CHANNEL` for 0, `/CHANNEL/type-ID` for others. The log time
//! of a message is the time at which the event was recorded. Its publish time is the event's stamp,
//! or the log time if there is none. MCAP's sequence has 32 bits, the position 64: messages are
//! JSON objects (schema `railbus.Event`) that hold the position, and the payload in base64. With
//! `--payload-as` they are the payloads themselves. Then the position is the sequence, continued
//! upwards from `first_position` in the metadata record `railbus`, as long as no two events are
//! 2^32 apart.

use std::collections::BTreeMap;
use std::io::{Seek, Write};

use mcap::records::{MessageHeader, Metadata};
use mcap::{Compression, McapError, WriteOptions, Writer};
use railbus::journal::{Journal, Recorded};

use super::{Absence, Sink, about};
use crate::commands::journal::json::append_event;
use crate::failure::{Failure, Outcome};

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "railbus.Event",
  "type": "object",
  "properties": {
    "position": { "type": ["integer", "string"] },
    "time_ns": { "type": ["integer", "string"] },
    "type_id": { "type": "integer" },
    "flags": { "type": "integer" },
    "published_ns": { "type": ["integer", "string"] },
    "payload": { "type": "string", "contentEncoding": "base64" }
  }
}"#;

const GAP_SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "railbus.Gap",
  "type": "object",
  "properties": {
    "gap": { "type": "string" },
    "from": { "type": ["integer", "string"] },
    "to": { "type": ["integer", "string"] },
    "events": { "type": ["integer", "null"] },
    "time_ns": { "type": ["integer", "string", "null"] }
  }
}"#;

pub(super) struct Mcap<W: Write + Seek> {
    writer: Writer<W>,
    topic: String,
    payload_as: Option<String>,
    /// By type id.
    channels: BTreeMap<u16, u16>,
    gaps: Option<u16>,
    about: BTreeMap<String, String>,
    last_ns: u64,
    message: Vec<u8>,
}

impl<W: Write + Seek> Mcap<W> {
    pub(super) fn begin(
        out: W,
        journal: &Journal,
        payload_as: Option<String>,
        compressed: bool,
    ) -> Result<Mcap<W>, Failure> {
        let writer = WriteOptions::new()
            .compression(compressed.then_some(Compression::Zstd))
            .library(concat!("railbus ", env!("CARGO_PKG_VERSION")))
            .create(out)
            .map_err(failed)?;
        Ok(Mcap {
            writer,
            topic: format!("/{}", journal.channel().name),
            payload_as,
            channels: BTreeMap::new(),
            gaps: None,
            about: about(journal).into_iter().collect(),
            last_ns: 0,
            message: Vec::new(),
        })
    }

    fn channel(&mut self, type_id: u16) -> Result<u16, McapError> {
        if let Some(&channel) = self.channels.get(&type_id) {
            return Ok(channel);
        }
        let topic = match type_id {
            0 => self.topic.clone(),
            id => format!("{}/type-{id}", self.topic),
        };
        let about = BTreeMap::from([("type_id".to_owned(), type_id.to_string())]);
        let channel = match &self.payload_as {
            Some(encoding) => self.writer.add_channel(0, &topic, encoding, &about)?,
            None => {
                let schema = self.writer.add_schema("railbus.Event", "jsonschema", SCHEMA.as_bytes())?;
                self.writer.add_channel(schema, &topic, "json", &about)?
            }
        };
        self.channels.insert(type_id, channel);
        Ok(channel)
    }

    fn gap_channel(&mut self) -> Result<u16, McapError> {
        if let Some(channel) = self.gaps {
            return Ok(channel);
        }
        let schema = self.writer.add_schema("railbus.Gap", "jsonschema", GAP_SCHEMA.as_bytes())?;
        let topic = format!("{}/gaps", self.topic);
        let channel = self.writer.add_channel(schema, &topic, "json", &BTreeMap::new())?;
        self.gaps = Some(channel);
        Ok(channel)
    }
}

impl<W: Write + Seek> Sink for Mcap<W> {
    fn event(&mut self, event: &Recorded<'_>) -> Outcome {
        let channel_id = self.channel(event.type_id()).map_err(failed)?;
        self.about.entry("first_position".to_owned()).or_insert_with(|| event.position.to_string());
        self.last_ns = event.time_ns;
        let header = MessageHeader {
            channel_id,
            sequence: event.position as u32,
            log_time: event.time_ns,
            publish_time: event.event().published_ns().unwrap_or(event.time_ns),
        };
        if self.payload_as.is_some() {
            return self.writer.write_to_known_channel(&header, event.payload()).map_err(failed);
        }
        self.message.clear();
        append_event(event, &mut self.message);
        let message = self.message.trim_ascii_end();
        self.writer.write_to_known_channel(&header, message).map_err(failed)
    }

    fn absence(&mut self, absence: &Absence) -> Outcome {
        let channel_id = self.gap_channel().map_err(failed)?;
        let time_ns = absence.time_ns.unwrap_or(self.last_ns);
        let header = MessageHeader {
            channel_id,
            sequence: absence.from as u32,
            log_time: time_ns,
            publish_time: time_ns,
        };
        let message = absence.object().to_string();
        self.writer.write_to_known_channel(&header, message.as_bytes()).map_err(failed)
    }

    fn finish(&mut self) -> Outcome {
        let metadata = Metadata { name: "railbus".to_owned(), metadata: std::mem::take(&mut self.about) };
        self.writer.write_metadata(&metadata).map_err(failed)?;
        self.writer.finish().map(|_| ()).map_err(failed)
    }
}

fn failed(error: McapError) -> Failure {
    Failure::new(format!("cannot write MCAP: {error}"))
}
