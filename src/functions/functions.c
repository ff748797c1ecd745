#include "functions/functions.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/text.h"
#include "base/undisturbed.h"
#include "drive/tell.h"
#include "functions/patch.h"
#include "hooks/real.h"
#include "state/process.h"
#include "state/segment.h"

bool functions_at_start;

/* What the last pass found, for the next one. Written by whoever makes one, one at a time. */
static struct {
    uint64_t declared; /* which declarations it was made for; 0: none */
    unsigned long long adds;
    uint32_t start_objects;
    bool is_unfinished;
    uint64_t told_missing; /* mask of the declarations */
} last;

/* The list of objects has a lock, which glibc (2.36) leaves in a fork child as it was: where another thread had it, nobody
 * ever gives it back, and we would wait for ever where the program would not have. */
static struct {
    bool had_threads, may_be_locked, is_counted;
} forked;

static bool is_doubtful(uint64_t declared);
static uint64_t declared_by(const struct ruleset *rules);
static void make_pass(const struct ruleset *rules, uint64_t declared);
static void add_name(struct pass *pass, const char *symbol);
static void tell_missing(const struct pass *pass, bool is_anew);
static void tell_unbound(const char *symbol, enum unbound_reason reason);

void functions_follow(const struct ruleset *rules)
{
    uint64_t declared = declared_by(rules);
    if (is_doubtful(declared))
        return;
    if (declared != __atomic_load_n(&last.declared, __ATOMIC_ACQUIRE) && process_owns_memory())
        make_pass(rules, declared);
    else if (declared)
        functions_look(rules);
}

/* In a fork child too: who asks an object for something has most often just loaded it, and has been given the lock. */
void functions_look(const struct ruleset *rules)
{
    if (!process_owns_memory())
        return;
    unsigned long long adds = patch_adds();
    bool has_missed = __atomic_exchange_n(&forked.may_be_locked, false, __ATOMIC_RELAXED);
    if (has_missed || adds != __atomic_load_n(&last.adds, __ATOMIC_ACQUIRE) ||
        __atomic_load_n(&last.is_unfinished, __ATOMIC_ACQUIRE))
        make_pass(rules, declared_by(rules));
}

void functions_before_fork(void)
{
    __atomic_store_n(&forked.had_threads, !process_is_alone(), __ATOMIC_RELAXED); /* of two forks at once */
}

void functions_forked(void)
{
    forked.may_be_locked |= __atomic_load_n(&forked.had_threads, __ATOMIC_RELAXED);
    forked.is_counted = false;
}

/* What is bound stays so, and no more is bound. */
static bool is_doubtful(uint64_t declared)
{
    if (!__atomic_load_n(&forked.may_be_locked, __ATOMIC_RELAXED))
        return false;
    if (declared && !__atomic_exchange_n(&forked.is_counted, true, __ATOMIC_RELAXED))
        segment_passed(PASSED_UNBOUND);
    return true;
}

static uint64_t declared_by(const struct ruleset *rules)
{
    uint64_t all = 0;
    for (uint32_t i = 0; rules && i < rules->function_count; i++)
        all = (all ^ rules->functions[i].signature) * 0x9fb21c651e98df25ull + 1;
    return all;
}

static void make_pass(const struct ruleset *rules, uint64_t declared)
{
    int error = errno;
    struct pass *pass = mmap(NULL, sizeof *pass, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pass == MAP_FAILED) {
        segment_passed(PASSED_NO_MEMORY);
        errno = error;
        return;
    }
    struct undisturbed before;
    undisturbed_begin(&before);
    pass->rules = declared ? rules : NULL;
    pass->start_objects = __atomic_load_n(&last.start_objects, __ATOMIC_RELAXED);
    add_name(pass, "dlsym");
    add_name(pass, "dlvsym");
    for (uint32_t i = 0; pass->rules && i < rules->function_count; i++)
        add_name(pass, rules->functions[i].symbol);
    uint32_t count = __atomic_load_n(&binding_count, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < count; i++)
        add_name(pass, bindings[i].symbol);
    patch_make(pass);
    __atomic_store_n(&last.start_objects, pass->start_objects, __ATOMIC_RELAXED);
    __atomic_store_n(&last.is_unfinished, pass->is_unfinished, __ATOMIC_RELEASE);
    __atomic_store_n(&last.adds, pass->adds, __ATOMIC_RELEASE);
    bool is_anew = __atomic_exchange_n(&last.declared, declared, __ATOMIC_ACQ_REL) != declared;
    tell_missing(pass, is_anew);
    if (pass->left_alone)
        functions_tell_unbound("", UNBOUND_AMBIGUOUS);
    undisturbed_end(&before);
    munmap(pass, sizeof *pass);
    errno = error;
}

static void add_name(struct pass *pass, const char *symbol)
{
    for (uint32_t i = 0; i < pass->name_count; i++)
        if (strcmp(pass->names[i], symbol) == 0)
            return;
    if (pass->name_count < NAMES_MAX_PATCHED)
        pass->names[pass->name_count++] = symbol;
    else
        pass->left_alone++;
}

/* Each once, as soon as it is certain: another library of a program may come at any time, the one that is named is there. */
static void tell_missing(const struct pass *pass, bool is_anew)
{
    uint64_t missing = pass->has_library & ~pass->has_symbol;
    uint64_t told = is_anew ? 0 : __atomic_load_n(&last.told_missing, __ATOMIC_RELAXED);
    __atomic_store_n(&last.told_missing, told | missing, __ATOMIC_RELAXED);
    for (uint64_t left = missing & ~told; left; left &= left - 1) {
        const struct function *function = &pass->rules->functions[__builtin_ctzll(left)];
        char name[sizeof((struct event *)0)->target];
        struct text text = text_begin(name, sizeof name);
        text_add(&text, "%s:%s", function->library, function->symbol);
        segment_passed(PASSED_UNBOUND);
        tell_unbound(name, UNBOUND_NO_SYMBOL);
    }
}

/* Counted each time, told once for each reason: passes are made again and again. */
void functions_tell_unbound(const char *symbol, enum unbound_reason reason)
{
    static uint32_t told;
    segment_passed(PASSED_UNBOUND);
    if (__atomic_fetch_or(&told, 1u << reason, __ATOMIC_RELAXED) & 1u << reason)
        return;
    tell_unbound(symbol, reason);
}

static void tell_unbound(const char *symbol, enum unbound_reason reason)
{
    struct event event = event_about(EVENT_FUNCTION_UNBOUND, symbol);
    event.count = reason;
    tell(&event);
}
