/* The hosts that all processes know of, and their circuit breakers: the pure functions of policy/, published by
 * compare-and-swap. Lock-free and async-signal-safe. */
#ifndef STATE_BREAKERS_H
#define STATE_BREAKERS_H

#include "policy/addresses.h"
#include "policy/breaker.h"
#include "policy/budget.h"
#include "rules/rules.h"
#include "state/segment.h"

/* A host and the key it had when it was found: the table may give its place to another one later. */
struct host_handle {
    struct host *host; /* NULL: the table is full, there is no shared state for this target */
    uint64_t key;
};

/* The place of that target under that rule, claimed if need be. */
struct host_handle hosts_find(const struct rule *rule, const struct target *target, uint64_t now_ns);

/* The same one again, if it is still there. */
bool hosts_again(struct host_handle handle, uint64_t now_ns);

static inline void host_count(struct host_handle handle, enum host_count what)
{
    if (handle.host)
        atomic_fetch_add_explicit(&handle.host->counts[what], 1, memory_order_relaxed);
}

/* May a call go ahead? Without a host: always. A circuit that is held open rejects until NEVER. A probe whose process is
 * gone is not waited for. */
struct breaker_answer breakers_admit(struct host_handle handle, const struct breaker_params *params,
                                     uint64_t now_ns);

/* Is a probe out? EVENT_PROBING, for what is told of a rejected call, or 0. */
uint16_t breakers_probing(struct host_handle handle);

/* Who holds the probe that is out; 0: nobody, or it is not known. */
uint32_t breakers_probe_holder(const struct host *host);

/* Until when a call would be rejected; 0: it may go ahead, as far as can be told without asking breakers_admit. Takes
 * nothing. */
uint64_t breakers_open_until(struct host_handle handle, const struct breaker_params *params, uint64_t now_ns);

/* What breakers_admit would say, taking nothing. Where a probe is due it says BREAKER_REJECT until now: a call that cannot report back is
 * rejected there, any other one asks breakers_admit. */
struct breaker_answer breakers_look(struct host_handle handle, const struct breaker_params *params,
                                    uint64_t now_ns);

/* What became of an admitted call. `failures`, if not NULL, gets how many there were in a row before an opening. */
struct breaker_change breakers_ended(struct host_handle handle, const struct breaker_params *params,
                                     struct breaker_ticket ticket, enum breaker_report report, uint64_t seed,
                                     uint64_t now_ns, uint32_t *failures);

/* So many more successes of a closed breaker without failures: they count for the failure rate, where there is one, and for all
 * addresses of the name. `now_ns` 0: it is not known. */
void breakers_succeeded(struct host_handle handle, const struct breaker_params *params, uint32_t count,
                        uint64_t now_ns);

/* Which of several events of one kind are told: how many this one stands for; 0: it is one of too many in this second,
 * and is left out of recorder and log. The counters miss none. */
uint32_t hosts_sample(struct host_handle handle, enum sample_kind kind, enum event_kind event,
                      uint64_t now_ns);

/* Counts a rejected call, and says the same of it. */
uint32_t breakers_rejected(struct host_handle handle, uint64_t now_ns);

/* A call has failed at some addresses of its name: is that the name's failure (policy/addresses.h)? */
enum breaker_report breakers_addresses_failed(struct host_handle handle, const struct addresses_tried *tried,
                                              uint64_t now_ns);

/* For tools: takes a circuit into one's own hands, or gives it back, and then it begins closed and empty. What is said
 * holds for all processes until it is taken back or the state is lost. */
void breakers_steer(struct host *host, enum steering steering);
enum steering breakers_steering(const struct host *host);

/* For tools: closed and empty, as if nothing had happened. Who holds it keeps it. */
void breakers_reset(struct host *host);

/* The retry budget: a call was begun; may it have one more retry (which is then counted)? */
void budget_call(struct host_handle handle, const struct budget_params *params, uint64_t now_ns);
bool budget_take(struct host_handle handle, const struct budget_params *params, uint64_t now_ns);

/* "payments.internal:443", "10.0.0.7:443", "[::1]:443"; without port when it is 0. "/run/x.sock", "@abstract". */
void target_text(const struct target *target, char *text, size_t capacity);

#endif
