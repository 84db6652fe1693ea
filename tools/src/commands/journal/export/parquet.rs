//! Apache Parquet, by the columns of the low-level writer: no Arrow is needed for seven of them.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use railbus::journal::{Journal, Recorded};
use railbus_ring::frame;

use super::{Absence, Sink, about};
use crate::failure::{Failure, Outcome};

const SCHEMA: &str = "
message railbus_event {
    required int64 position (INTEGER(64,false));
    required int64 time_ns (TIMESTAMP(NANOS,true));
    required int32 type_id (INTEGER(16,false));
    required int32 flags (INTEGER(8,false));
    optional int64 published_ns (TIMESTAMP(NANOS,true));
    optional byte_array extensions;
    required byte_array payload;
}";

/// A row group is written when it has this many events, or this many bytes of payload.
const GROUP_EVENTS: usize = 128 << 10;
const GROUP_BYTES: usize = 64 << 20;

/// The columns of a row group.
#[derive(Default)]
struct Columns {
    position: Vec<i64>,
    time_ns: Vec<i64>,
    type_id: Vec<i32>,
    flags: Vec<i32>,
    published_ns: Vec<i64>,
    is_published: Vec<i16>,
    extensions: Vec<ByteArray>,
    is_extended: Vec<i16>,
    payload: Vec<ByteArray>,
    bytes: usize,
}

pub(super) struct Parquet<W: Write + Send> {
    /// `None` once it is finished.
    writer: Option<SerializedFileWriter<W>>,
    columns: Columns,
    gaps: Vec<Absence>,
}

impl<W: Write + Send> Parquet<W> {
    pub(super) fn begin(out: W, journal: &Journal, compressed: bool) -> Result<Parquet<W>, Failure> {
        let schema = Arc::new(parse_message_type(SCHEMA).map_err(failed)?);
        let level = ZstdLevel::try_new(1).map_err(failed)?;
        let compression = if compressed { Compression::ZSTD(level) } else { Compression::UNCOMPRESSED };
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_created_by(format!("railbus {}", env!("CARGO_PKG_VERSION")))
            .build();
        let mut writer = SerializedFileWriter::new(out, schema, Arc::new(properties)).map_err(failed)?;
        for (key, value) in about(journal) {
            writer.append_key_value_metadata(KeyValue::new(format!("railbus.{key}"), value));
        }
        Ok(Parquet { writer: Some(writer), columns: Columns::default(), gaps: Vec::new() })
    }

    fn write_group(&mut self) -> Outcome {
        let columns = std::mem::take(&mut self.columns);
        match &mut self.writer {
            Some(writer) if !columns.position.is_empty() => columns.write(writer).map_err(failed),
            _ => Ok(()),
        }
    }
}

impl Columns {
    /// In the order of the schema.
    fn write<W: Write + Send>(&self, writer: &mut SerializedFileWriter<W>) -> Result<(), ParquetError> {
        let mut group = writer.next_row_group()?;
        put::<_, Int64Type>(&mut group, &self.position, None)?;
        put::<_, Int64Type>(&mut group, &self.time_ns, None)?;
        put::<_, Int32Type>(&mut group, &self.type_id, None)?;
        put::<_, Int32Type>(&mut group, &self.flags, None)?;
        put::<_, Int64Type>(&mut group, &self.published_ns, Some(&self.is_published))?;
        put::<_, ByteArrayType>(&mut group, &self.extensions, Some(&self.is_extended))?;
        put::<_, ByteArrayType>(&mut group, &self.payload, None)?;
        group.close().map(|_| ())
    }
}

/// Writes the next column. `present` has a 1 for each row that has a value.
fn put<W: Write + Send, T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    present: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let mut column: SerializedColumnWriter<'_> =
        group.next_column()?.ok_or_else(|| ParquetError::General("too many columns".into()))?;
    column.typed::<T>().write_batch(values, present, None)?;
    column.close()
}

impl<W: Write + Send> Sink for Parquet<W> {
    fn event(&mut self, event: &Recorded<'_>) -> Outcome {
        let columns = &mut self.columns;
        let published = event.event().published_ns();
        let extensions = &event.body[..frame::extension_bytes(event.flags())];
        columns.position.push(event.position as i64);
        columns.time_ns.push(event.time_ns as i64);
        columns.type_id.push(event.type_id().into());
        columns.flags.push(event.flags().into());
        columns.published_ns.extend(published.map(|ns| ns as i64));
        columns.is_published.push(published.is_some().into());
        columns.is_extended.push((!extensions.is_empty()).into());
        if !extensions.is_empty() {
            columns.extensions.push(extensions.to_vec().into());
        }
        columns.payload.push(event.payload().to_vec().into());
        columns.bytes += event.body.len();
        if columns.position.len() >= GROUP_EVENTS || columns.bytes >= GROUP_BYTES {
            return self.write_group();
        }
        Ok(())
    }

    fn absence(&mut self, absence: &Absence) -> Outcome {
        self.gaps.push(absence.clone());
        Ok(())
    }

    fn finish(&mut self) -> Outcome {
        self.write_group()?;
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        let gaps: Vec<_> = self.gaps.iter().map(Absence::object).collect();
        let gaps = serde_json::Value::from(gaps).to_string();
        writer.append_key_value_metadata(KeyValue::new("railbus.gaps".to_owned(), gaps));
        let mut out = writer.into_inner().map_err(failed)?;
        out.flush().map_err(crate::failure::output_failed)
    }
}

fn failed(error: ParquetError) -> Failure {
    Failure::new(format!("cannot write Parquet: {error}"))
}
