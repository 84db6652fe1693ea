//! `railbus metrics`: scraped and parsed by the parser of Prometheus' own client, and viewed in a
//! real browser.

mod program;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use program::{Base, Running, eventually};
use railbus::{Bus, ChannelOptions, Kind, SendOptions, SubscribeOptions, WorkOptions};
use serde_json::Value;

/// A server on a free port, and its address.
struct Server {
    running: Running,
    address: String,
}

impl Server {
    fn start(base: &Base, arguments: &str) -> Server {
        let mut running = base.start(&format!("metrics --listen 127.0.0.1:0 --interval 50ms {arguments}"));
        let mut line = String::new();
        let output = running.child().stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let address =
            line.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("an address").0;
        Server { address: address.to_owned(), running }
    }

    /// The head and the body of the answer.
    fn ask(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
        write!(stream, "{request} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address)
            .expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text}"));
        (head.to_owned(), body.to_owned())
    }

    fn stat(&self) -> Value {
        serde_json::from_str(&self.ask("GET /stat.json").1).expect("JSON")
    }

    fn ends_well(mut self) {
        self.running.signal(libc::SIGTERM);
        let output = self.running.finish();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(TcpStream::connect(&self.address).is_err(), "it still listens");
    }
}

/// No participant of a scene counts as stuck.
const LONG: Duration = Duration::from_secs(3600);

/// Channels with names that need escaping, latencies, losses; everything at rest.
fn scene(base: &Base) -> impl Sized {
    let bus = Bus::at(base.path(), "demo").expect("a bus");
    let options = ChannelOptions::new(Kind::Stream).capacity_bytes(1 << 16).stamp(true).stuck_after(LONG);
    let ticks = bus.create("ticks", &options).expect("made");
    let mut publisher = ticks.publisher(&SendOptions::default().name("fe\"ed\\")).expect("one");
    let options = SubscribeOptions::default().name("<b>screen</b>");
    let mut reader = ticks.subscriber(&options).expect("joined");
    for n in 0..500u64 {
        publisher.publish(&n.to_le_bytes()).expect("room");
        if n % 10 == 0 {
            std::thread::sleep(Duration::from_micros(200));
        }
        assert!(reader.recv().is_ok());
    }
    reader.acknowledge();
    publisher.publish(&[0; 1000]).expect("room");
    let options = ChannelOptions::new(Kind::Queue).slots(64).slot_bytes(64).stamp(true).stuck_after(LONG);
    let jobs = bus.create("jo\"b\\s", &options).expect("made");
    let mut producer = jobs.producer(&SendOptions::default()).expect("attached");
    let mut worker = jobs.worker(&WorkOptions::default().name("smith")).expect("attached");
    for _ in 0..30 {
        producer.publish(b"job").expect("room");
    }
    for n in 0..20 {
        let job = worker.take().expect("an event");
        if n % 5 == 0 {
            job.retry();
        } else {
            let _ = job.done();
        }
    }
    (publisher, reader, producer, worker)
}

const PARSE: &str = "
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
families = []
for family in text_string_to_metric_families(sys.stdin.read()):
    families.append({'name': family.name, 'type': family.type, 'unit': family.unit, 'help': family.documentation,
        'samples': [[sample.name, sample.labels, sample.value] for sample in family.samples]})
json.dump(families, sys.stdout)
";

