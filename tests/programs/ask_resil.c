/* Connects to a port of 127.0.0.1, or looks up a name (`lookup NAME`), and tells what include/resil.h says of it. Linked with
 * nothing of libresil's. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resil.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(argc > 1 ? argv[1] : "9")),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (!resil_degraded || !resil_last) {
        puts("absent");
        return 0;
    }
    struct resil_decision decision;
    if (resil_last(&decision, sizeof decision) != -1 || resil_degraded(fd) != RESIL_FULL ||
        resil_degraded(-1) != RESIL_FULL)
        return 1;
    if (argc > 2 && strcmp(argv[1], "lookup") == 0) {
        struct addrinfo *answers = NULL;
        if (getaddrinfo(argv[2], NULL, NULL, &answers) == 0)
            freeaddrinfo(answers);
    } else {
        connect(fd, (struct sockaddr *)&address, sizeof address);
        printf("degraded %d\n", resil_degraded(fd));
    }
    if (resil_last(&decision, sizeof decision) != 0)
        puts("no decision");
    else
        printf("%s: rung %" PRIu32 " number %" PRIu32 " error %" PRId32 " lookup %" PRIu32 " age %" PRIu64
               "\n",
               decision.rule, decision.rung, decision.number, decision.error, decision.is_lookup,
               decision.age_ms);
    return 0;
}
