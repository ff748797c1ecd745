/* getsockopt and setsockopt: above all the timeouts, which a rule sets too and the program must not notice. */
#include <netinet/in.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "conform.h"

#define RCVTIMEO_NEW 66
#define SNDTIMEO_NEW 67

static const struct {
    const char *name;
    int level, option;
} options[] = {
    {"rcvtimeo", SOL_SOCKET, SO_RCVTIMEO},
    {"sndtimeo", SOL_SOCKET, SO_SNDTIMEO},
    {"rcvtimeo_new", SOL_SOCKET, RCVTIMEO_NEW},
    {"sndtimeo_new", SOL_SOCKET, SNDTIMEO_NEW},
    {"error", SOL_SOCKET, SO_ERROR},
    {"type", SOL_SOCKET, SO_TYPE},
    {"number_at_another_level", IPPROTO_IP, SO_RCVTIMEO},
    {"unknown", SOL_SOCKET, 9999},
};
static const struct {
    const char *name;
    struct timeval value;
} values[] = {
    {"second", {1, 500000}},      {"zero", {0, 0}},           {"tiny", {0, 1}},
    {"day", {86400, 0}},          {"negative", {-1, 0}},      {"micros_over", {0, 1000000}},
    {"micros_negative", {1, -5}}, {"endless", {1l << 60, 0}},
};
static const int lengths[] = {16, 0, 4, 8, 15, 17, 24, -1};
enum { AT_VALUE, AT_NULL, AT_BAD_PAGE, PLACES };

static void say_all_times(int fd)
{
    for (size_t i = 0; i < 4; i++) {
        struct timeval value = {-7, -7};
        socklen_t length = sizeof value;
        CALL(options[i].name, getsockopt(fd, options[i].level, options[i].option, &value, &length));
        say("(%u %ld.%06ld)", length, (long)value.tv_sec, (long)value.tv_usec);
    }
}

static void cell_set(enum kind kind, size_t option, size_t value, int length, int place)
{
    if (!cell_begin("option set %s %s %s length=%d place=%d", kind_names[kind], options[option].name,
                    values[value].name, length, place))
        return;
    struct ends ends;
    if (ends_open(&ends, kind, BLOCKING, INWARD, false)) {
        struct timeval buffer[2] = {values[value].value, {0, 0}};
        const void *where = place == AT_VALUE ? (void *)buffer : place == AT_NULL ? NULL : bad_page();
        CALL("set",
             setsockopt(ends.fd, options[option].level, options[option].option, where, (socklen_t)length));
        say_all_times(ends.fd);
        struct timeval zero = {0, 0};
        CALL("back", setsockopt(ends.fd, options[option].level, options[option].option, &zero, sizeof zero));
        say_all_times(ends.fd);
        ends_close(&ends);
    }
    cell_end();
}

static void cell_get(enum kind kind, size_t option, int length, int place, bool is_set)
{
    if (!cell_begin("option get %s %s %s length=%d place=%d", kind_names[kind], options[option].name,
                    is_set ? "set" : "unset", length, place))
        return;
    struct ends ends;
    if (ends_open(&ends, kind, BLOCKING, INWARD, false)) {
        struct timeval own = {3, 250000};
        if (is_set)
            setsockopt(ends.fd, options[option].level, options[option].option, &own, sizeof own);
        char buffer[32];
        memset(buffer, 0x55, sizeof buffer);
        socklen_t room = (socklen_t)length;
        void *where = place == AT_VALUE ? (void *)buffer : place == AT_NULL ? NULL : bad_page();
        CALL("get", getsockopt(ends.fd, options[option].level, options[option].option, where, &room));
        say(" length=%d", (int)room);
        say_data("value", buffer, sizeof buffer);
        CALL("null_length", getsockopt(ends.fd, options[option].level, options[option].option, buffer, NULL));
        CALL("bad_length",
             getsockopt(ends.fd, options[option].level, options[option].option, buffer, bad_page()));
        ends_close(&ends);
    }
    cell_end();
}

static void cell_peername(enum kind kind, int length, int place)
{
    if (!cell_begin("peername %s - length=%d place=%d", kind_names[kind], length, place))
        return;
    struct ends ends;
    if (ends_open(&ends, kind, BLOCKING, INWARD, false)) {
        struct sockaddr_storage address = {.ss_family = 0x7777};
        socklen_t room = (socklen_t)length;
        struct sockaddr *where = place == AT_VALUE  ? (struct sockaddr *)&address
                                 : place == AT_NULL ? NULL
                                                    : bad_page();
        CALL("getpeername", getpeername(ends.fd, where, &room));
        if (kind != UNIX_STREAM && kind != UNIX_DGRAM && kind != UNIX_SEQPACKET)
            say_address("is", &address, (socklen_t)(length < 0 ? 0 : length), room);
        CALL("no_length", getpeername(ends.fd, (struct sockaddr *)&address, NULL));
        ends_close(&ends);
    }
    cell_end();
}

void table_options(void)
{
    static const enum kind kinds[] = {TCP4, TCP6, UDP4, UNIX_STREAM, PIPE, CLOSED, MINUS_ONE};
    for (size_t k = 0; k < COUNT_OF(kinds); k++)
        for (size_t o = 0; o < COUNT_OF(options); o++)
            for (size_t l = 0; l < COUNT_OF(lengths); l++)
                for (int place = 0; place < PLACES; place++) {
                    for (size_t v = 0; v < COUNT_OF(values); v++)
                        if (kinds[k] == TCP4 ? v == 0 || place == AT_VALUE : v == 0)
                            cell_set(kinds[k], o, v, lengths[l], place);
                    for (int is_set = 0; is_set < 2; is_set++)
                        cell_get(kinds[k], o, lengths[l], place, is_set);
                }
    for (int kind = 0; kind < KINDS; kind++)
        for (size_t l = 0; l < COUNT_OF(lengths); l++)
            for (int place = 0; place < PLACES; place++)
                cell_peername(kind, lengths[l], place);
}
