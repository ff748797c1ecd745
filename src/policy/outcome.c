#include "policy/outcome.h"

#include <errno.h>
#include <netdb.h>

enum outcome outcome_of_connect(int error, bool has_left)
{
    switch (error) {
    case 0:
        return OUTCOME_SUCCESS;
    case ECONNREFUSED:
    case ENOENT: /* AF_UNIX: the server has not made its socket yet, or has removed it */
        return OUTCOME_REFUSED;
    case ETIMEDOUT:
        return OUTCOME_TIMEOUT;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
        return has_left ? OUTCOME_UNREACHABLE : OUTCOME_OURS;
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
        return OUTCOME_RESET;
    default:
        return OUTCOME_OURS;
    }
}

enum outcome outcome_of_lookup(int eai, int error)
{
    switch (eai) {
    case 0:
        return OUTCOME_SUCCESS;
    case EAI_AGAIN:
        return OUTCOME_RESOLVE;
    case EAI_FAIL:
        /* A name server said REFUSED, FORMERR or NOTIMP. POSIX calls that permanent, but it says nothing about the
         * name, and servers that start or reload say it for a moment. For RFC 8767 only NOERROR and NXDOMAIN are
         * news: with anything else the last good answer may be served, which OUTCOME_ABSENT would forbid. */
        return OUTCOME_RESOLVE;
    case EAI_NONAME:
    case EAI_NODATA:
    case EAI_ADDRFAMILY:
        return OUTCOME_ABSENT;
    case EAI_SYSTEM:
        /* A name service that cannot be reached is theirs; running out of descriptors or memory is ours. */
        return error == ETIMEDOUT || error == ECONNREFUSED ? OUTCOME_RESOLVE : OUTCOME_OURS;
    default:
        return OUTCOME_OURS;
    }
}

bool outcome_is_failure(enum outcome outcome)
{
    switch (outcome) {
    case OUTCOME_REFUSED:
    case OUTCOME_TIMEOUT:
    case OUTCOME_UNREACHABLE:
    case OUTCOME_RESET:
    case OUTCOME_RESOLVE:
        return true;
    case OUTCOME_SUCCESS:
    case OUTCOME_ABSENT:
    case OUTCOME_OURS:
        return false;
    }
    return false;
}

const char *outcome_name(enum outcome outcome)
{
    switch (outcome) {
    case OUTCOME_SUCCESS:
        return "success";
    case OUTCOME_REFUSED:
        return "refused";
    case OUTCOME_TIMEOUT:
        return "timeout";
    case OUTCOME_UNREACHABLE:
        return "unreachable";
    case OUTCOME_RESET:
        return "reset";
    case OUTCOME_RESOLVE:
        return "resolve";
    case OUTCOME_ABSENT:
        return "absent";
    case OUTCOME_OURS:
        return "ours";
    }
    return "unknown";
}
