//! Act 4: how long a round trip takes, beside the physical limit, by `railbus bench latency`.

use std::process::{Command, Stdio};

use railbus::Error;
use serde_json::Value;

use super::stage::DemoStage;
use super::{Scale, say};
use crate::commands::ls::align;
use crate::failure::{Failure, Outcome};
use crate::interrupt;

/// Plays the act.
pub(crate) fn play(stage: &DemoStage, scale: &Scale) -> Outcome {
    let cores: Vec<String> = stage.cores().iter().take(2).map(ToString::to_string).collect();
    say(&format!(
        "\n4  Round trips between two processes on processor {}, beside two bare words bounced between them",
        cores.join(" and processor ")
    ))?;
    let heads = ["   KIND", "PAYLOAD", "P50", "P99", "P99.9", "LIMIT P50", "LIMIT P99", "RATIO"];
    let mut rows = vec![heads.map(str::to_owned)];
    let (mut pages, mut doubts) = (String::new(), Vec::new());
    for &(kind, payload) in scale.latencies {
        let report = measure(kind, payload, &cores.join(","), scale.latency_seconds)?;
        let ns = |path: &str| {
            report.pointer(path).and_then(Value::as_f64).map_or("?".into(), |ns| format!("{ns:.0} ns"))
        };
        let ratio = report["ratio"].as_f64().map_or("?".into(), |ratio| format!("{ratio:.2}"));
        let is_reliable = report["reliable"] != false;
        if !is_reliable {
            let why = report["unreliable_because"].as_array().into_iter().flatten().filter_map(Value::as_str);
            doubts.push(format!("{kind} of {payload} B: {}", why.collect::<Vec<_>>().join("; ")));
        }
        rows.push([
            format!("   {kind}"),
            format!("{payload} B"),
            ns("/rtt_ns/p50"),
            ns("/rtt_ns/p99"),
            ns("/rtt_ns/p999"),
            ns("/limit_rtt_ns/p50"),
            ns("/limit_rtt_ns/p99"),
            if is_reliable { ratio } else { format!("{ratio} unreliable") },
        ]);
        pages = report["pages"].as_str().unwrap_or_default().to_owned();
    }
    say(align(&rows).trim_end())?;
    say(&format!("   pages   {pages}"))?;
    for doubt in doubts {
        say(&format!("   unreliable: {doubt}"))?;
    }
    say(
        "   RATIO is the mean round trip over the limit's, trimmed of what the scheduler took; `railbus bench` says more",
    )
}

fn measure(kind: &str, payload: usize, cores: &str, seconds: f64) -> Result<Value, Failure> {
    let fail = |error| Error::io("start", "/proc/self/exe", error);
    let output = Command::new("/proc/self/exe")
        .args([
            "bench",
            "latency",
            "--json",
            "--kind",
            kind,
            "--payload",
            &payload.to_string(),
            "--cores",
            cores,
        ])
        .args(["--seconds", &seconds.to_string(), "--repetitions", "1"])
        .stdin(Stdio::null())
        .output()
        .map_err(fail)?;
    if interrupt::is_asked() {
        return Err(Failure::new("interrupted; everything is cleaned up"));
    }
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!(
            "act 4: `railbus bench latency --kind {kind}` failed: {}",
            said.trim_end()
        )));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| Failure::new(format!("act 4: the report is no JSON: {error}")))
}
