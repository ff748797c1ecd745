/* A client on libevent: asks HOST PORT as often as it is told, all at once, and prints the answers. Errors are named on
 * stderr; then its status is 1. */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int status;
static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

static void answered(struct bufferevent *client, void *unused)
{
    char part[4096];
    size_t got;
    (void)unused;
    while ((got = bufferevent_read(client, part, sizeof part)) > 0)
        printf("%.*s\n", (int)got, part);
}

static void happened(struct bufferevent *client, short what, void *unused)
{
    (void)unused;
    if (what & BEV_EVENT_CONNECTED) {
        bufferevent_write(client, request, sizeof request - 1);
        return;
    }
    if (what & BEV_EVENT_ERROR) {
        fprintf(stderr, "%s: %s\n", what & (BEV_EVENT_READING | BEV_EVENT_WRITING) ? "transfer" : "connect",
                strerrorname_np(errno));
        status = 1;
    }
    bufferevent_free(client);
}

int main(int count, char **words)
{
    int many = count == 4 ? atoi(words[3]) : 0;
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct event_base *loop = event_base_new();
    if (!loop || many <= 0 || inet_pton(AF_INET, words[1], &address.sin_addr) != 1)
        return 2;
    address.sin_port = htons((uint16_t)atoi(words[2]));
    for (int i = 0; i < many; i++) {
        struct bufferevent *client = bufferevent_socket_new(loop, -1, BEV_OPT_CLOSE_ON_FREE);
        bufferevent_setcb(client, answered, NULL, happened, NULL);
        bufferevent_enable(client, EV_READ | EV_WRITE);
        bufferevent_socket_connect(client, (struct sockaddr *)&address, sizeof address);
    }
    event_base_dispatch(loop);
    event_base_free(loop);
    return status;
}