/// The parser's result for the text.
fn parsed(python: &Path, text: &str) -> Value {
    let mut command = Command::new(python);
    command.args(["-c", PARSE]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("started");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The value of the only sample of this name with these labels.
fn sample(families: &Value, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let samples = families
        .as_array()
        .expect("families")
        .iter()
        .flat_map(|family| family["samples"].as_array().expect("samples"));
    let mut found = samples
        .filter(|sample| sample[0] == name && labels.iter().all(|(label, value)| sample[1][label] == *value));
    let value = found.next()?[2].as_f64();
    assert!(found.next().is_none(), "several {name} {labels:?}");
    value
}

#[test]
fn prometheus_parses_it_and_finds_what_stat_shows() {
    let base = Base::new();
    let _scene = scene(&base);
    let server = Server::start(&base, "");
    let (head, text) = server.ask("GET /metrics");
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    assert!(text.ends_with("# EOF\n"), "{text}");
    let python = match program::python() {
        Ok(python) => python,
        Err(why) => return eprintln!("skipped: no Python with prometheus-client here: {why}"),
    };
    let families = parsed(&python, &text);
    let stat = server.stat();
    for channel in stat.as_array().expect("an array") {
        let name = channel["channel"].as_str().expect("a name");
        let of_channel = |field: &str| channel[field].as_f64();
        for (metric, field) in [
            ("railbus_events_total", "events"),
            ("railbus_depth", "depth"),
            ("railbus_waiting", "waiting"),
            ("railbus_in_hand", "in_hand"),
            ("railbus_capacity", "capacity"),
            ("railbus_high_water", "high_water"),
            ("railbus_lag", "lag"),
            ("railbus_dropped_total", "dropped"),
            ("railbus_redelivered_total", "redelivered"),
            ("railbus_dead_lettered_total", "dead_lettered"),
            ("railbus_stuck", "stuck"),
            ("railbus_producers", "producers"),
            ("railbus_consumers", "consumers"),
        ] {
            assert_eq!(
                sample(&families, metric, &[("channel", name)]),
                of_channel(field),
                "{metric} of {name}"
            );
        }
        for one in channel["participants"].as_array().expect("participants") {
            let labels = [
                ("channel", name),
                ("who", one["who"].as_str().expect("who")),
                ("name", one["name"].as_str().expect("name")),
            ];
            for (metric, field) in [
                ("railbus_participant_events_total", "events"),
                ("railbus_participant_payload_bytes_total", "bytes"),
                ("railbus_participant_full_total", "full"),
                ("railbus_participant_in_hand", "in_hand"),
                ("railbus_participant_lag", "lag"),
            ] {
                assert_eq!(sample(&families, metric, &labels), one[field].as_f64(), "{metric} of {labels:?}");
            }
        }
        for (quantile, field) in [("0.5", "p50"), ("0.99", "p99"), ("0.9999", "p9999"), ("1", "max")] {
            let labels = [("channel", name), ("quantile", quantile)];
            let seconds = sample(&families, "railbus_latency_seconds", &labels).expect("measured");
            let ns = channel["latency_ns"][field].as_f64().expect("measured");
            assert!((seconds * 1e9 - ns).abs() < 1.0, "{field} of {name}: {seconds} s, {ns} ns");
        }
    }
    assert_eq!(
        sample(&families, "railbus_participant_measured_total", &[("name", "<b>screen</b>")]),
        Some(500.0)
    );
    assert_eq!(sample(&families, "railbus_participant_live", &[("name", "fe\"ed\\")]), Some(1.0));
    let all: Vec<&str> =
        families.as_array().expect("families").iter().filter_map(|family| family["name"].as_str()).collect();
    assert!(all.iter().all(|name| name.starts_with("railbus_")), "{all:?}");
    assert!(
        families
            .as_array()
            .expect("families")
            .iter()
            .all(|family| family["help"].as_str().is_some_and(|help| !help.is_empty()))
    );
    server.ends_well();
}

#[test]
fn a_channel_that_cannot_be_read_is_told_and_the_others_are_served() {
    let base = Base::new();
    base.fine("create demo/good");
    base.fine("create demo/bad");
    std::fs::write(base.path().join("demo/bad.acks"), b"harmed").expect("written");
    let server = Server::start(&base, "demo");
    let (_, text) = server.ask("GET /metrics");
    assert!(text.contains("railbus_unreadable{channel=\"demo/bad\"} 1"), "{text}");
    assert!(text.contains("railbus_depth{channel=\"demo/good\",kind=\"stream\"} 0"), "{text}");
    // Channels and buses that come and go in the meantime are followed.
    base.fine("rm demo/good demo/bad");
    base.fine("prune demo");
    eventually("nothing is there any more", || server.stat().as_array().is_some_and(Vec::is_empty));
    base.fine("create demo/again");
    eventually("it is there again", || server.stat()[0]["channel"] == "demo/again");
    server.ends_well();
}

#[test]
fn the_server_answers_three_paths_and_endures_bad_clients() {
    let base = Base::new();
    let server = Server::start(&base, "");
    for (request, status, word) in [
        ("GET /", "200", "<!doctype html>"),
        ("GET /?x=1", "200", "<!doctype html>"),
        ("GET /stat.json", "200", "[]"),
        ("GET /favicon.ico", "404", "/metrics"),
        ("GET /../etc/passwd", "404", "/metrics"),
        ("POST /metrics", "405", "GET"),
        ("DELETE /", "405", "GET"),
    ] {
        let (head, body) = server.ask(request);
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}")) && body.contains(word),
            "{request}: {head} {body}"
        );
        assert!(head.to_lowercase().contains("content-security-policy: default-src 'none'"), "{head}");
    }
    assert_eq!(server.ask("HEAD /metrics").1, "");
    // The page sends no request to another host.
    let page = server.ask("GET /").1;
    for outside in ["https://", "//cdn", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside} is in the page");
    }
    assert_eq!(page.matches("http://").count(), page.matches("http://www.w3.org/2000/svg").count());
    // Nonsense, silence, and many requests at once do not keep others from being answered.
    let mut nonsense = TcpStream::connect(&server.address).expect("connected");
    nonsense.write_all(&[0xFF; 4096]).expect("sent");
    let silent: Vec<TcpStream> =
        (0..20).map(|_| TcpStream::connect(&server.address).expect("connected")).collect();
    assert!(server.ask("GET /metrics").0.starts_with("HTTP/1.1 200"));
    drop(silent);
    server.ends_well();
}

