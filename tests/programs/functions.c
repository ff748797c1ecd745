/* Calls a library in the ways that programs call libraries, one story each:
 *
 *     functions STORY [ARGUMENT]
 *
 * It prints what came of it; whether that is good depends on the rules. */
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include "flaky.h"

static jmp_buf back;
static int depth, asked_early;

/* Before main: our constructors run after that of a preloaded library, as we need the same libraries. */
__attribute__((constructor)) static void begin(void)
{
    if (!getenv("FUNCTIONS_ASK_EARLY"))
        return;
    flaky_fail(1);
    asked_early = flaky_ask(1, 1);
}

static void open_it(void)
{
    flaky_fail(2);
    struct flaky *flaky = flaky_open("host=db.internal port=5432");
    int status = flaky_status(flaky), live = flaky_live();
    flaky_close(flaky);
    printf("status %d, %d open, %d calls\n", status, live, flaky_calls());
}

static void ask(const char *times)
{
    for (int i = 0; i < atoi(times); i++) {
        errno = 0;
        int answer = flaky_ask(20, 22);
        printf("%d %s\n", answer,
               errno == EIO            ? "EIO"
               : errno == EPIPE        ? "EPIPE"
               : errno == ECONNREFUSED ? "ECONNREFUSED"
               : errno                 ? "?"
                                       : "0");
    }
    printf("%d calls\n", flaky_calls());
}

/* A call that succeeds in the end has not touched errno. */
static void keep_errno(void)
{
    flaky_fail(1);
    errno = ENOENT;
    int answer = flaky_ask(20, 22);
    printf("%d %s\n", answer, errno == ENOENT ? "ENOENT" : "another errno");
}

static void mixed(void)
{
    printf("%.2f\n", flaky_mixed(-1, -2, -3, -4, 5.5f, 6.25, 250, 8, "nine", -10));
}

static int recursing(void *data)
{
    return ++depth < 5 ? flaky_with(recursing, data) : flaky_ask(1, 2) + *(int *)data;
}

static void recurse(void)
{
    int forty = 40;
    flaky_fail(0);
    printf("%d after %d\n", flaky_with(recursing, &forty), depth);
}

static int failing(void *data)
{
    ++*(int *)data;
    return -1;
}

/* How often is what it calls called back? */
static void call_back(void)
{
    int times = 0;
    int answer = flaky_with(failing, &times);
    printf("%d after %d\n", answer, times);
}

static int jumping(void *data)
{
    (void)data;
    longjmp(back, 1);
}

static void jump(const char *times)
{
    volatile int jumps = 0;
    if (setjmp(back))
        jumps++;
    if (jumps < atoi(times))
        flaky_with(jumping, NULL);
    flaky_fail(1);
    printf("%d jumps, then %d\n", jumps, flaky_ask(20, 22));
}

static int leaving(void *data)
{
    (void)data;
    pthread_exit((void *)7);
}

static void *leave(void *data)
{
    flaky_with(leaving, data);
    return NULL;
}

static void exit_thread(void)
{
    void *left = NULL;
    for (int i = 0; i < 100; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, leave, NULL);
        pthread_join(thread, &left);
        if (left != (void *)7)
            break;
    }
    flaky_fail(1);
    printf("left with %d, then %d\n", (int)(long)left, flaky_ask(20, 22));
}

static atomic_int asked, asker;

static void *ask_twice(void *data)
{
    atomic_store(&asker, (int)syscall(SYS_gettid));
    for (; asked < 2; asked++)
        flaky_ask(20, 22);
    pthread_testcancel();
    return data;
}

/* Asleep: the kernel says so. */
static bool is_asleep(int thread)
{
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", thread);
    FILE *file = fopen(path, "r");
    size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file)
        fclose(file);
    text[size] = '\0';
    const char *after = strrchr(text, ')');
    return after && after[2] == 'S';
}

/* The thread is cancelled in a call that nobody can be cancelled in. */
static void cancel(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, ask_twice, NULL);
    while (!asked || !is_asleep(asker)) /* the second call waits for its turn */
        usleep(1000);
    pthread_cancel(thread);
    void *left = NULL;
    pthread_join(thread, &left);
    printf("%s after %d\n", left == PTHREAD_CANCELED ? "cancelled" : "done", atomic_load(&asked));
}

static ucontext_t outer, given_up, next;

static int yielding(void *data)
{
    (void)data;
    swapcontext(&given_up, &outer);
    return 0;
}

static void yield(void)
{
    flaky_with(yielding, NULL);
}

static void ask_next(void)
{
    printf("%d\n", flaky_ask(20, 22));
}

