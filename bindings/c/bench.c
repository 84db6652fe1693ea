/*
 * What the C ABI costs: bench [EVENTS [PAYLOAD_BYTES [CPU CPU]]]
 *
 * Round trips between two processes over two streams, in blocks, each between two blocks of a bare word that bounces between the
 * same processes: the ratio is what railbus adds to the limit of the machine, and stays when the host moves the processors. Then,
 * throughput of the single and of the batch calls. The receiver looks at every payload.
 *
 * Compare with `railbus bench latency --kind stream --payload 8` in the same minute.
 */
#define _GNU_SOURCE

#include <railbus.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 100000
#define BATCH 256
#define PAYLOAD_MAX 4096

static railbus_error error;
static size_t payload_bytes = 8;
static int processors[2] = {-1, -1};
static railbus_bus *bus;
static volatile uint64_t *words;

static void check(int32_t result, const char *what) {
    if (result != RAILBUS_OK) {
        fprintf(stderr, "bench: %s: %s\n", what, railbus_describe(result));
        exit(1);
    }
}

static double now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void pin(int which) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)processors[which], &set);
    if (processors[which] >= 0 && sched_setaffinity(0, sizeof set, &set) != 0)
        perror("bench: cannot pin");
}

static railbus_channel *stream(const char *name) {
    railbus_channel_options options = RAILBUS_CHANNEL_OPTIONS_INIT;
    railbus_channel *channel;
    options.kind = RAILBUS_STREAM;
    options.capacity_bytes = 256 << 10;
    check(railbus_channel_create_or_attach(bus, name, RAILBUS_ZERO_TERMINATED, &options, &channel, &error), "create");
    return channel;
}

static railbus_sender *sender_of(railbus_channel *channel) {
    railbus_sender_options options = RAILBUS_SENDER_OPTIONS_INIT;
    railbus_sender *sender;
    options.wait = RAILBUS_WAIT_SPIN;
    check(railbus_sender_open(channel, &options, &sender, &error), "open a sender");
    return sender;
}

static railbus_reader *reader_of(railbus_channel *channel) {
    railbus_reader_options options = RAILBUS_READER_OPTIONS_INIT;
    railbus_reader *reader;
    options.wait = RAILBUS_WAIT_SPIN;
    check(railbus_reader_open(channel, &options, &reader, &error), "open a reader");
    return reader;
}

static void wait_for_reader(railbus_sender *sender) {
    size_t readers = 0;
    while (readers == 0)
        check(railbus_sender_readers(sender, &readers, &error), "count readers");
}

static uint64_t look_at(const railbus_event *event) {
    uint64_t sum = 0;
    for (uint32_t at = 0; at < event->payload_bytes; at++)
        sum += event->payload[at];
    return sum;
}

static void bounce_words(int is_first, uint64_t rounds) {
    static uint64_t value;
    for (uint64_t i = 0; i < rounds; i++) {
        value++;
        if (is_first)
            __atomic_store_n(&words[0], value, __ATOMIC_RELEASE);
        while (__atomic_load_n(&words[is_first ? 32 : 0], __ATOMIC_ACQUIRE) != value)
            ;
        if (!is_first)
            __atomic_store_n(&words[32], value, __ATOMIC_RELEASE);
    }
}

static void bounce_events(int is_first, uint64_t rounds, railbus_sender *sender, railbus_reader *reader) {
    uint8_t payload[PAYLOAD_MAX];
    railbus_event event;
    memset(payload, 1, sizeof payload);
    for (uint64_t i = 0; i < rounds; i++) {
        if (is_first)
            check(railbus_publish(sender, payload, payload_bytes, RAILBUS_FOREVER, NULL, &error), "publish");
        check(railbus_receive(reader, RAILBUS_FOREVER, &event, &error), "receive");
        if (look_at(&event) != payload_bytes)
            check(RAILBUS_CORRUPT, "look at an event");
        if (!is_first)
            check(railbus_publish(sender, payload, payload_bytes, RAILBUS_FOREVER, NULL, &error), "publish");
    }
}

