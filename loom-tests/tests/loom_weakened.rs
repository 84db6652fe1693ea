//! Every ordering is needed: each end of each edge, weakened to relaxed (a memory fence: left out),
//! makes a model fail.
//!
//! The table lists every end that the protocols use, with the model that catches it, or with the
//! reason why no model of loom can. Those reasons are then the only argument for the ordering. A
//! pass does not prove that each *single* access of an edge needs its ordering: an end is weakened
//! everywhere at once.
//!
//! The journal's doorbell has no model of its own. It does in many channels what a sleeper does in
//! one: it announces itself in each, runs one barrier and one memory fence, PARK, for all, looks at
//! each, and sleeps. So for each channel the rows of PARK and WAKE apply. More announcements before
//! the memory fence take nothing from any of them.
//!
//! The turns of workers of several levels (`ring/levels.rs`) have no model either. Their words are
//! hints: a late look lets a worker take a little too early, or look once more. HEAD and the done
//! words decide which worker gets the event. The times of a worker's earlier looks (`Looks`) are
//! its own memory, which no other thread sees.

use std::sync::Mutex;
use std::time::Instant;

use End::{Fence, LightFence, Load, Store, Update};
use railbus_loom_tests::loom_memory::{End, Weak, Weakened, explore, failure, is_deep, used_ends};
use railbus_loom_tests::models::{
    janitor, keyed, latency, park, queue, registration, replies, stream, table as tables, topic, unique,
};

use railbus_ring::members::join::StartAt;
use railbus_ring::memory::Edge;

/// A model as the table names it: explored with this many preemptions.
#[derive(Clone, Copy)]
struct Lives(usize, fn(Weak));

