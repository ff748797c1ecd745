#include "cells.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

const char *cell_count(char *text, size_t capacity, uint64_t count, unsigned columns)
{
    static const char units[] = "kMGTPE";
    bool is_narrow = columns < 5;
    if (count < (is_narrow ? 10000u : 100000u)) {
        snprintf(text, capacity, "%llu", (unsigned long long)count);
        return text;
    }
    double value = (double)count / 1000;
    size_t unit = 0;
    while (value >= 999.5) {
        value /= 1000;
        unit++;
    }
    snprintf(text, capacity, value < (is_narrow ? 9.95 : 99.95) ? "%.1f%c" : "%.0f%c", value, units[unit]);
    return text;
}

const char *cell_rate(char *text, size_t capacity, double per_s)
{
    if (per_s >= 100000)
        return cell_count(text, capacity, (uint64_t)per_s, 5);
    snprintf(text, capacity, per_s > 0 && per_s < 9.95 ? "%.1f" : "%.0f", per_s);
    return text;
}

const char *cell_time(char *text, size_t capacity, uint64_t count, uint64_t ns)
{
    double value = (double)ns;
    if (!count)
        snprintf(text, capacity, "-");
    else if (ns < NS_PER_MS)
        snprintf(text, capacity, "%.0fus", value / NS_PER_US);
    else if (ns < NS_PER_S)
        snprintf(text, capacity, ns < 9950 * NS_PER_US ? "%.1fms" : "%.0fms", value / NS_PER_MS);
    else
        snprintf(text, capacity, ns < 9950 * NS_PER_MS ? "%.1fs" : "%.0fs", value / NS_PER_S);
    return text;
}

const char *cell_state(char *text, size_t capacity, const struct host_view *host)
{
    char left[16];
    if (host->steering != STEERING_AUTO)
        snprintf(text, capacity, host->steering == STEERING_OPEN ? "held open" : "held clsd");
    else if (host->breaker.state == BREAKER_CLOSED)
        snprintf(text, capacity, "closed");
    else if (host->left_ns == 0)
        snprintf(text, capacity, "probe due");
    else if (host->breaker.state == BREAKER_HALF_OPEN)
        snprintf(text, capacity, "probing");
    else if (host->left_ns < NS_PER_S)
        snprintf(text, capacity, "open %.1fs", (double)host->left_ns / NS_PER_S);
    else if (host->left_ns < 1000 * NS_PER_S)
        snprintf(text, capacity, "open %s", cell_time(left, sizeof left, 1, host->left_ns));
    else
        snprintf(text, capacity, "open %llum", (unsigned long long)(host->left_ns / NS_PER_S / 60));
    return text;
}

const char *cell_rung(const struct host_view *host)
{
    static const char *const rungs[RUNG_KINDS] = {
        [RUNG_FULL] = "full",      [RUNG_HOST] = "host",       [RUNG_STALE] = "stale",
        [RUNG_RESPOND] = "canned", [RUNG_ADDRESSES] = "addrs", [RUNG_ERROR] = "error"};
    bool is_barred = host->steering == STEERING_OPEN ||
                     (host->steering == STEERING_AUTO && host->breaker.state != BREAKER_CLOSED);
    if (host->served.rung == RUNG_FULL && (is_barred || !host->counts[HOST_CONNECTED]))
        return "-";
    return rungs[host->served.rung];
}

const char *cell_target(char *text, size_t capacity, const char *target, int width)
{
    size_t length = strlen(target), most = (size_t)width < capacity ? (size_t)width : capacity - 1;
    if (length <= most) {
        snprintf(text, capacity, "%s", target);
        return text;
    }
    size_t end = most / 2, begin = most - end - 1;
    snprintf(text, capacity, "%.*s~%s", (int)begin, target, target + length - end);
    return text;
}
