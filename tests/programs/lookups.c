/* Looks names up in ways in which programs do, and prints what came of it.
 *
 *     lookups jump NAME OTHER    leaves the first lookup by siglongjmp out of a timer's handler, as wget does
 *     lookups gone NAME PORT     leaves a lookup in a coroutine, and connects from another one when its stack is gone
 *     lookups timer NAME         is interrupted all the time, without SA_RESTART
 *     lookups threads NAME N     N threads at once
 *     lookups race NAME N        N threads, each many times over
 *     lookups cancel NAME OTHER  cancels a thread that looks up
 *     lookups fork NAME OTHER    forks while an abandoned lookup may still be going on
 *     lookups host NAME          gethostbyname, gethostbyname2 and their _r forms
 *     lookups settings NAME      with a search list of its own
 *     lookups server NAME        with a name server of its own, where there is none
 *     lookups small NAME         gethostbyname_r with a buffer that is too small at first
 *     lookups names NAME OTHER   two threads, two names, one address: which of them each connects to is in the events */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <resolv.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static sigjmp_buf out;
static volatile sig_atomic_t leaves, fired;

static void fire(int number)
{
    (void)number;
    fired++;
    if (leaves)
        siglongjmp(out, 1);
}

static void set_timer(long ms)
{
    struct sigaction action = {.sa_handler = fire};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval every = {.it_interval = {0, ms * 1000}, .it_value = {0, ms * 1000}};
    setitimer(ITIMER_REAL, &every, NULL);
}

static const char *look_up(const char *name)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *answers = NULL;
    int error = getaddrinfo(name, "80", &hints, &answers);
    if (error == 0)
        freeaddrinfo(answers);
    return error == 0             ? "good"
           : error == EAI_AGAIN   ? "EAI_AGAIN"
           : error == EAI_NONAME  ? "EAI_NONAME"
           : error == EAI_SERVICE ? "EAI_SERVICE"
                                  : gai_strerror(error);
}

static void *look_up_in_thread(void *name)
{
    return (void *)look_up(name);
}

static void leave_lookup(const char *name)
{
    leaves = 1;
    if (sigsetjmp(out, 1) == 0) {
        set_timer(100);
        printf("not left: %s\n", look_up(name));
    }
    leaves = 0;
    set_timer(0);
}

static void print_settings(void)
{
    printf("%d %d %s\n", _res.retrans, _res.retry, _res.options & RES_INIT ? "set" : "unset");
}

static void *look_up_often(void *name)
{
    const char *said = "good";
    for (int i = 0; i < 200; i++) {
        said = look_up(name);
        if (strcmp(said, "good") != 0 && strcmp(said, "EAI_AGAIN") != 0)
            break;
    }
    return (void *)said;
}

static int threads(const char *name, int count, void *(*how)(void *))
{
    pthread_t all[200];
    int good = 0, again = 0;
    for (int i = 0; i < count; i++)
        pthread_create(&all[i], NULL, how, (void *)name);
    for (int i = 0; i < count; i++) {
        void *said;
        pthread_join(all[i], &said);
        good += strcmp(said, "good") == 0;
        again += strcmp(said, "EAI_AGAIN") == 0;
    }
    printf("%d good %d EAI_AGAIN\n", good, again);
    return good + again == count ? 0 : 1;
}

static int cancel(const char *name, const char *other)
{
    pthread_t thread;
    void *said;
    pthread_create(&thread, NULL, look_up_in_thread, (void *)name);
    usleep(100000); /* it is cancelled wherever it is by then */
    pthread_cancel(thread);
    pthread_join(thread, &said);
    printf("%s\n", said == PTHREAD_CANCELED ? "cancelled" : (char *)said);
    printf("%s\n", look_up(other));
    return 0;
}

static int fork_meanwhile(const char *name, const char *other)
{
    leave_lookup(name);
    fflush(stdout);
    pid_t child = fork();
    printf("%s ", look_up(other));
    puts(look_up(name));
    fflush(stdout);
    if (child == 0)
        _exit(0);
    int status;
    waitpid(child, &status, 0);
    return status;
}

static void print_host(const char *form, const struct hostent *host, int error)
{
    char text[INET6_ADDRSTRLEN] = "";
    printf("%s", form);
    for (char **address = host ? host->h_addr_list : NULL; address && *address; address++)
        printf(" %s", inet_ntop(host->h_addrtype, *address, text, sizeof text));
    if (host)
        printf(" %s\n", host->h_name);
    else
        printf(" %s\n", error == TRY_AGAIN        ? "TRY_AGAIN"
                        : error == HOST_NOT_FOUND ? "HOST_NOT_FOUND"
                        : error == NETDB_INTERNAL ? "NETDB_INTERNAL"
                                                  : "other");
}

static int host(const char *name)
{
    struct hostent buffered, *answer;
    char buffer[4096];
    int error = 0;
    answer = gethostbyname(name);
    print_host("gethostbyname", answer, h_errno);
    answer = gethostbyname2(name, AF_INET);
    print_host("gethostbyname2", answer, h_errno);
    int result = gethostbyname_r(name, &buffered, buffer, sizeof buffer, &answer, &error);
    print_host("gethostbyname_r", answer, error);
    printf("%s\n", result == 0 ? "0" : result == EAGAIN ? "EAGAIN" : strerror(result));
    result = gethostbyname2_r(name, AF_INET, &buffered, buffer, sizeof buffer, &answer, &error);
    print_host("gethostbyname2_r", answer, error);
    printf("%s\n", result == 0 ? "0" : result == EAGAIN ? "EAGAIN" : strerror(result));
    return 0;
}

