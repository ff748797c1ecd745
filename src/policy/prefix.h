/* Does an answer begin like a failure ("HTTP/1.1 503", "-LOADING")? It may come in pieces. */
#ifndef POLICY_PREFIX_H
#define POLICY_PREFIX_H

#include <stddef.h>
#include <stdint.h>

/* First bytes of answers. No pointers, and zeroes where nothing is, so that it may be copied and hashed as it is. */
#define FAILURE_PREFIXES_MAX     8
#define FAILURE_PREFIX_BYTES_MAX 31
struct failure_prefixes {
    uint8_t count;
    struct {
        uint8_t length; /* 1 or more */
        char bytes[FAILURE_PREFIX_BYTES_MAX];
    } items[FAILURE_PREFIXES_MAX];
};

enum prefix_verdict {
    PREFIX_NO,        /* it begins like none of them */
    PREFIX_MATCH,     /* it begins like one of them, whatever follows */
    PREFIX_NEED_MORE, /* so far it may be one: go on with `state` and the bytes that come next */
};

struct prefix_answer {
    enum prefix_verdict verdict;
    uint16_t state; /* 13 bits, for NEED_MORE: which are still possible, and how many bytes were seen */
};

/* Judges the next `size` bytes; `state` is 0 at the beginning of an answer. An answer that ends while more is needed was
 * none of them. */
struct prefix_answer prefix_judge(const struct failure_prefixes *prefixes, uint16_t state, const void *bytes,
                                  size_t size);

#endif
