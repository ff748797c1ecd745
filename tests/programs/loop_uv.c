/* A client on libuv: asks HOST PORT as often as it is told, all at once, and prints the answers. Errors are named on stderr;
 * then its status is 1. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct client {
    uv_tcp_t socket;
    uv_connect_t connect;
    uv_write_t write;
    char room[4096];
};

static int status;
static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

static void fail(struct client *client, const char *what, int error)
{
    fprintf(stderr, "%s: %s\n", what, uv_err_name(error));
    status = 1;
    uv_close((uv_handle_t *)&client->socket, NULL);
}

static void give_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct client *client = handle->data;
    (void)suggested;
    *buffer = uv_buf_init(client->room, sizeof client->room);
}

static void answered(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer)
{
    struct client *client = stream->data;
    if (got > 0)
        printf("%.*s\n", (int)got, buffer->base);
    else if (got == UV_EOF)
        uv_close((uv_handle_t *)stream, NULL);
    else if (got < 0)
        fail(client, "read", (int)got);
}

static void written(uv_write_t *write, int error)
{
    if (error)
        fail(write->data, "write", error);
}

static void connected(uv_connect_t *connect, int error)
{
    struct client *client = connect->data;
    if (error) {
        fail(client, "connect", error);
        return;
    }
    uv_buf_t buffer = uv_buf_init((char *)request, sizeof request - 1);
    client->write.data = client;
    uv_write(&client->write, (uv_stream_t *)&client->socket, &buffer, 1, written);
    uv_read_start((uv_stream_t *)&client->socket, give_room, answered);
}

int main(int count, char **words)
{
    int many = count == 4 ? atoi(words[3]) : 0;
    struct sockaddr_in address;
    struct client *clients = calloc((size_t)many + 1, sizeof *clients);
    if (!clients || many <= 0 || uv_ip4_addr(words[1], atoi(words[2]), &address) != 0)
        return 2;
    for (int i = 0; i < many; i++) {
        struct client *client = &clients[i];
        uv_tcp_init(uv_default_loop(), &client->socket);
        client->socket.data = client->connect.data = client;
        int error = uv_tcp_connect(&client->connect, &client->socket, (struct sockaddr *)&address, connected);
        if (error)
            fail(client, "connect", error);
    }
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    uv_loop_close(uv_default_loop());
    free(clients);
    return status;
}
