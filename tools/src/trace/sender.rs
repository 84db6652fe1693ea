//! The thread that sends: takes batches from the queue, and tries each until it is delivered.
//!
//! As OTLP requires, 429, 502, 503, 504 and all connection errors are tried again, after a pause
//! that doubles (or the one that the collector asks for). Any other refusal concerns the batch,
//! which is dropped and counted. While one batch is tried, others wait in the queue, which is
//! bounded. When it is time to end, the rest is tried until the time for that is up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use railbus::Error;

use super::http::{Answer, Collector, Connection};
use super::queue::SpanQueue;
use crate::failure::{Failure, Outcome, note};
use crate::interrupt;

/// The first pause after a failure, and the longest.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// The shortest time between two reports of trouble.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The fate of the spans that were sent. Shared with the thread that reads.
#[derive(Debug)]
pub(super) struct Delivery {
    service: String,
    flush: Duration,
    quiet: bool,
    delivered: AtomicU64,
    /// Refused by the collector, or not delivered when it was time to end.
    failed: AtomicU64,
}

impl Delivery {
    pub(super) fn new(service: &str, flush: Duration, quiet: bool) -> Delivery {
        let (delivered, failed) = (AtomicU64::new(0), AtomicU64::new(0));
        Delivery { service: service.to_owned(), flush, quiet, delivered, failed }
    }

    /// Spans that the collector has taken. Relaxed here and below: the counts order nothing else.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// An error if spans were lost.
    pub(super) fn verdict(&self, queue: &SpanQueue) -> Outcome {
        let (failed, dropped) = (self.failed.load(Ordering::Relaxed), queue.dropped());
        if failed + dropped == 0 {
            return Ok(());
        }
        Err(Failure::new(format!(
            "{} spans are lost: {failed} were not taken by the collector, {dropped} found the queue full",
            failed + dropped
        )))
    }

    fn resource(&self) -> Resource {
        let text = |key: &str, value: &str| {
            let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
            KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
        };
        Resource { attributes: vec![text("service.name", &self.service)], ..Resource::default() }
    }

    fn encode(&self, spans: Vec<Span>) -> Vec<u8> {
        let scope = InstrumentationScope {
            name: "railbus".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
        let all = ResourceSpans { resource: Some(self.resource()), scope_spans, ..ResourceSpans::default() };
        ExportTraceServiceRequest { resource_spans: vec![all] }.encode_to_vec()
    }
}

/// The result of one attempt.
enum Tried {
    /// The batch is dealt with; this many of its spans were refused.
    Over(u64),
    /// Try again, after this pause if the collector asks for one.
    Again(String, Option<Duration>),
    /// The collector takes nothing of this kind, now or later.
    Refused(String),
}

/// The sending end. See the [module](self).
pub(super) struct SpanSender<'a> {
    queue: &'a SpanQueue,
    collector: &'a Collector,
    delivery: &'a Delivery,
    connection: Connection,
    /// The end of the time to end, once it is time to end.
    ends: Option<Instant>,
    /// Since when nothing could be delivered.
    failing: bool,
    told: Option<Instant>,
}

impl<'a> SpanSender<'a> {
    pub(super) fn new(
        queue: &'a SpanQueue,
        collector: &'a Collector,
        delivery: &'a Delivery,
    ) -> SpanSender<'a> {
        let connection = Connection::default();
        SpanSender { queue, collector, delivery, connection, ends: None, failing: false, told: None }
    }

    /// Sends until the queue is closed and empty, or the time to end is up.
    pub(super) fn run(mut self) -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let outcome = match runtime {
            Ok(runtime) => {
                runtime.block_on(self.send_all());
                Ok(())
            }
            Err(error) => Err(Error::io("start", "the HTTP client", error).into()),
        };
        self.queue.break_off();
        outcome
    }

    async fn send_all(&mut self) {
        while let Some(batch) = self.queue.next_batch() {
            let count = batch.len() as u64;
            let body = Bytes::from(self.delivery.encode(batch));
            let refused = self.deliver(body, count).await;
            self.delivery.failed.fetch_add(refused, Ordering::Relaxed);
            self.delivery.delivered.fetch_add(count - refused, Ordering::Relaxed);
            if self.is_over() {
                self.queue.discard();
            }
        }
    }

    /// Delivers a batch; returns how many of its spans were not taken.
    async fn deliver(&mut self, body: Bytes, count: u64) -> u64 {
        let mut pause = PAUSE;
        loop {
            let (why, asked) = match self.attempt(body.clone(), count).await {
                Tried::Over(refused) => {
                    self.note_success();
                    return refused;
                }
                Tried::Refused(why) => {
                    self.tell(&format!("{} refuses {count} spans, which are lost: {why}", self.collector));
                    return count;
                }
                Tried::Again(why, asked) => (why, asked),
            };
            self.failing = true;
            let dropped = self.queue.dropped();
            self.tell(&format!(
                "{} does not take spans: {why}; trying again ({dropped} dropped so far)",
                self.collector
            ));
            if !self.sleep(asked.unwrap_or(pause).min(PAUSE_MAX)).await {
                return count;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn attempt(&mut self, body: Bytes, count: u64) -> Tried {
        // A collector that hangs must not delay the end.
        let posting = self.collector.post(&mut self.connection, body);
        tokio::pin!(posting);
        let answer = loop {
            match tokio::time::timeout(interrupt::LOOK_EVERY, &mut posting).await {
                Ok(answer) => break answer,
                Err(_) if Self::is_time_up(&mut self.ends, self.queue, self.delivery.flush) => {
                    return Tried::Again("no answer before it was time to end".to_owned(), None);
                }
                Err(_) => {}
            }
        };
        match answer {
            Ok(answer) => Self::judge(&answer, count),
            Err(why) => Tried::Again(why, None),
        }
    }

    fn judge(answer: &Answer, count: u64) -> Tried {
        match answer.status.as_u16() {
            200..=299 => {
                let partial = ExportTraceServiceResponse::decode(answer.body.clone()).ok();
                let Some(partial) = partial.and_then(|response| response.partial_success) else {
                    return Tried::Over(0);
                };
                let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0).min(count);
                if rejected > 0 || !partial.error_message.is_empty() {
                    note(&format!(
                        "the collector took {count} spans but for {rejected}: {}",
                        partial.error_message
                    ));
                }
                Tried::Over(rejected)
            }
            429 | 502 | 503 | 504 => {
                Tried::Again(format!("it answers {}", answer.status), answer.retry_after)
            }
            _ => Tried::Refused(format!("it answers {}", answer.status)),
        }
    }

    /// Whether it is time to end, and the time for that is up.
    fn is_over(&mut self) -> bool {
        Self::is_time_up(&mut self.ends, self.queue, self.delivery.flush)
    }

    fn is_time_up(ends: &mut Option<Instant>, queue: &SpanQueue, flush: Duration) -> bool {
        if !queue.is_closed() {
            return false;
        }
        Instant::now() >= *ends.get_or_insert_with(|| Instant::now() + flush)
    }

    /// Sleeps; false when the time to end is up.
    async fn sleep(&mut self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            if self.is_over() {
                return false;
            }
            let Some(left) = until.checked_duration_since(Instant::now()) else { return true };
            tokio::time::sleep(left.min(interrupt::LOOK_EVERY)).await;
        }
    }

    fn note_success(&mut self) {
        if std::mem::take(&mut self.failing) && !self.delivery.quiet {
            note(&format!("{} takes spans again", self.collector));
        }
        self.told = None;
    }

    /// Reports a trouble, unless one was reported a moment ago.
    fn tell(&mut self, text: &str) {
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            note(text);
        }
    }
}