#[test]
fn bad_addresses_are_explained_and_others_than_loopback_told_aloud() {
    let base = Base::new();
    let taken = Server::start(&base, "");
    for (address, expected, word) in [
        ("nonsense", 2, "HOST:PORT"),
        ("127.0.0.1", 2, "HOST:PORT"),
        ("127.0.0.1:99999", 2, "HOST:PORT"),
        ("203.0.113.7:9464", 2, "no such address"),
        (taken.address.as_str(), 1, "something else listens there"),
    ] {
        let (code, said) = base.fails(&format!("metrics --listen {address}"));
        assert!(code == expected && said.contains(word), "{address}: {code} {said}");
    }
    taken.ends_well();
    let mut open = base.start("metrics --listen 0.0.0.0:0");
    let mut line = String::new();
    BufReader::new(open.child().stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    open.signal(libc::SIGINT);
    let output = open.finish();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("not loopback"), "{output:?}");
}

/// A headless Chromium, or the reason why there is none.
fn chromium() -> Result<&'static str, String> {
    ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success()))
        .ok_or_else(|| "no Chromium here (apt-get install chromium-headless-shell)".to_owned())
}

/// Runs it on a page, for this much of the page's own time.
fn browse(name: &str, profile: &Path, arguments: &[&str], url: &str) -> Vec<u8> {
    let mut command = Command::new(name);
    // In a container, and as root, its own sandbox does not work; the page is ours.
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
    ]);
    command.arg(format!("--user-data-dir={}", profile.display())).args(["--window-size=1200,900"]);
    command.arg("--virtual-time-budget=6000").args(arguments).arg(url);
    let output = command.stdin(Stdio::null()).output().expect("started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The part of the document that begins with this text.
fn after<'a>(dom: &'a str, text: &str) -> &'a str {
    dom.split_once(text).unwrap_or_else(|| panic!("{text} is not in {dom}")).1
}