static void prepare(ucontext_t *context, char *stack, size_t size, void (*run)(void))
{
    getcontext(context);
    context->uc_stack.ss_sp = stack;
    context->uc_stack.ss_size = size;
    context->uc_link = &outer;
    makecontext(context, run, 0);
}

/* A coroutine is given up inside a call, with its stack; then another one calls. */
static void give_up(void)
{
    size_t size = 1 << 16;
    char *low = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    prepare(&given_up, low + size, size, yield);
    prepare(&next, low, size, ask_next);
    swapcontext(&outer, &given_up);
    munmap(low + size, size);
    flaky_fail(1);
    swapcontext(&outer, &next);
}

static void at_end(void)
{
    flaky_fail(1);
    printf("%d at the end\n", flaky_ask(20, 22));
    fflush(stdout);
}

static void *handle(const char *path)
{
    void *opened = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!opened) {
        printf("%s\n", dlerror());
        exit(2);
    }
    return opened;
}

static void look_up(void)
{
    void *library = handle("libflaky.so.1");
    int (*by_handle)(int, int) = (int (*)(int, int))dlsym(library, "flaky_ask");
    int (*by_default)(int, int) = (int (*)(int, int))dlsym(RTLD_DEFAULT, "flaky_ask");
    int (*by_next)(int, int) = (int (*)(int, int))dlsym(RTLD_NEXT, "flaky_ask");
    flaky_fail(1);
    printf("by handle %d\n", by_handle(20, 22));
    flaky_fail(1);
    printf("by default %d\n", by_default(20, 22));
    flaky_fail(1);
    printf("by next %d\n", by_next(20, 22));
    dlerror();
    void *none = dlsym(library, "flaky_nothing");
    printf("%s, %s\n", none ? "found" : "not found",
           strstr(dlerror(), "flaky_nothing") ? "and told" : "and not told");
    dlclose(library);
}

static void plug_in(const char *folder)
{
    char path[512];
    snprintf(path, sizeof path, "%s/plugin0.so", folder);
    void *plugin = handle(path);
    int (*plugin_ask)(int, int) = (int (*)(int, int))dlsym(plugin, "plugin_ask");
    flaky_fail(1);
    printf("%d\n", plugin_ask(20, 22));
    dlclose(plugin);
    plugin = handle(path);
    plugin_ask = (int (*)(int, int))dlsym(plugin, "plugin_ask");
    flaky_fail(1);
    printf("%d\n", plugin_ask(20, 22));
}

struct rounds {
    char path[512];
    int count;
};

static void *go_round(void *data)
{
    const struct rounds *rounds = data;
    long bad = 0;
    for (int i = 0; i < rounds->count; i++) {
        void *plugin = handle(rounds->path);
        int (*plugin_ask)(int, int) = (int (*)(int, int))dlsym(plugin, "plugin_ask");
        bad += !plugin_ask || plugin_ask(i, 1) != i + 1 || flaky_ask(i, 2) != i + 2;
        dlclose(plugin);
    }
    return (void *)bad;
}

static void load_and_unload(const char *folder)
{
    static struct rounds rounds[4];
    pthread_t threads[4];
    long bad = 0;
    for (int i = 0; i < 4; i++) {
        snprintf(rounds[i].path, sizeof rounds[i].path, "%s/plugin%d.so", folder, i);
        rounds[i].count = 1000;
        pthread_create(&threads[i], NULL, go_round, &rounds[i]);
    }
    for (int i = 0; i < 4; i++) {
        void *answer;
        pthread_join(threads[i], &answer);
        bad += (long)answer;
    }
    printf("%ld of 4000 went wrong\n", bad);
}

#define CROWD 6
static atomic_int came;

/* Stays until all have come, and are in it too or were turned away. */
static int stay(void *data)
{
    (void)data;
    atomic_fetch_add(&came, 1);
    while (came < CROWD)
        usleep(1000);
    return 1;
}

static void *come(void *data)
{
    long answer = flaky_with(stay, data);
    if (answer != 1)
        atomic_fetch_add(&came, 1);
    return (void *)answer;
}

static void crowd(void)
{
    pthread_t threads[CROWD];
    int through = 0, turned_away = 0;
    for (int i = 0; i < CROWD; i++)
        pthread_create(&threads[i], NULL, come, NULL);
    for (int i = 0; i < CROWD; i++) {
        void *answer;
        pthread_join(threads[i], &answer);
        through += answer == (void *)1;
        turned_away += answer == (void *)-9;
    }
    printf("%d through, %d turned away\n", through, turned_away);
}

