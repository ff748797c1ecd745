#include "fault_words.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "fault_leftovers.h"
#include "message.h"
#include "rules/address.h"
#include "rules/builtin.h"
#include "rules/rules.h"
#include "rules/units.h"
#include "state/segment.h"

#define WORDS_MAX 16

/* What is said, split at blanks; those that are used are set to NULL. */
struct words {
    char *text; /* the copy that they stand in */
    char *words[WORDS_MAX];
    unsigned count;
    bool is_dns; /* "dns:" */
    const char *protocol;
    char *line; /* what it comes to, growing */
};

static bool split(const char *text, struct words *words);
static void add(struct words *words, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool target_read(const char *text, struct words *words);
static bool kind_read(const char *text, struct words *words);
static bool rest_read(const char *text, struct words *words);
static char *next(struct words *words);
static bool is_loadable(const char *text, const struct words *words);

char *fault_words(const char *text, unsigned number)
{
    struct words words = {.line = formatted("  - {name: fault-%u", number)};
    bool is_good = split(text, &words) && target_read(text, &words) && kind_read(text, &words) &&
                   rest_read(text, &words);
    add(&words, "}\n");
    is_good = is_good && is_loadable(text, &words);
    free(words.text);
    if (is_good)
        return words.line;
    free(words.line);
    return NULL;
}

static bool split(const char *text, struct words *words)
{
    words->text = copy_of(text);
    char *rest = NULL;
    for (char *word = strtok_r(words->text, " \t", &rest); word; word = strtok_r(NULL, " \t", &rest)) {
        if (words->count == WORDS_MAX) {
            complain("--fault '%s': is too long (say more in a rule file)", text);
            return false;
        }
        words->words[words->count++] = word;
    }
    return true;
}

static void add(struct words *words, const char *format, ...)
{
    char *more, *longer;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&more, format, arguments) < 0)
        more = copy_of("");
    va_end(arguments);
    longer = formatted("%s%s", words->line, more);
    free(more);
    free(words->line);
    words->line = longer;
}

static char *next(struct words *words)
{
    if (!words->count)
        return NULL;
    char *word = words->words[0];
    words->count--;
    memmove(words->words, words->words + 1, words->count * sizeof *words->words);
    return word;
}

/* "payments.internal:443:", "10.0.0.0/8:", "udp 10.0.0.9:53:", "/run/x.sock:", "dns:", "*:" */
static bool target_read(const char *text, struct words *words)
{
    char *word = next(words);
    if (word && (strcmp(word, "udp") == 0 || strcmp(word, "tcp") == 0)) {
        words->protocol = word;
        word = next(words);
    }
    size_t length = word ? strlen(word) : 0;
    if (length < 2 || word[length - 1] != ':') {
        complain("--fault '%s': says not for whom (write 'payments.internal: latency 300ms', or '*: ...' for "
                 "every "
                 "target)",
                 text);
        return false;
    }
    word[length - 1] = '\0';
    words->is_dns = strcmp(word, "dns") == 0;
    if (words->is_dns) {
        add(words, ", match: {host: \"*\"}, on: [resolve]");
        return true;
    }
    if (*word == '/' || *word == '@') {
        add(words, ", match: {unix: \"%s\"}", word);
        return true;
    }
    char *colon = strrchr(word, ':');
    bool is_v6 = colon && strchr(word, ':') != colon && word[0] != '[';
    const char *port = NULL;
    if (colon && !is_v6 && colon[1] >= '0' && colon[1] <= '9') {
        *colon = '\0';
        port = colon + 1;
    }
    struct prefix prefix;
    const char *comma = "";
    add(words, ", match: {");
    if (prefix_parse_loosely(word, &prefix))
        add(words, "address: \"%s\"", word), comma = ", ";
    else if (strcmp(word, "*") != 0)
        add(words, "host: \"%s\"", word), comma = ", ";
    if (port)
        add(words, "%sport: %s", comma, port), comma = ", ";
    if (words->protocol)
        add(words, "%sprotocol: %s", comma, words->protocol);
    add(words, "}");
    return true;
}

/* "300ms±50ms" or "300ms+-50ms" */
static void add_latency(struct words *words, char *delay)
{
    char *sign = strstr(delay, "\xc2\xb1");
    if (!sign)
        sign = strstr(delay, "+-");
    if (!sign) {
        add(words, ", latency: {delay: %s}", delay);
        return;
    }
    *sign = '\0';
    add(words, ", latency: {delay: %s, jitter: %s}", delay, sign + 2);
}