static int small(const char *name)
{
    struct hostent buffered, *answer = &buffered;
    static char buffer[8192];
    int error = 0, result = 0, refused = 0;
    for (size_t size = 8; size <= sizeof buffer; size *= 2) {
        result = gethostbyname_r(name, &buffered, buffer, size, &answer, &error);
        if (result != ERANGE)
            break;
        refused += !answer && error == NETDB_INTERNAL;
    }
    printf("%s ", refused ? "grew" : "fitted");
    print_host(result == 0 ? "0" : strerror(result), answer, error);
    return 0;
}

static pthread_barrier_t steps;

/* The first one looks its name up, then the second one, then the first something else; then both connect. */
static void *use_name(void *argument)
{
    const char *const *names = argument;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_INET}, *answers = NULL;
    bool is_first = names[1];
    if (!is_first)
        pthread_barrier_wait(&steps);
    int error = getaddrinfo(names[0], "9", &hints, &answers);
    if (is_first)
        pthread_barrier_wait(&steps);
    pthread_barrier_wait(&steps);
    if (error != 0)
        return NULL;
    if (is_first)
        look_up(names[1]);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, answers->ai_addr, answers->ai_addrlen) == 0)
        puts("connected");
    close(fd);
    freeaddrinfo(answers);
    return NULL;
}

static int names(const char *name, const char *other)
{
    const char *first[] = {name, "else.test"}, *second[] = {other, NULL};
    pthread_t threads[2];
    pthread_barrier_init(&steps, NULL, 2);
    pthread_create(&threads[0], NULL, use_name, first);
    pthread_create(&threads[1], NULL, use_name, second);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    return 0;
}

static void change_settings(bool is_server)
{
    res_init();
    if (is_server) {
        _res.nsaddr_list[0].sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
        return;
    }
    strcpy(_res.defdname, "deep.test");
    _res.dnsrch[0] = _res.defdname;
    _res.dnsrch[1] = NULL;
    _res.ndots = 3;
}

__attribute__((constructor)) static void begin(void)
{
    const char *name = getenv("LOOK_UP_BEFORE_MAIN");
    if (name)
        puts(look_up(name));
}

static const char *in_coroutine;

static void look_up_here(void)
{
    puts(look_up(in_coroutine));
}

static void connect_here(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(in_coroutine))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    puts(connect(fd, (struct sockaddr *)&address, sizeof address) == 0 ? "connected" : strerror(errno));
    close(fd);
}

static void run_on(char *stack, size_t size, void (*function)(void), const char *argument)
{
    static ucontext_t here, there;
    getcontext(&there);
    there.uc_stack = (stack_t){.ss_sp = stack, .ss_size = size};
    there.uc_link = &here;
    in_coroutine = argument;
    makecontext(&there, function, 0);
    swapcontext(&here, &there);
}

/* The second stack lies below the first: what is on that one might be a frame further out. */
static void leave_coroutine(const char *name, const char *port)
{
    enum { STACK = 1 << 20 };
    char *stacks = mmap(NULL, 2 * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    leaves = 1;
    if (sigsetjmp(out, 1) == 0) {
        set_timer(300);
        run_on(stacks + STACK, STACK, look_up_here, name);
    }
    leaves = 0;
    set_timer(0);
    munmap(stacks + STACK, STACK);
    run_on(stacks, STACK, connect_here, port);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    const char *name = argv[2], *other = argc > 3 ? argv[3] : "";
    if (strcmp(argv[1], "threads") == 0)
        return threads(name, atoi(other), look_up_in_thread);
    if (strcmp(argv[1], "race") == 0)
        return threads(name, atoi(other), look_up_often);
    if (strcmp(argv[1], "cancel") == 0)
        return cancel(name, other);
    if (strcmp(argv[1], "fork") == 0)
        return fork_meanwhile(name, other);
    if (strcmp(argv[1], "host") == 0)
        return host(name);
    if (strcmp(argv[1], "small") == 0)
        return small(name);
    if (strcmp(argv[1], "names") == 0)
        return names(name, other);
    if (strcmp(argv[1], "settings") == 0 || strcmp(argv[1], "server") == 0) {
        change_settings(strcmp(argv[1], "server") == 0);
        puts(look_up(name));
        print_settings();
        return 0;
    }
    if (strcmp(argv[1], "timer") == 0) {
        set_timer(20);
        const char *said = look_up(name);
        set_timer(0);
        printf("%s %s\n", said, fired ? "fired" : "never");
        return 0;
    }
    if (strcmp(argv[1], "gone") == 0) {
        leave_coroutine(name, other);
        return 0;
    }
    if (strcmp(argv[1], "jump") == 0) {
        leave_lookup(name);
        puts(look_up(other));
        print_settings();
        return 0;
    }
    return 2;
}
