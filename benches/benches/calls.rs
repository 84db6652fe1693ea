//! The cost of the calls within one thread: publish and receive, in place, in batches, for each
//! kind.
//!
//! `cargo bench -p railbus-benches`. The figures are for comparing one version with the next on one
//! machine. Between cores the transfer of the lines is added, which `railbus bench` measures beside
//! its physical limit.

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use railbus::PublishEnd;
use railbus_benches::{Pair, Take, TemporaryBus, queue, stream, topic};

/// Events of one batch.
const BATCH: usize = 32;

fn one_kind<O: PublishEnd, R: Take>(
    criterion: &mut Criterion,
    kind: &str,
    make: impl Fn(&TemporaryBus, u32) -> Pair<O, R>,
) {
    let mut group = criterion.benchmark_group(kind);
    for bytes in [8, 64, 256] {
        group.throughput(Throughput::Elements(1));
        one_by_one(&mut group, bytes, &make);
        in_place(&mut group, bytes, &make);
        group.throughput(Throughput::Elements(BATCH as u64));
        in_batches(&mut group, bytes, &make);
    }
    group.finish();
}

fn one_by_one<O: PublishEnd, R: Take>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    bytes: usize,
    make: &impl Fn(&TemporaryBus, u32) -> Pair<O, R>,
) {
    let temporary = TemporaryBus::new();
    let mut pair = make(&temporary, 1);
    let payload = vec![7u8; bytes];
    group.bench_with_input(BenchmarkId::new("publish+receive", bytes), &bytes, |bencher, _| {
        bencher.iter(|| {
            pair.sender.try_publish(black_box(&payload)).expect("there is room");
            pair.receiver.take_one()
        });
    });
}

fn in_place<O: PublishEnd, R: Take>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    bytes: usize,
    make: &impl Fn(&TemporaryBus, u32) -> Pair<O, R>,
) {
    let temporary = TemporaryBus::new();
    let mut pair = make(&temporary, 1);
    let payload = vec![7u8; bytes];
    group.bench_with_input(BenchmarkId::new("claim+commit+receive", bytes), &bytes, |bencher, _| {
        bencher.iter(|| {
            let mut claim = pair.sender.try_claim(black_box(bytes)).expect("there is room");
            claim.copy_from_slice(black_box(&payload));
            claim.commit();
            pair.receiver.take_one()
        });
    });
}

fn in_batches<O: PublishEnd, R: Take>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    bytes: usize,
    make: &impl Fn(&TemporaryBus, u32) -> Pair<O, R>,
) {
    let temporary = TemporaryBus::new();
    let mut pair = make(&temporary, BATCH as u32);
    let payloads = vec![vec![7u8; bytes]; BATCH];
    group.bench_with_input(BenchmarkId::new(format!("batch of {BATCH}"), bytes), &bytes, |bencher, _| {
        bencher.iter(|| {
            let sent = pair.sender.try_publish_batch(black_box(&payloads)).expect("it is sound");
            assert_eq!((sent, pair.receiver.take_batch(BATCH)), (BATCH, BATCH));
        });
    });
}

fn all(criterion: &mut Criterion) {
    one_kind(criterion, "stream", |temporary, _| stream(temporary));
    one_kind(criterion, "topic", |temporary, _| topic(temporary));
    one_kind(criterion, "queue", queue);
}

criterion_group! {
    name = calls;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(700));
    targets = all
}
criterion_main!(calls);