/* One connect, so that rules are read that were not read at the start. */
static void connect_once(void)
{
    struct sockaddr_in nowhere = {
        .sin_family = AF_INET, .sin_port = htons(1), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    (void)connect(fd, (struct sockaddr *)&nowhere, sizeof nowhere);
    close(fd);
}

/* From now on no memory of this process becomes executable. */
static void refuse_executable(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 4, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        exit(2);
}

/* ... and none that was written to becomes executable. */
static void refuse_written(void)
{
    if (prctl(65 /* PR_SET_MDWE */, 1 /* PR_MDWE_REFUSE_EXEC_GAIN */, 0, 0, 0) != 0)
        printf("this kernel cannot refuse it\n");
}

static void late(const char *refused)
{
    flaky_fail(1);
    printf("%d before\n", flaky_ask(20, 22));
    if (strcmp(refused, "refused") == 0)
        refuse_executable();
    else if (strcmp(refused, "written") == 0)
        refuse_written();
    connect_once();
    flaky_fail(1);
    printf("%d after\n", flaky_ask(20, 22));
}

/* Asks once for each line that it is given. */
static void follow(void)
{
    char line[16];
    while (fgets(line, sizeof line, stdin)) {
        connect_once();
        flaky_fail(1);
        printf("%d\n", flaky_ask(20, 22));
        fflush(stdout);
    }
}

static void fork_it(void)
{
    flaky_fail(1);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        printf("%d in the child\n", flaky_ask(20, 22));
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    printf("%d in the parent\n", flaky_ask(20, 22));
}

static int hold(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)info;
    (void)size;
    sem_post(data);
    pause();
    return 1;
}

static void *look_at_objects(void *data)
{
    dl_iterate_phdr(hold, data);
    return NULL;
}

static void *idle(void *data)
{
    sem_post(data);
    pause();
    return NULL;
}

/* Forks while another thread lives, and if it is to be locked looks at the objects that are loaded. The child connects and
 * asks, or loads a plugin (of that folder) and asks that. */
static void fork_among_threads(const char *folder)
{
    bool is_locked = strcmp(folder, "locked") == 0;
    sem_t ready;
    sem_init(&ready, 0, 0);
    pthread_t thread;
    pthread_create(&thread, NULL, is_locked ? look_at_objects : idle, &ready);
    sem_wait(&ready);
    fflush(stdout);
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        alarm(5);
        connect_once();
        flaky_fail(1);
        if (is_locked)
            printf("%d in the child\n", flaky_ask(20, 22));
        else
            plug_in(folder);
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, &status, 0);
    printf("status %x\n", (unsigned)status);
}

static void on_signal(int number)
{
    (void)number;
    depth++;
}

/* A signal comes while it waits for its next attempt. */
static void interrupt(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGALRM, &action, NULL);
    flaky_fail(1);
    ualarm(20000, 0);
    int answer = flaky_ask(20, 22);
    printf("%d, %d handled\n", answer, depth);
}

int main(int count, char **arguments)
{
    const char *story = count > 1 ? arguments[1] : "", *argument = count > 2 ? arguments[2] : "1";
    static const struct {
        const char *name;
        void (*tell)(void);
        void (*tell_with)(const char *argument);
    } stories[] = {
        {"open", open_it, NULL},
        {"ask", NULL, ask},
        {"succeed", NULL, ask},
        {"mixed", mixed, NULL},
        {"errno", keep_errno, NULL},
        {"recurse", recurse, NULL},
        {"back", call_back, NULL},
        {"jump", NULL, jump},
        {"exit", exit_thread, NULL},
        {"look-up", look_up, NULL},
        {"plug-in", NULL, plug_in},
        {"rounds", NULL, load_and_unload},
        {"crowd", crowd, NULL},
        {"follow", follow, NULL},
        {"fork", fork_it, NULL},
        {"interrupt", interrupt, NULL},
        {"cancel", cancel, NULL},
        {"give-up", give_up, NULL},
        {"fork-among", NULL, fork_among_threads},
    };
    if (strcmp(story, "early") == 0)
        printf("%d before main\n", asked_early);
    else if (strcmp(story, "end") == 0)
        atexit(at_end);
    else if (strcmp(story, "late") == 0)
        late(argument);
    else if (strcmp(story, "ask") == 0)
        flaky_fail(1000000);
    for (size_t i = 0; i < sizeof stories / sizeof *stories; i++) {
        if (strcmp(stories[i].name, story) != 0)
            continue;
        if (stories[i].tell)
            stories[i].tell();
        else
            stories[i].tell_with(argument);
    }
    return 0;
}