/// The fate of a weakened end.
enum Fate {
    /// This model fails.
    Caught(Lives),
    /// This model passes: why loom cannot see it, or which other ordering implies it.
    Unseen(Lives, &'static str),
}

use Fate::{Caught, Unseen};

/// Every end of every edge that the protocols use; some more than once, by different users.
fn table() -> Vec<(Edge, End, Fate)> {
    let mut rows = rings();
    rows.push((Edge::State, Store, Caught(Lives(3, janitor::one_at_a_time::<true>))));
    rows.push((Edge::State, Update, Caught(Lives(3, janitor::one_at_a_time::<true>))));
    rows.extend(of_tables());
    rows.extend(of_replies());
    rows.push((Edge::Unique, Fence, Caught(Lives(3, unique::two_producers))));
    for end in [Update, Load] {
        rows.push((
            Edge::Unique,
            end,
            Unseen(
                Lives(3, unique::two_producers),
                "A producer that finds an entry and not yet its key goes on. But the other one then fences later, and so \
                 sees the first one's entry and key by the fences alone. The sequence words decide the rest.",
            ),
        ));
    }
    rows
}

fn of_replies() -> Vec<(Edge, End, Fate)> {
    vec![
        (Edge::Reply, Store, Caught(Lives(3, replies::read_beside))),
        (Edge::Reply, Load, Caught(Lives(3, replies::read_beside))),
        (Edge::Writing, Fence, Caught(Lives(3, replies::reuse_beside))),
        (Edge::Writing, Fence, Caught(Lives(3, replies::two_servers))),
        (Edge::Writing, Store, Caught(Lives(3, replies::reuse_beside))),
        (
            Edge::Writing,
            Load,
            Unseen(
                Lives(3, replies::reuse_beside),
                "The server of the next call lives in the client's thread, and its own memory fence comes after the \
                 load. For real, the publication of the request carries what the client has seen.",
            ),
        ),
        (Edge::Overwrite, Fence, Caught(Lives(3, replies::again_beside))),
        (Edge::Validate, Fence, Caught(Lives(3, replies::again_beside))),
    ]
}

fn of_tables() -> Vec<(Edge, End, Fate)> {
    vec![
        (Edge::Owner, Store, Caught(Lives(2, tables::two_writers))),
        (Edge::Owner, Update, Caught(Lives(2, tables::two_writers))),
        (Edge::Owner, Load, Caught(Lives(2, tables::watch_both))),
        (Edge::Version, Store, Caught(Lives(2, tables::read_beside))),
        (Edge::Version, Load, Caught(Lives(2, tables::read_beside))),
        (Edge::Validate, Fence, Caught(Lives(2, tables::read_beside))),
        (Edge::Validate, Fence, Caught(Lives(2, tables::reuse_beside))),
        (
            Edge::Overwrite,
            Fence,
            Unseen(
                Lives(2, tables::read_beside),
                "MARK comes right before it. In loom, which has no membarrier, that is a whole memory fence.",
            ),
        ),
        (Edge::Chain, Update, Caught(Lives(2, tables::two_enter))),
        (Edge::Chain, Load, Caught(Lives(2, tables::two_enter))),
        (
            Edge::Chain,
            Store,
            Unseen(
                Lives(2, tables::two_enter),
                "An entry is found by way of its bucket, whose compare-and-swap comes after the stores and releases \
                 them, too.",
            ),
        ),
        (
            Edge::Mark,
            Update,
            Unseen(
                Lives(2, tables::watch_both),
                "The memory fence of MARK right before it releases it, too. For real, a membarrier replaces that fence.",
            ),
        ),
        (Edge::Mark, Load, Caught(Lives(2, tables::watch_both))),
        (Edge::Mark, Fence, Caught(Lives(2, tables::watch_begins))),
        (Edge::Mark, LightFence, Caught(Lives(2, tables::watch_begins))),
    ]
}

fn rings() -> Vec<(Edge, End, Fate)> {
    vec![
        (Edge::Commit, Store, Caught(Lives(3, stream::publish_next))),
        (Edge::Commit, Load, Caught(Lives(3, stream::batch))),
        (
            Edge::Cursor,
            Store,
            Unseen(
                Lives(3, stream::gate),
                "A reader that lends bytes marks the span and fences before it reads the next frame. That fence orders \
                 the reads before it. The row below covers reads that no fence follows.",
            ),
        ),
        (Edge::Cursor, Store, Caught(Lives(3, topic::gate))),
        (Edge::Cursor, Load, Caught(Lives(3, topic::gate))),
        (
            Edge::Cursor,
            Load,
            Unseen(
                Lives(3, stream::gate),
                "A stream's limit is bounded by its floor, which is raised by cursors that were read before the \
                 JOIN fence: that fence acquires them.",
            ),
        ),
        (Edge::Index, Update, Caught(Lives(2, queue::index))),
        (Edge::Index, Load, Caught(Lives(2, queue::index))),
        (
            Edge::Index,
            Store,
            Unseen(
                Lives(2, queue::index),
                "A leaf is found by way of the nodes above it, whose renewal comes after it and releases it, too. Who \
                 comes to it another way looks at the done word again.",
            ),
        ),
        (Edge::Places, Store, Caught(Lives(2, |weak| stream::join(weak, StartAt::Oldest)))),
        (Edge::Places, Load, Caught(Lives(2, |weak| stream::join(weak, StartAt::Oldest)))),
        (Edge::Join, Fence, Caught(Lives(2, |weak| stream::join(weak, StartAt::Oldest)))),
        (Edge::Join, Fence, Caught(Lives(3, topic::join_live::<true>))),
        (Edge::Join, Fence, Caught(Lives(3, topic::join_live::<false>))),
        (Edge::Join, Fence, Caught(Lives(2, |weak| stream::lossy(weak, false)))),
        (Edge::Overwrite, Fence, Caught(Lives(3, topic::lossy::<true>))),
        (Edge::Overwrite, Fence, Caught(Lives(3, topic::lossy::<false>))),
        (Edge::Validate, Fence, Caught(Lives(3, topic::lossy::<true>))),
        (Edge::Validate, Fence, Caught(Lives(3, topic::lossy::<false>))),
        (Edge::Validate, Fence, Caught(Lives(2, |weak| stream::lossy(weak, false)))),
        (Edge::Overwrite, Fence, Caught(Lives(3, latency::turn))),
        (Edge::Validate, Fence, Caught(Lives(3, latency::turn))),
        (Edge::Overwrite, Fence, Caught(Lives(3, latency::take_over))),
        (Edge::Validate, Fence, Caught(Lives(3, latency::take_over))),
        (Edge::Overwrite, Fence, Caught(Lives(3, registration::proof_changes_hands))),
        (Edge::Validate, Fence, Caught(Lives(3, registration::proof_changes_hands))),
        (Edge::Announce, Store, Caught(Lives(3, queue::skip_among_the_living))),
        (
            Edge::Announce,
            Store,
            Unseen(
                Lives(3, queue::sweep_among_the_living),
                "A worker's ticket is repaired by a compare-and-swap, which finds the newest done word whatever was \
                 seen before. Stepping over a producer's ticket changes nothing of the producer's: there the claim \
                 must bring the sequence word.",
            ),
        ),
        (Edge::Announce, Load, Caught(Lives(3, queue::skip_among_the_living))),
        (
            Edge::Announce,
            Load,
            Unseen(Lives(3, queue::sweep_among_the_living), "As the store: the other end of the same pair."),
        ),
        (Edge::Tail, Load, Caught(Lives(3, queue::skip_among_the_living))),
        (Edge::Tail, Update, Caught(Lives(3, queue::skip_among_the_living))),
        (Edge::Head, Load, Caught(Lives(3, queue::sweep_among_the_living))),
        (Edge::Head, Update, Caught(Lives(3, queue::sweep_among_the_living))),
        (Edge::Publish, Store, Caught(Lives(3, queue::one_to_one))),
        (Edge::Publish, Load, Caught(Lives(3, queue::one_to_one))),
        (Edge::Publish, Update, Caught(Lives(2, topic::dead_then_lap))),
        (Edge::Done, Store, Caught(Lives(3, queue::one_to_one))),
        (Edge::Done, Load, Caught(Lives(3, queue::one_to_one))),
        (
            Edge::Done,
            Update,
            Unseen(
                Lives(3, queue::dead_then_lap),
                "A worker finds what was handed back through the index, whose updates come after this one and release \
                 it, too. A worker that comes to the done word another way is in the rows of keys and of swaps below.",
            ),
        ),
        (Edge::Aside, Fence, Caught(Lives(3, keyed::two_workers))),
        (Edge::Done, Load, Caught(Lives(3, keyed::two_workers))),
        (Edge::Done, Store, Caught(Lives(3, keyed::two_workers))),
        (Edge::Done, Update, Caught(Lives(3, queue::one_to_one_swapping))),
        (Edge::State, Store, Caught(Lives(3, registration::name_is_known))),
        (Edge::State, Load, Caught(Lives(3, registration::name_is_known))),
        (Edge::State, Store, Caught(Lives(3, latency::turn))),
        (Edge::State, Load, Caught(Lives(3, latency::turn))),
        (Edge::State, Store, Caught(Lives(3, latency::take_over))),
        (Edge::State, Load, Caught(Lives(3, latency::take_over))),
        (
            Edge::State,
            Update,
            Unseen(
                Lives(3, registration::leave_evict_bury),
                "Whoever acts on an entry that was left has seen its life lock dropped, which comes after the leave; \
                 an evicted reader's entry tells nothing but that its cursor gates nobody (what an evicted worker's \
                 tells is the next row's); and whoever relies on an entry below the high-water mark has it through \
                 TAIL, HEAD or JOIN.",
            ),
        ),
        (
            Edge::State,
            Update,
            Unseen(
                Lives(2, |weak| queue::evicted(weak, false, false)),
                "The barrier that the evictor waits for after it has closed the fence orders the closing for the \
                 evicted worker, too. Other users of this end are below.",
            ),
        ),
        (
            Edge::State,
            Load,
            Unseen(
                Lives(2, |weak| queue::evicted(weak, false, false)),
                "The owner that finds its fence closed only gives up, and what it reads of a later lap has the closing \
                 before it by PUBLISH; who goes on with an eviction has it from who began it by the janitor lock, or by \
                 an update. Who sweeps for another and meets a closed fence replaces words that the evicted one may have \
                 stored before: the acquire puts its swap after that store, where loom's swaps are anyway.",
            ),
        ),
        (
            Edge::Announce,
            Store,
            Unseen(
                Lives(2, |weak| queue::evicted(weak, false, false)),
                "As where nobody is evicted: the swap finds the newest done word.",
            ),
        ),
        (
            Edge::Announce,
            Load,
            Unseen(
                Lives(2, |weak| queue::evicted(weak, false, false)),
                "As the store: the other end of the same pair.",
            ),
        ),
        (Edge::Head, Load, Caught(Lives(3, registration::an_evicted_workers_entry_changes_hands))),
        (Edge::Head, Update, Caught(Lives(3, registration::an_evicted_workers_entry_changes_hands))),
        (
            Edge::State,
            Store,
            Unseen(
                Lives(3, registration::an_evicted_workers_entry_changes_hands),
                "A new owner's open fence counts for the tickets that it won: who sees one won (HEAD, in the rows \
                 above) sees the fence that was opened before.",
            ),
        ),
        (
            Edge::Announce,
            Store,
            Unseen(
                Lives(3, registration::an_evicted_workers_entry_changes_hands),
                "As STATE there: HEAD brings the claim and the fence.",
            ),
        ),
        (Edge::Lent, Fence, Caught(Lives(3, topic::evicted))),
        (Edge::Cursor, Store, Caught(Lives(3, topic::evicted))),
        (Edge::Cursor, Load, Caught(Lives(3, topic::evicted))),
        (Edge::State, Store, Caught(Lives(3, registration::sequence_is_known))),
        (Edge::State, Load, Caught(Lives(3, registration::sequence_is_known))),
        (Edge::Park, Fence, Caught(Lives(3, park::one_sleeper))),
        (Edge::Park, Fence, Caught(Lives(3, park::nudged))),
        (Edge::Park, LightFence, Caught(Lives(3, park::one_sleeper))),
        (
            Edge::Park,
            Update,
            Unseen(
                Lives(3, park::one_sleeper),
                "The fence that follows it orders it before the second look.",
            ),
        ),
        (
            Edge::Wake,
            Load,
            Unseen(
                Lives(3, park::one_sleeper),
                "A sleeper would have to read the wake word of a waker that has seen the announcement which comes \
                 after that read: load buffering, which loom does not have.",
            ),
        ),
        (
            Edge::Wake,
            Update,
            Unseen(Lives(3, park::one_sleeper), "As the load: the other end of the same pair."),
        ),
    ]
}

/// Loom's complaints about a model rather than about the protocol.
const NOT_A_FINDING: [&str; 3] = ["maximum number of branches", "loom internal bug", "the model has no word"];

fn run(Lives(preemptions, model): Lives, weak: Weak) -> Option<String> {
    failure(move || explore(preemptions, move || model(weak)))
}

/// The mistake in a row of the table, if there is one.
fn examine(row: usize, edge: Edge, end: End, fate: Fate) -> Option<String> {
    let weak = Some(Weakened { edge, end });
    match fate {
        Caught(model) => match run(model, weak) {
            Some(why) if NOT_A_FINDING.iter().any(|text| why.contains(text)) => {
                Some(format!("row {row}: {edge:?} {end:?} made the model itself fail: {why}"))
            }
            Some(_) => None,
            None => Some(format!("row {row}: {edge:?} {end:?} was weakened and nobody noticed")),
        },
        // A pass explores everything, which takes longest. One preemption fewer is enough to notice
        // a reason that is no longer true; the deep tests explore with the whole bound.
        Unseen(Lives(preemptions, model), why) => {
            let preemptions = if is_deep() { preemptions } else { preemptions - 1 };
            run(Lives(preemptions, model), weak).map(|failure| {
                format!("row {row}: {edge:?} {end:?} is seen after all ({failure}); not: {why}")
            })
        }
    }
}

#[test]
fn every_weakened_end_is_caught_or_explained() {
    let rows = Mutex::new(table().into_iter().enumerate());
    let wrong = Mutex::new(Vec::new());
    // A model runs in one thread. One thread for each core takes rows until none is left.
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let next = rows.lock().expect("no thread panics inside").next();
                    let Some((row, (edge, end, fate))) = next else { break };
                    let begun = Instant::now();
                    let found = examine(row, edge, end, fate);
                    println!("{edge:?} {end:?}: {:?}", begun.elapsed());
                    wrong.lock().expect("no thread panics inside").extend(found);
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no thread panics inside");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // The models above have used every end that the protocols use.
    for (edge, end) in used_ends() {
        let listed = table().iter().any(|row| (row.0, row.1) == (edge, end));
        assert!(edge == Edge::Plain || listed, "{edge:?} {end:?} is used and not in the table");
    }
}

/// A new edge does not compile here until it is listed, and is not listed until it has a row.
#[test]
fn every_edge_is_in_the_table() {
    let next = |edge| match edge {
        Edge::Plain => Some(Edge::Commit),
        Edge::Commit => Some(Edge::Cursor),
        Edge::Cursor => Some(Edge::Places),
        Edge::Places => Some(Edge::Join),
        Edge::Join => Some(Edge::Overwrite),
        Edge::Overwrite => Some(Edge::Validate),
        Edge::Validate => Some(Edge::Announce),
        Edge::Announce => Some(Edge::Tail),
        Edge::Tail => Some(Edge::Head),
        Edge::Head => Some(Edge::Publish),
        Edge::Publish => Some(Edge::Done),
        Edge::Done => Some(Edge::Aside),
        Edge::Aside => Some(Edge::Unique),
        Edge::Unique => Some(Edge::Index),
        Edge::Index => Some(Edge::State),
        Edge::State => Some(Edge::Lent),
        Edge::Lent => Some(Edge::Owner),
        Edge::Owner => Some(Edge::Version),
        Edge::Version => Some(Edge::Chain),
        Edge::Chain => Some(Edge::Mark),
        Edge::Mark => Some(Edge::Reply),
        Edge::Reply => Some(Edge::Writing),
        Edge::Writing => Some(Edge::Park),
        Edge::Park => Some(Edge::Wake),
        Edge::Wake => None,
    };
    let rows = table();
    let listed = std::iter::successors(next(Edge::Plain), |&edge| next(edge));
    for edge in listed {
        assert!(rows.iter().any(|row| row.0 == edge), "{edge:?} is not in the table");
    }
}
