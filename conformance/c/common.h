/*
 * What the roles and probes of the conformance program share: arguments, payloads, digests, and how failures are
 * said. The protocol is in conformance/PROTOCOL.md.
 */
#ifndef CONFORMANCE_COMMON_H
#define CONFORMANCE_COMMON_H

#include <railbus.h>
#include <stdint.h>
#include <stdio.h>

#define WAIT_NS (20ULL * 1000 * 1000 * 1000)

/* The value of KEY=VALUE, or what it is otherwise. */
const char *argument(const char *key, const char *otherwise);
uint64_t number(const char *key, uint64_t otherwise);
/* Remembers the arguments. */
void arguments(int count, char **values);
/* Exits with 2 unless all keys given are in the list. */
void allow_keys(const char *allowed);

/* The name of a result without RAILBUS_. */
const char *symbol(int32_t result);
/* Says `failed` and exits with 1 unless the result is RAILBUS_OK. */
void must(int32_t result, const railbus_error *error, const char *what);
void fail(const char *name, const char *text);

/* What was published or received. */
typedef struct tally {
    uint64_t events, first, last, sum, lost;
    uint32_t digest;
} tally;

/* Adds an event; `attributes` is NULL where they are not asked for. */
void count_event(tally *all, const uint8_t *payload, uint32_t bytes, uint64_t position,
                 const railbus_attributes *attributes);
/* Says `WORD events= first= last= digest= sum=`, and `lost=` if it is for a reader; without a line feed. */
void say_tally(const char *word, const tally *all, int with_lost);

void fill_payload(uint8_t *payload, size_t bytes, uint64_t event, uint64_t seed);
railbus_attributes attributes_of(uint64_t event);

/* Ends the line and flushes it. */
void end_line(void);
void wait_for_line(void);
void wait_for_end(void);
void sleep_us(uint64_t us);

railbus_bus *open_bus(void);
railbus_channel *attach(railbus_bus *bus);
uint64_t payload_max_of(railbus_channel *channel);

void *allocate(size_t bytes);

/* Runs a probe of tables, in a table of its name; 0 if it is none. */
int probe_table(const char *name, railbus_bus *bus, int32_t *result);
int probes(int count, char **names);
int role_publish(void);
int role_subscribe(void);
int role_work(void);
int role_churn(void);
int role_replay(void);
int role_set(void);
int role_read(void);

#endif