/* Both processes go through the same blocks. */
static void round_trips(int is_first, uint64_t events) {
    railbus_channel *there = stream("there"), *back = stream("back");
    railbus_sender *sender = sender_of(is_first ? there : back);
    railbus_reader *reader = reader_of(is_first ? back : there);
    wait_for_reader(sender);
    for (uint64_t done = 0; done < events; done += BLOCK) {
        double begin = now_ns();
        bounce_words(is_first, BLOCK);
        double before = now_ns();
        bounce_events(is_first, BLOCK, sender, reader);
        double after = now_ns();
        bounce_words(is_first, BLOCK);
        double limit = (before - begin + now_ns() - after) / 2;
        if (is_first)
            printf("round trip %.1f ns, a bare word %.1f ns: %.3f x\n", (after - before) / BLOCK, limit / BLOCK,
                   (after - before) / limit);
    }
    check(railbus_sender_close(sender, &error), "close");
    check(railbus_reader_close(reader, &error), "close");
    check(railbus_channel_close(there, &error), "close");
    check(railbus_channel_close(back, &error), "close");
}

static void send_all(railbus_sender *sender, uint64_t events, int in_batches) {
    static uint8_t payloads[BATCH * PAYLOAD_MAX];
    memset(payloads, 1, sizeof payloads);
    for (uint64_t done = 0; done < events; done += BATCH) {
        if (in_batches)
            check(railbus_publish_strided(sender, payloads, payload_bytes, NULL, BATCH, RAILBUS_FOREVER, NULL, &error),
                  "publish a batch");
        else
            for (int i = 0; i < BATCH; i++)
                check(railbus_publish(sender, payloads, payload_bytes, RAILBUS_FOREVER, NULL, &error), "publish");
    }
}

static void receive_all(railbus_reader *reader, uint64_t events, int in_batches) {
    railbus_event found[BATCH];
    uint64_t sum = 0;
    double begin = now_ns();
    for (uint64_t done = 0; done < events;) {
        size_t count = 1;
        if (in_batches)
            check(railbus_receive_batch(reader, found, BATCH, RAILBUS_FOREVER, &count, &error), "receive a batch");
        else
            check(railbus_receive(reader, RAILBUS_FOREVER, found, &error), "receive");
        for (size_t i = 0; i < count; i++)
            sum += look_at(&found[i]);
        done += count;
    }
    double ns = now_ns() - begin;
    if (sum != events * payload_bytes)
        check(RAILBUS_CORRUPT, "look at the events");
    printf("%s: %.1f M events/s of %zu bytes\n", in_batches ? "batches" : "single calls",
           (double)events / ns * 1e3, payload_bytes);
}

static void throughput(int is_first, uint64_t events) {
    for (int in_batches = 0; in_batches < 2; in_batches++) {
        railbus_channel *channel = stream(in_batches ? "batches" : "singles");
        if (is_first) {
            railbus_reader *reader = reader_of(channel);
            receive_all(reader, events / BATCH * BATCH, in_batches);
            check(railbus_reader_close(reader, &error), "close");
        } else {
            railbus_sender *sender = sender_of(channel);
            wait_for_reader(sender);
            send_all(sender, events / BATCH * BATCH, in_batches);
            check(railbus_sender_close(sender, &error), "close");
        }
        check(railbus_channel_close(channel, &error), "close");
    }
}

int main(int count, char **values) {
    uint64_t events = count > 1 ? strtoull(values[1], NULL, 10) : 2000000;
    payload_bytes = count > 2 ? strtoull(values[2], NULL, 10) : 8;
    processors[0] = count > 4 ? atoi(values[3]) : 0;
    processors[1] = count > 4 ? atoi(values[4]) : 1;
    if (events < BATCH || payload_bytes > PAYLOAD_MAX) {
        fprintf(stderr, "usage: bench [EVENTS (at least %d) [PAYLOAD_BYTES (at most %d) [CPU CPU]]]\n", BATCH, PAYLOAD_MAX);
        return 2;
    }
    void *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("bench: mmap");
        return 1;
    }
    words = shared;
    railbus_bus_options options = RAILBUS_BUS_OPTIONS_INIT;
    check(railbus_bus_open("bench-c", RAILBUS_ZERO_TERMINATED, &options, &bus, &error), "open the bus");
    pid_t other = fork();
    if (other < 0) {
        perror("bench: fork");
        return 1;
    }
    int is_first = other != 0;
    pin(is_first ? 0 : 1);
    round_trips(is_first, events);
    throughput(is_first, events);
    if (!is_first)
        return 0;
    int status = 0;
    waitpid(other, &status, 0);
    static const char *const channels[] = {"there", "back", "singles", "batches"};
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++)
        check(railbus_bus_remove(bus, channels[i], RAILBUS_ZERO_TERMINATED, &error), "remove");
    check(railbus_bus_close(bus, &error), "close the bus");
    return status != 0;
}