#[test]
fn a_browser_draws_the_charts_with_the_values_of_stat() {
    let browser = match chromium() {
        Ok(browser) => browser,
        Err(why) => return eprintln!("skipped: {why}"),
    };
    let base = Base::new();
    let _scene = scene(&base);
    let server = Server::start(&base, "");
    let url = format!("http://{}/", server.address);
    let profile = tempfile::tempdir().expect("a directory");
    let dom = String::from_utf8(browse(browser, profile.path(), &["--dump-dom"], &url)).expect("text");
    let stat = server.stat();
    assert!(dom.contains("<small id=\"state\" class=\"\">2 channels</small>"), "{dom}");
    let ticks =
        stat.as_array().expect("an array").iter().find(|one| one["channel"] == "demo/ticks").expect("there");
    let section = after(&dom, "<section data-channel=\"demo/ticks\">");
    let section = section.split_once("</section>").expect("its end").0;
    for (chart, field, expected) in [
        ("throughput", "events_per_second", &ticks["events_per_second"]),
        ("depth", "depth_percent", &ticks["depth_percent"]),
        ("latency", "p50", &ticks["latency_ns"]["p50"]),
        ("latency", "p99", &ticks["latency_ns"]["p99"]),
        ("latency", "p999", &ticks["latency_ns"]["p999"]),
    ] {
        let figure = after(section, &format!("<figure data-chart=\"{chart}\">"));
        let shown = after(figure, &format!("data-field=\"{field}\" data-value=\""));
        let shown: f64 = shown.split_once('"').expect("its end").0.parse().expect("a number");
        assert_eq!(Some(shown), expected.as_f64(), "{field}");
        let points = after(figure, "points=\"").split_once('"').expect("its end").0;
        assert!(points.split(' ').count() >= 3, "{chart} has few points: {points:?}");
        for point in points.split(' ') {
            let (x, y) = point.split_once(',').unwrap_or_else(|| panic!("{chart}: {points:?}"));
            let (x, y): (f64, f64) = (x.parse().expect("x"), y.parse().expect("y"));
            assert!((0.0..300.0).contains(&x) && (0.0..=100.0).contains(&y), "{point}");
        }
    }
    assert!(ticks["depth_percent"].as_f64() > Some(1.0), "something waits, so that the chart is not flat");
    // Names are text, whatever they look like.
    assert!(section.contains("&lt;b&gt;screen&lt;/b&gt;") && !section.contains("<b>screen"), "{section}");
    assert!(section.contains("data-who=\"consumer:0\""), "{section}");

    // The picture is not that of an empty page.
    let picture = |url: &str, name: &str| {
        let file = profile.path().join(name);
        browse(browser, profile.path(), &[&format!("--screenshot={}", file.display())], url);
        std::fs::read(file).expect("a screenshot")
    };
    let (page, blank) = (picture(&url, "page.png"), picture("about:blank", "blank.png"));
    assert!(page.starts_with(b"\x89PNG\r\n\x1a\n") && page.ends_with(b"IEND\xaeB`\x82"));
    assert_eq!((&page[16..20], &page[20..24]), (&1200u32.to_be_bytes()[..], &900u32.to_be_bytes()[..]));
    assert!(page.len() > 3 * blank.len(), "{} bytes, an empty page has {}", page.len(), blank.len());
    if let Some(keep) = std::env::var_os("RAILBUS_SCREENSHOT") {
        std::fs::write(keep, &page).expect("kept");
    }
    server.ends_well();
}

#[test]
fn clients_that_never_send_or_read_keep_nobody_waiting() {
    let base = Base::new();
    let _scene = scene(&base);
    let server = Server::start(&base, "");
    let mut slow = Vec::new();
    for i in 0..200 {
        let mut stream = TcpStream::connect(&server.address).expect("connected");
        if i % 2 == 0 {
            // Asks again and again, and reads nothing.
            let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
            let _ = stream.write_all(request.repeat(20).as_bytes());
        }
        slow.push(stream);
    }
    assert!(server.ask("GET /metrics").1.contains("railbus_depth"));
    server.ends_well();
}

#[test]
fn a_page_of_another_host_name_is_not_answered() {
    let base = Base::new();
    let server = Server::start(&base, "--allow-host bus.example");
    let ask = |host: &str| {
        let mut stream = TcpStream::connect(&server.address).expect("connected");
        write!(stream, "GET /stat.json HTTP/1.1\r\nHost: {host}\r\n\r\n").expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        text
    };
    assert!(ask("evil.example:9464").starts_with("HTTP/1.1 421 "));
    for host in ["localhost:1", "127.0.0.1", "[::1]:9464", "bus.example"] {
        assert!(ask(host).starts_with("HTTP/1.1 200 "), "{host}");
    }
}

#[test]
fn other_users_see_only_channels_that_everybody_may_read_unless_they_bring_the_token() {
    use railbus_os::act_as;
    if act_as::user() != 0 {
        println!("skipped: only root can act for two users");
        return;
    }
    const NOBODY: u32 = 65534;
    let base = Base::new();
    base.fine("create demo/private --capacity 64KiB");
    base.fine("create demo/public --capacity 64KiB --producers-mode 644 --consumers-mode 644");
    std::fs::write(base.file("token"), "0123456789abcdef0123\n").expect("written");
    let server = Server::start(&base, &format!("--token-file {}", base.file("token").display()));
    let ask = |user: u32, more: &str| {
        let connect = || TcpStream::connect(&server.address).expect("connected");
        let mut stream = act_as::as_user(user, user, connect).expect("root may");
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n{more}\r\n").expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        text
    };
    let sees = |text: &str| (text.contains("demo/private"), text.contains("demo/public"));
    assert_eq!(sees(&ask(0, "")), (true, true));
    assert_eq!(sees(&ask(NOBODY, "")), (false, true));
    assert_eq!(sees(&ask(NOBODY, "Authorization: Bearer 0123456789abcdef0123\r\n")), (true, true));
    let wrong = ask(NOBODY, "Authorization: Bearer 0123456789abcdef0124\r\n");
    assert!(wrong.starts_with("HTTP/1.1 401 ") && sees(&wrong) == (false, false), "{wrong}");
}
