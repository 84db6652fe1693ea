//! The trace context on its way through everything, and `railbus trace` with a collector. The
//! collector is a real HTTP server here, which decodes the requests with OpenTelemetry's own
//! messages (and, in one test, with those of its Python package). It can be slow, absent, stuck, or
//! refuse.
//!
//! A pass does not prove that any particular product takes the spans.
#![cfg(feature = "otlp")]

mod program;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use program::{Base, Running, eventually, numbers};
use prost::Message;
use serde_json::Value;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn context(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// The collector's answer to a request; `None`: never any.
type Reply = Option<(u16, &'static str, Vec<u8>)>;

/// A request that came.
#[derive(Clone)]
struct Received {
    line: String,
    headers: Vec<String>,
    body: Vec<u8>,
    status: u16,
}

/// A collector.
struct Collector {
    address: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Collector {
    /// One that answers the n-th request, from 0, as `reply` says. Its threads end with the test.
    fn start(reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let (log, reply) = (received.clone(), Arc::new(reply));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, reply) = (log.clone(), reply.clone());
                std::thread::spawn(move || serve(stream, &log, &*reply));
            }
        });
        Collector { address, received }
    }

    fn fine() -> Collector {
        Collector::start(|_| Some((200, "", Vec::new())))
    }

    fn requests(&self) -> Vec<Received> {
        self.received.lock().expect("whole").clone()
    }

    /// The spans it took.
    fn spans(&self) -> Vec<Span> {
        let taken = self.requests().into_iter().filter(|one| one.status == 200);
        taken.flat_map(|one| spans_of(&one.body)).collect()
    }

    /// Starts the exporter.
    fn trace(&self, base: &Base, channels: &str, more: &str) -> Running {
        trace(base, &self.address, channels, more)
    }
}

/// Answers the requests of one connection.
fn serve(stream: TcpStream, log: &Mutex<Vec<Received>>, reply: &(dyn Fn(usize) -> Reply + Sync)) {
    let mut input = BufReader::new(stream.try_clone().expect("a descriptor"));
    let mut output = stream;
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if input.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_ascii_lowercase()),
            }
        }
        let length = lines.iter().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let mut body = vec![0; length.parse().expect("a number")];
        if input.read_exact(&mut body).is_err() {
            return;
        }
        let line = lines.remove(0);
        let mut log = log.lock().expect("whole");
        let reply = reply(log.len());
        let status = reply.as_ref().map_or(0, |reply| reply.0);
        log.push(Received { line, headers: lines, body, status });
        drop(log);
        let Some((status, headers, body)) = reply else { continue };
        let head = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
        if output.write_all(head.as_bytes()).and_then(|()| output.write_all(&body)).is_err() {
            return;
        }
    }
}