static bool kind_read(const char *text, struct words *words)
{
    /* Those with one value, as they are called on the command line. */
    static const struct {
        const char *word, *key, *example;
    } kinds[] = {
        {"latency", "latency", "300ms"},
        {"error", "error", "ECONNRESET"},
        {"bandwidth", "bandwidth", "100kB/s"},
        {"slice", "slice", "7"},
        {"limit_data", "limit_data", "4096"},
        {"limit", "limit_data", "4096"},
        {"slow_close", "slow_close", "1s"},
        {"corrupt", "corrupt", "0.1%"},
        {"loss", "loss", "5%"},
        {"duplicate", "duplicate", "5%"},
        {"reorder", "reorder", "5%"},
        {"address", "address", "192.0.2.1"},
    };
    static const struct {
        const char *word, *line;
    } whole[] = {
        {"refuse", ", error: ECONNREFUSED"},      {"timeout", ", timeout: {}"},
        {"interrupt", ", interrupt: {}"},         {"exhaust", ", exhaust: {}"},
        {"unreachable", ", error: EHOSTUNREACH"},
    };
    char *kind = next(words);
    if (!kind) {
        complain("--fault '%s': says not what goes wrong (latency 300ms, fail, timeout, reset, bandwidth "
                 "100kB/s, ...)",
                 text);
        return false;
    }
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        if (strcmp(kind, whole[i].word) == 0) {
            add(words, "%s", whole[i].line);
            return true;
        }
    }
    if (strcmp(kind, "fail") == 0) {
        add(words, ", error: %s", words->is_dns ? "EAI_AGAIN" : "ECONNREFUSED");
        return true;
    }
    if (strcmp(kind, "reset") == 0) {
        uint64_t ns;
        bool has_after = words->count && strcmp(words->words[0], "after") == 0;
        if (has_after)
            next(words);
        char *after = has_after ? next(words) : NULL;
        if (has_after && !after) {
            complain("--fault '%s': after what? (write reset after 4kB or reset after 5s)", text);
            return false;
        }
        if (!after)
            add(words, ", reset: {}");
        else
            add(words, ", reset: {%s: %s}", duration_parse(after, &ns) ? "after" : "after_bytes", after);
        return true;
    }
    char *value = next(words);
    if (strcmp(kind, "latency") == 0 && value) {
        add_latency(words, value);
        return true;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kind, kinds[i].word) != 0)
            continue;
        if (!value) {
            complain("--fault '%s': %s needs a value (write %s %s)", text, kind, kind, kinds[i].example);
            return false;
        }
        add(words, ", %s: %s", kinds[i].key, value);
        return true;
    }
    complain(
        "--fault '%s': %s is nothing that goes wrong (known: latency, fail, refuse, unreachable, error, "
        "timeout, "
        "reset, bandwidth, slice, limit, slow_close, corrupt, loss, duplicate, reorder, interrupt, exhaust, "
        "address)",
        text, kind);
    return false;
}

/* "20%", "on recv", "nth 3", "every 5", "after 10", "times 2", "for 1m", "start 10s", "by libpq.so.5" */
static bool rest_read(const char *text, struct words *words)
{
    static const struct {
        const char *word, *before, *behind;
    } parts[] = {
        {"on", ", on: [", "]"},     {"nth", ", nth: ", ""},       {"every", ", every: ", ""},
        {"after", ", after: ", ""}, {"times", ", times: ", ""},   {"for", ", expires: ", ""},
        {"per", ", per: ", ""},     {"by", ", caller: \"", "\""}, {"start", ", schedule: {start: ", "}"},
        {"seed", ", seed: ", ""},
    };
    char *word;
    while ((word = next(words))) {
        uint32_t ratio_ppm;
        size_t i = 0;
        if (ratio_parse(word, &ratio_ppm)) {
            add(words, ", probability: %s", word);
            continue;
        }
        while (i < sizeof parts / sizeof *parts && strcmp(parts[i].word, word) != 0)
            i++;
        char *value = i < sizeof parts / sizeof *parts ? next(words) : NULL;
        if (!value) {
            complain("--fault '%s': %s is not understood (known behind what goes wrong: 20%%, on recv, nth "
                     "3, every 5, "
                     "after 10, times 2, for 1m, start 10s, per connection, by libpq.so.5, seed 7)",
                     text, word);
            return false;
        }
        add(words, "%s%s%s", parts[i].before, value, parts[i].behind);
    }
    return true;
}

static bool is_loadable(const char *text, const struct words *words)
{
    static struct problems problems;
    char *file = formatted("version: 1\nfaults:\n%s", words->line);
    struct ruleset *set = ruleset_parse(file, strlen(file), "--fault", 0, &problems);
    if (set)
        ruleset_free(set);
    else
        complain("--fault '%s': %s", text, problems.items[0].text);
    free(file);
    return set != NULL;
}

char *fault_words_file(char *const *lines, unsigned count, const char *rules)
{
    char *file = rules ? formatted("version: 1\ninclude: [\"%s\"]\nfaults:\n", rules)
                       : formatted("%.*s\nfaults:\n", (int)builtin_rules_size, (const char *)builtin_rules);
    for (unsigned i = 0; i < count; i++) {
        char *longer = formatted("%s%s", file, lines[i]);
        free(file);
        file = longer;
    }
    return file;
}

char *fault_words_write(const char *text)
{
    char directory[1100];
    segment_directory(directory, sizeof directory);
    if (mkdir(directory, 0700) != 0 && errno != EEXIST) {
        complain("%s cannot be made: %s (set RESIL_STATE_DIR to a folder of your own)", directory,
                 strerror(errno));
        return NULL;
    }
    fault_leftovers_remove(directory);
    char *path = formatted("%s/" FAULT_RULES_PREFIX "%lx" FAULT_RULES_SUFFIX, directory,
                           (unsigned long)hash_bytes(text, strlen(text), 0));
    char *aside = formatted("%s.%d", path, (int)getpid());
    int file = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    size_t length = strlen(text);
    bool is_written = file >= 0 && write(file, text, length) == (ssize_t)length;
    if (file >= 0)
        close(file);
    if (is_written && rename(aside, path) == 0) {
        free(aside);
        return path;
    }
    complain("%s cannot be written: %s", path, strerror(errno));
    unlink(aside);
    free(aside);
    free(path);
    return NULL;
}
