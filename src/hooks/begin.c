/* What happens before main: the real functions are looked up and the environment is copied. Rules are read at the
 * first call that they could touch, or here if asked to: later may be after chroot, setuid or a seccomp filter. */
#include <errno.h>
#include <pthread.h>

#include "drive/inherit.h"
#include "functions/functions.h"
#include "hooks/export.h"
#include "hooks/real.h"
#include "report/sink.h"
#include "state/current.h"
#include "state/fault_site.h"
#include "state/faults.h"
#include "state/process.h"
#include "state/tally.h"

/* Preloaded twice, from two places: the last one does it all. */
static bool is_done_by_another(void)
{
    int error = errno;
    bool is_there = real.fdopen(-1, ARE_YOU_LIBRESIL) == I_AM_LIBRESIL;
    errno = error;
    return is_there;
}

static void forked(void)
{
    process_forked();
    tally_forked();
    functions_forked();
}

__attribute__((constructor)) static void begin(int argc, char **arguments, char **environment)
{
    (void)argc;
    (void)arguments;
    real_look_up();
    process_begin(environment);
    if (is_done_by_another())
        settings.is_disabled = true;
    if (settings.is_disabled) {
        rules_state = RULES_DISABLED;
        return;
    }
    pthread_atfork(functions_before_fork, NULL, forked);
    faults_are_possible = settings.are_faults_armed; /* who never connects reads the rules when he accepts */
    if (settings.are_faults_armed)
        pthread_atfork(faults_before_fork, NULL, faults_forked);
    fault_site_look_up();
    if (settings.has_inherited)
        inherit_begin(environment);
    if (settings.log[0] || settings.rules[0] || settings.has_bad)
        sink_begin(settings.log);
    rules_follower = functions_follow;
    functions_at_start = true;
    if (settings.is_strict)
        rules_read();
    else if (settings.is_early)
        rules_prepare();
    else
        rules_allow_reading();
    functions_at_start = false;
}