fn spans_of(body: &[u8]) -> Vec<Span> {
    let request = ExportTraceServiceRequest::decode(body).expect("a request");
    let scopes = request.resource_spans.into_iter().flat_map(|all| all.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

/// Starts the exporter, and waits until it has joined its channels.
fn trace(base: &Base, address: &str, channels: &str, more: &str) -> Running {
    let line = format!("trace {channels} --otlp http://{address} --interval 20ms {more}");
    let mut command = base.command(&line);
    for name in ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_SERVICE_NAME"] {
        command.env_remove(name);
    }
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let running = Running::of(command);
    for channel in channels.split_whitespace() {
        eventually(&format!("{channel} is traced"), || {
            base.participants(channel, "live").iter().any(|one| one["name"] == "trace")
        });
    }
    running
}

/// Ends an exporter. Returns its exit code and its stderr.
fn end(mut running: Running) -> (i32, String) {
    running.signal(libc::SIGTERM);
    let (status, errors) = running.end();
    (status.code().unwrap_or_else(|| panic!("{status}: {errors}")), errors)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &Span, key: &str) -> Option<Any> {
    let mut found = span.attributes.iter().filter(|one| one.key == key);
    let value = found.next()?.value.clone()?.value;
    assert!(found.next().is_none(), "{key} twice");
    value
}

fn text(span: &Span, key: &str) -> String {
    match attribute(span, key) {
        Some(Any::StringValue(text)) => text,
        other => panic!("{key}: {other:?}"),
    }
}

fn number(span: &Span, key: &str) -> i64 {
    match attribute(span, key) {
        Some(Any::IntValue(number)) => number,
        other => panic!("{key}: {other:?}"),
    }
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

#[test]
fn every_sampled_hop_of_the_three_kinds_is_a_span_with_its_parent_times_and_attributes() {
    let base = Base::new();
    base.fine("create demo/ticks --kind stream --capacity 64KiB --stamp");
    base.fine("create demo/jobs --kind queue --slots 64 --stamp");
    base.fine("create demo/prices --kind topic --slots 64 --stamp");
    let collector = Collector::fine();
    let channels = "demo/ticks demo/jobs demo/prices";
    let exporter = collector.trace(&base, channels, "--service-name shop --header X-Key=secret,x-b=c");
    let before = now_ns();
    for (channel, more) in [("ticks", "--type-id 7"), ("jobs", ""), ("prices", "--type-id 65535")] {
        // None of these is for the collector.
        base.fine_fed(&format!("pub demo/{channel} --traceparent {}", context("00")), b"unsampled\n");
        base.fine_fed(&format!("pub demo/{channel}"), b"without\n");
        let sampled = format!("pub demo/{channel} {more} --traceparent {}", context("01"));
        base.fine_fed(&sampled, b"one\nthree\n");
    }
    eventually("six spans have come", || collector.spans().len() >= 6);
    // The exporter polls; that does not count as the channel's latency.
    let stat = base.json("stat --json --interval 50ms");
    assert!(
        stat.as_array()
            .is_some_and(|all| all.len() == 3 && all.iter().all(|one| one["latency_ns"].is_null()))
    );
    let (code, errors) = end(exporter);
    assert_eq!(code, 0, "{errors}");
    assert!(errors.contains("6 of 6 spans are delivered; 6 events were without"), "{errors}");
    assert!(!errors.contains("secret"), "{errors}");
    let after = now_ns();
    for request in collector.requests() {
        assert_eq!(request.line, "post /v1/traces http/1.1");
        for header in ["content-type: application/x-protobuf", "x-key: secret", "x-b: c"] {
            assert!(request.headers.iter().any(|one| one == header), "{header}: {:?}", request.headers);
        }
        let all = ExportTraceServiceRequest::decode(&request.body[..]).expect("a request").resource_spans;
        let [one] = &all[..] else { panic!("{all:?}") };
        let about = &one.resource.as_ref().expect("a resource").attributes;
        assert_eq!((about.len(), about[0].key.as_str()), (1, "service.name"));
        assert_eq!(
            about[0].value.as_ref().and_then(|v| v.value.clone()),
            Some(Any::StringValue("shop".into()))
        );
        assert_eq!(one.scope_spans[0].scope.as_ref().expect("a scope").name, "railbus");
    }
    let spans = collector.spans();
    assert_eq!(spans.len(), 6);
    let ids: HashSet<_> = spans.iter().map(|span| span.span_id.clone()).collect();
    assert_eq!(ids.len(), 6, "ids are unique");
    for (channel, kind, type_id) in [("ticks", "stream", 7), ("jobs", "queue", 0), ("prices", "topic", 65535)]
    {
        let name = format!("demo/{channel}");
        let own: Vec<&Span> =
            spans.iter().filter(|span| text(span, "messaging.destination.name") == name).collect();
        assert_eq!(own.len(), 2, "{name}");
        for (span, bytes) in own.into_iter().zip([3, 5]) {
            assert_eq!(
                (hex(&span.trace_id), hex(&span.parent_span_id)),
                (TRACE.to_owned(), PARENT.to_owned())
            );
            assert!(span.span_id.len() == 8 && span.span_id != [0; 8] && hex(&span.span_id) != PARENT);
            assert_eq!(span.name, format!("deliver {name}"));
            assert_eq!((span.kind(), span.flags), (SpanKind::Consumer, 0x301));
            let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
            // Stamps are the clock to within some tens of ns.
            assert!(start + 1000 >= before && start <= end && end <= after, "{before} {start} {end} {after}");
            assert_eq!(text(span, "messaging.system"), "railbus");
            assert_eq!(text(span, "messaging.operation.name"), "deliver");
            assert_eq!(number(span, "messaging.message.body.size"), bytes);
            assert_eq!(
                (text(span, "railbus.kind"), number(span, "railbus.type_id")),
                (kind.to_owned(), type_id)
            );
            let position = number(span, "railbus.position");
            assert_eq!(text(span, "messaging.message.id"), format!("1.{position}"));
            assert_eq!(attribute(span, "railbus.replayed"), None);
        }
    }
}

#[test]
fn a_context_is_carried_through_redelivery_dead_letters_journal_and_replay() {
    let base = Base::new();
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    base.fine("create demo/jobs --kind queue --slots 64 --max-attempts 3 --dead-letters jobs.dead --stamp");
    base.fine("create demo/again --kind topic --slots 64 --stamp");
    let mut daemon =
        base.start(&format!("journald --journal {} --channels demo/jobs*", disk.path().display()));
    assert_eq!(daemon.read_line(), "ready\n");
    let wanted = context("03");
    base.fine_fed(&format!("pub demo/jobs --traceparent {wanted}"), b"a job\n");
    // A worker is killed while it holds the event.
    let holding = base.file("holding");
    let mut command = base.command("work demo/jobs -q --exec");
    command.arg(format!("echo $TRACEPARENT $RAILBUS_ATTEMPT > {}; kill -9 $PPID", holding.display()));
    let mut killed = Running::of(command);
    assert!(killed.status().code().is_none(), "it is killed");
    assert_eq!(std::fs::read_to_string(&holding).expect("written"), format!("{wanted} 1\n"));
    // The next one fails, and hands it back; then it has reached its number of attempts.
    let mut command = base.command("work demo/jobs -q --timeout 300ms --exec");
    command.arg(format!("echo $TRACEPARENT $RAILBUS_ATTEMPT >> {}; false", holding.display()));
    command.env("TRACEPARENT", "00-of-somebody-else").stderr(std::process::Stdio::null());
    let mut failing = Running::of(command);
    failing.status();
    assert_eq!(
        std::fs::read_to_string(&holding).expect("written"),
        format!("{wanted} 1\n{wanted} 2\n{wanted} 3\n")
    );
    let dead = json_lines(&base.fine("work demo/jobs.dead --json -n 1"));
    assert_eq!(
        (&dead[0]["traceparent"], &dead[0]["origin"]["attempts"]),
        (&wanted.as_str().into(), &3.into())
    );
    assert_eq!(dead[0]["trace"]["span_id"], PARENT);
    daemon.signal(libc::SIGTERM);
    let (status, errors) = daemon.end();
    assert!(status.success(), "{errors}");
    for channel in ["jobs", "jobs.dead"] {
        let directory = disk.path().join("demo").join(channel);
        let recorded = json_lines(&base.fine(&format!("journal cat {} --json", directory.display())));
        assert_eq!(
            (recorded.len(), &recorded[0]["traceparent"]),
            (1, &wanted.as_str().into()),
            "{recorded:?}"
        );
        assert_eq!(recorded[0]["trace"]["trace_id"], TRACE);
    }
    let directory = disk.path().join("demo/jobs");
    let collector = Collector::fine();
    let exporter = collector.trace(&base, "demo/again", "");
    let reader = base.start("sub demo/again --json -n 1");
    base.await_live("demo/again", "consumer", 2);
    base.fine(&format!("replay {} --into demo/again --quiet", directory.display()));
    let replayed = json_lines(&String::from_utf8(reader.fine()).expect("text"));
    assert_eq!((replayed.len(), &replayed[0]["traceparent"]), (1, &wanted.as_str().into()));
    eventually("its span has come", || !collector.spans().is_empty());
    assert_eq!(end(exporter).0, 0);
    let span = &collector.spans()[0];
    assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!(attribute(span, "railbus.replayed"), Some(Any::BoolValue(true)));
    assert_eq!(span.flags, 0x303);

    // The journal itself: from the publication to the record, under an id of its own, and always
    // the same.
    for _ in 0..2 {
        let collector = Collector::fine();
        let line = format!("trace --journal {} --otlp http://{}", directory.display(), collector.address);
        let output = base.run(&line);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let [recorded] = &collector.spans()[..] else { panic!("one span") };
        assert_eq!(
            (recorded.name.as_str(), hex(&recorded.parent_span_id)),
            ("record demo/jobs", PARENT.to_owned())
        );
        assert!(recorded.start_time_unix_nano <= recorded.end_time_unix_nano);
        assert_eq!(number(recorded, "railbus.position"), 0);
    }
}

#[test]
fn all_makes_roots_and_sample_keeps_the_same_part_wherever_it_is_asked() {
    let base = Base::new();
    base.fine("create demo/ticks --kind stream --capacity 1MiB");
    let (one, other) = (Collector::fine(), Collector::fine());
    let first = one.trace(&base, "demo/ticks", "--all");
    let second = other.trace(&base, "demo/ticks", "--all --sample 0.25");
    base.fine_fed("pub demo/ticks", numbers(1..=2000).as_bytes());
    eventually("all have come", || one.spans().len() == 2000);
    for exporter in [first, second] {
        let (code, errors) = end(exporter);
        assert_eq!(code, 0, "{errors}");
    }
    let all: HashSet<_> = one.spans().into_iter().map(|span| (span.trace_id, span.span_id)).collect();
    assert_eq!(all.len(), 2000);
    for span in one.spans() {
        assert!(span.parent_span_id.is_empty() && span.flags == 0x101 && span.trace_id.len() == 16);
        // There are no stamps here: only the time of receipt is known.
        assert_eq!(span.start_time_unix_nano, span.end_time_unix_nano);
    }
    let part = other.spans();
    assert!((400..600).contains(&part.len()), "{}", part.len());
    assert!(
        part.into_iter().all(|span| all.contains(&(span.trace_id, span.span_id))),
        "the ids are the same"
    );
}

#[test]
fn a_collector_that_is_busy_at_first_gets_everything_once() {
    let base = Base::new();
    base.fine("create demo/ticks --kind stream --capacity 1MiB");
    let collector = Collector::start(|n| match n {
        0 => Some((503, "Retry-After: 0\r\n", Vec::new())),
        1 => Some((429, "", Vec::new())),
        2 => Some((200, "Connection: close\r\n", Vec::new())),
        3 => Some((504, "Retry-After: soon\r\n", b"what?".to_vec())),
        _ => Some((200, "", Vec::new())),
    });
    let exporter = collector.trace(&base, "demo/ticks", "--all --batch 100");
    base.fine_fed("pub demo/ticks", numbers(1..=1000).as_bytes());
    eventually("all have come", || collector.spans().len() == 1000);
    let (code, errors) = end(exporter);
    assert_eq!(code, 0, "{errors}");
    assert!(errors.contains("it answers 503") && errors.contains("takes spans again"), "{errors}");
    let positions: Vec<i64> = collector.spans().iter().map(|span| number(span, "railbus.position")).collect();
    assert!(
        positions.is_sorted() && positions.iter().collect::<HashSet<_>>().len() == 1000,
        "in order, once each"
    );
}

#[test]
fn without_a_collector_the_queue_is_bounded_and_what_is_dropped_is_counted() {
    let base = Base::new();
    base.fine("create demo/ticks --kind stream --capacity 1MiB");
    // A port on which nobody listens, and which nobody else gets.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let nobody = std::net::SocketAddr::from(([127, 1, 2, 3], address.port()));
    let exporter =
        trace(&base, &nobody.to_string(), "demo/ticks", "--all --queue 100 --batch 50 --flush 100ms");
    base.fine_fed("pub demo/ticks", numbers(1..=5000).as_bytes());
    let (code, errors) = end(exporter);
    assert_eq!(code, 1, "{errors}");
    assert!(errors.contains("Connection refused") && errors.contains("trying again"), "{errors}");
    assert!(errors.contains("0 of 5000 spans are delivered"), "{errors}");
    assert!(errors.contains("5000 spans are lost: "), "{errors}");
    drop(taken);
}

#[test]
fn a_collector_that_hangs_holds_up_neither_publishers_nor_the_end() {
    let base = Base::new();
    base.fine("create demo/jobs --kind queue --slots 64 --slot-bytes 64");
    let collector = Collector::start(|_| None);
    let exporter =
        collector.trace(&base, "demo/jobs", "--all --queue 64 --batch 32 --timeout 150ms --flush 100ms");
    let worker = base.start_to_file("work demo/jobs -n 5000");
    base.fine_fed("pub demo/jobs", numbers(1..=5000).as_bytes());
    assert!(worker.fine().len() > 5000);
    eventually("it has tried several times", || collector.requests().len() >= 3);
    let requests = collector.requests();
    assert!(requests.iter().all(|one| one.body == requests[0].body), "the same batch again");
    let (code, errors) = end(exporter);
    assert_eq!(code, 1, "{errors}");
    assert!(errors.contains("no answer within 150ms"), "{errors}");
}

#[test]
fn what_is_refused_is_told_and_lost_and_the_next_batch_goes_on() {
    let base = Base::new();
    base.fine("create demo/ticks --kind stream --capacity 1MiB");
    let partial = {
        use opentelemetry_proto::tonic::collector::trace::v1::{
            ExportTracePartialSuccess, ExportTraceServiceResponse,
        };
        let error_message = "too old".to_owned();
        let partial_success = Some(ExportTracePartialSuccess { rejected_spans: 3, error_message });
        ExportTraceServiceResponse { partial_success }.encode_to_vec()
    };
    let collector = Collector::start(move |n| match n {
        0 => Some((400, "", b"bad".to_vec())),
        1 => Some((200, "", partial.clone())),
        _ => Some((200, "", Vec::new())),
    });
    let exporter = collector.trace(&base, "demo/ticks", "--all --batch 100");
    base.fine_fed("pub demo/ticks", numbers(1..=1000).as_bytes());
    eventually("the rest has come", || collector.spans().len() >= 900);
    let (code, errors) = end(exporter);
    assert_eq!(code, 1, "{errors}");
    assert!(errors.contains("it answers 400") && errors.contains("too old"), "{errors}");
    let lost = collector.requests()[0].body.clone();
    let lost = spans_of(&lost).len() + 3;
    assert!(
        errors.contains(&format!("{lost} were not taken by the collector, 0 found the queue full")),
        "{errors}"
    );
}

#[test]
fn a_stopped_exporter_holds_nobody_up_and_says_what_it_missed() {
    let base = Base::new();
    base.fine("create demo/jobs --kind queue --slots 64 --slot-bytes 64");
    base.fine("create demo/ticks --kind stream --capacity 4KiB");
    base.fine("create demo/prices --kind topic --slots 64 --slot-bytes 64");
    let collector = Collector::fine();
    let mut exporter = collector.trace(&base, "demo/jobs demo/ticks demo/prices", "--all --quiet");
    exporter.signal(libc::SIGSTOP);
    let worker = base.start_to_file("work demo/jobs -n 3000");
    for channel in ["jobs", "ticks", "prices"] {
        base.fine_fed(&format!("pub demo/{channel} --timeout 30s"), numbers(1..=3000).as_bytes());
    }
    assert!(worker.fine().len() > 3000);
    exporter.signal(libc::SIGCONT);
    for channel in ["jobs", "ticks", "prices"] {
        let last = format!("demo/{channel}");
        eventually(&format!("what is left of {channel} has come"), || {
            collector.spans().iter().any(|span| text(span, "messaging.destination.name") == last)
        });
    }
    let (code, errors) = end(exporter);
    assert_eq!(code, 0, "{errors}");
    // Every event is a span or is reported as missed.
    let missed = errors.lines().find(|line| line.ends_with("before this exporter read them")).expect("told");
    let missed: usize = missed.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    assert_eq!(missed + collector.spans().len(), 9000, "{errors}");
}

/// A foreign program reads the spans: OpenTelemetry's Python package.
#[test]
fn the_messages_are_what_opentelemetrys_own_python_package_reads() {
    const PROGRAM: &str = "
import json, sys
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
request = ExportTraceServiceRequest()
request.ParseFromString(open(sys.argv[1], 'rb').read())
span = request.resource_spans[0].scope_spans[0].spans[0]
assert not len(UnknownFieldSet(request)) and not len(UnknownFieldSet(span))
print(json.dumps({'trace': span.trace_id.hex(), 'parent': span.parent_span_id.hex(), 'name': span.name,
    'flags': span.flags, 'kind': span.kind, 'start': span.start_time_unix_nano,
    'attributes': {one.key: one.value.string_value or one.value.int_value for one in span.attributes}}))
";
    let python = match program::python() {
        Ok(python) => python,
        Err(why) => return println!("skipped: Python's packages cannot be installed here: {why}"),
    };
    let base = Base::new();
    base.fine("create demo/ticks --kind stream --stamp --capacity 64KiB");
    let collector = Collector::fine();
    let exporter = collector.trace(&base, "demo/ticks", "-n 1");
    let before = now_ns();
    base.fine_fed(&format!("pub demo/ticks --type-id 9 --traceparent {}", context("01")), b"hello\n");
    let (status, errors) = exporter.end();
    assert!(status.success(), "{errors}");
    let file = base.file("request");
    std::fs::write(&file, &collector.requests()[0].body).expect("written");
    let output = Command::new(python).args(["-c", PROGRAM]).arg(&file).output().expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let span: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&span["trace"], &span["parent"]), (&TRACE.into(), &PARENT.into()), "{span}");
    assert_eq!(
        (&span["name"], &span["flags"], &span["kind"]),
        (&"deliver demo/ticks".into(), &0x301.into(), &5.into())
    );
    assert!(span["start"].as_u64().is_some_and(|start| start + 1000 >= before), "{span}");
    assert_eq!(
        (&span["attributes"]["railbus.type_id"], &span["attributes"]["messaging.system"]),
        (&9.into(), &"railbus".into())
    );
}

#[test]
fn mistakes_are_explained() {
    let base = Base::new();
    base.fine("create demo/ticks --kind stream --capacity 64KiB");
    for (line, code, why) in [
        ("trace demo/absent", 3, "absent"),
        ("trace", 2, "CHANNELS"),
        ("trace demo/ticks --otlp https://127.0.0.1:4318", 2, "https is not spoken here"),
        ("trace demo/ticks --otlp nonsense", 2, "only http"),
        ("trace demo/ticks --sample 2", 2, "0 to 1"),
        ("trace demo/ticks --batch 0", 2, "--batch"),
        ("trace demo/ticks --queue 10", 2, "--queue"),
        ("trace demo/ticks --poll 1us", 2, "--poll"),
        ("trace --journal /nowhere/demo/ticks", 3, "/nowhere"),
        ("pub demo/ticks --traceparent 00-1-2-3", 2, "hexadecimal"),
        ("pub demo/ticks --traceparent 00-00000000000000000000000000000000-b7ad6b7169203331-01", 2, "zeros"),
    ] {
        let (found, errors) = base.fails(line);
        assert!(found == code && errors.contains(why), "{line}: {found}: {errors}");
    }
}
