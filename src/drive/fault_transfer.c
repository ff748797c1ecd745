#include "drive/fault_transfer.h"

#include <errno.h>
#include <poll.h>

#include "base/clock.h"
#include "drive/exchange.h"
#include "drive/fault_corrupt.h"
#include "drive/fault_messages.h"
#include "drive/fault_peer.h"
#include "drive/faults.h"
#include "drive/perform.h"
#include "drive/raw.h"
#include "drive/readable.h"
#include "drive/reorder.h"
#include "drive/shape.h"
#include "hooks/real.h"
#include "policy/call.h"

enum verdict { MADE, FAILED, BROKEN };

static ssize_t receive_under(struct descriptor *entry, const struct transfer *transfer,
                             struct faulted *faulted);
static ssize_t send_under(struct descriptor *entry, const struct transfer *transfer, struct faulted *faulted);
static enum shaped begin(struct descriptor *entry, const struct transfer *transfer,
                         enum fault_operation operation, struct faulted *faulted, struct fault_peer *peer);
static bool goes_on_out_of_order(struct descriptor *entry, const struct transfer *transfer, ssize_t *result);
static enum verdict wait_for_turn(struct descriptor *entry, const struct transfer *transfer,
                                  struct faulted *faulted, uint64_t began_ns);
static bool wait_for_room(struct descriptor *entry, const struct transfer *transfer, struct faulted *faulted,
                          uint64_t began_ns, uint64_t *room);
static bool is_copy(struct flow *flow, const struct transfer *transfer);
static bool is_at_end(const struct transfer *transfer);
static void lose(int fd);
static void break_off(struct descriptor *entry, int fd);
static void end(struct descriptor *entry, int fd, bool is_sending);
static bool pretend_to_send(const struct transfer *transfer, size_t *size);
static bool is_sending(const struct faulted *faulted);

ssize_t fault_receive(struct descriptor *entry, const struct transfer *transfer)
{
    struct faulted faulted;
    struct fault_peer peer;
    if (!transfer_is_same(entry, transfer->fd))
        return perform(transfer);
    if (transfer->call == TRANSFER_RECVMMSG)
        return messages_receive(entry, transfer);
    for (;;) {
        ssize_t result;
        if (goes_on_out_of_order(entry, transfer, &result))
            return result;
        enum shaped shaped = begin(entry, transfer, FAULT_RECV, &faulted, &peer);
        if (shaped == SHAPE_LATER)
            return -1;
        if (shaped == SHAPE_NOTHING)
            return transfer_receive(entry, transfer, NOT_YET,
                                    transfer->flags & MSG_WAITALL ? clock_now_ns() : 0);
        result = receive_under(entry, transfer, &faulted);
        shape_ended(&faulted, transfer, entry, result);
        /* A datagram that is lost was never there: the next one is what is waited for. */
        bool is_lost =
            faulted.plan.action == FAULT_DROP && result >= 0 && !(result == 0 && is_at_end(transfer));
        if (is_lost && transfer->flags & MSG_PEEK)
            lose(transfer->fd);
        faults_end(&faulted);
        if (!is_lost)
            return result;
    }
}

ssize_t fault_send(struct descriptor *entry, const struct transfer *transfer)
{
    struct faulted faulted;
    struct fault_peer peer;
    if (!transfer_is_same(entry, transfer->fd))
        return perform(transfer);
    if (transfer->call == TRANSFER_SENDMMSG)
        return messages_send(entry, transfer);
    enum shaped shaped = begin(entry, transfer, FAULT_SEND, &faulted, &peer);
    if (shaped == SHAPE_LATER)
        return -1;
    if (shaped == SHAPE_NOTHING)
        return transfer_send(entry, transfer, NOT_YET, clock_now_ns());
    ssize_t result = send_under(entry, transfer, &faulted);
    shape_ended(&faulted, transfer, entry, result);
    faults_end(&faulted);
    return result;
}

/* SHAPE_LATER: the call has failed; where it does not wait, with EAGAIN. */
static enum shaped begin(struct descriptor *entry, const struct transfer *transfer,
                         enum fault_operation operation, struct faulted *faulted, struct fault_peer *peer)
{
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_acquire);
    struct flow *flow = flow_of(entry);
    /* What is not connected yet, or not any more, has its own story; and errors that lie in a queue are no data. */
    if (!flow || state & NOT_AS_USUAL || transfer->flags & (MSG_OOB | MSG_ERRQUEUE))
        return SHAPE_NOTHING;
    if (operation == FAULT_RECV && is_copy(flow, transfer))
        return SHAPE_NOTHING;
    bool may_wait = !(state & (NON_BLOCKING | HANDED_OVER)) && !perform_is_dontwait(transfer);
    faulted->text = NULL;
    faulted->without = 0;
    if (flow->is_unconnected) {
        enum peer found = operation == FAULT_SEND
                              ? fault_peer_of_send(flow, transfer, peer)
                              : fault_peer_of_receive(flow, entry, transfer, may_wait, peer);
        if (found != PEER_FOUND)
            return found == PEER_NONE ? SHAPE_NOTHING : SHAPE_LATER;
        faulted->text = peer->text;
        faulted->without = peer->without;
    }
    if (!may_wait)
        return shape_begin(faulted, flow, operation, transfer, entry);
    faulted->may_wait = true;
    faulted->may_hang = false;
    return faults_begin(faulted, flow, operation, transfer->caller, entry) ? SHAPE_NOW : SHAPE_NOTHING;
}

/* Is it about datagrams of which some have been received before their turn? */
static bool goes_on_out_of_order(struct descriptor *entry, const struct transfer *transfer, ssize_t *result)
{
    struct flow *flow = flow_of(entry);
    if (!flow || !reorder_is_on(flow) || transfer->flags & (MSG_OOB | MSG_ERRQUEUE) ||
        !flow_claim(flow, FAULT_RECV, entry, result))
        return false;
    bool is_on = reorder_is_on(flow);
    if (is_on)
        *result = reorder_go_on(flow, entry, transfer);
    flow_release(flow, FAULT_RECV);
    return is_on;
}

/* Does it get what has come before? All that was to happen to that one has; else copies of copies would have no end. */
static bool is_copy(struct flow *flow, const struct transfer *transfer)
{
    _Atomic bool *was_twice = &flow->sides[FAULT_RECV].was_twice;
    if (!atomic_load_explicit(was_twice, memory_order_relaxed))
        return false;
    if (!(transfer->flags & MSG_PEEK))
        atomic_store_explicit(was_twice, false, memory_order_relaxed);
    return true;
}

static ssize_t receive_under(struct descriptor *entry, const struct transfer *transfer,
                             struct faulted *faulted)
{
    uint64_t began_ns = clock_now_ns(), room = UINT64_MAX;
    switch (wait_for_turn(entry, transfer, faulted, began_ns)) {
    case FAILED:
        return -1;
    case BROKEN:
        return transfer_receive(entry, transfer, NOT_YET, 0);
    case MADE:
        break;
    }
    if (!wait_for_room(entry, transfer, faulted, began_ns, &room))
        return -1;
    struct rest part;
    const struct transfer *made = transfer;
    ssize_t result;
    if (faulted->plan.depth && faulted->plan.action == FAULT_GO && !(transfer->flags & MSG_PEEK) &&
        reorder_begin(faulted->flow, entry, transfer, faulted->plan.depth, &result)) {
        faulted->plan.is_twice = false;
        return result;
    }
    if (room != UINT64_MAX && !faulted->flow->is_message && perform_part(transfer, 0, room, &part))
        made = &part.transfer;
    else if (faulted->plan.is_twice && perform_peek(transfer, &part))
        made = &part.transfer; /* it stays where it is, and comes again */
    result = transfer_receive(entry, made, NOT_YET, began_ns);
    if (made != transfer)
        perform_part_done(transfer, &part);
    if (result >= 0 && made->flags & ~transfer->flags & MSG_PEEK)
        atomic_store_explicit(&faulted->flow->sides[FAULT_RECV].was_twice, true, memory_order_relaxed);
    if (result == 0 && faulted->closes && perform_size(transfer)) {
        uint64_t delay_ns = faults_close_delay_ns(faulted), now = clock_now_ns();
        if (delay_ns && !transfer_wait(entry, transfer, false, 0, now + delay_ns, now))
            return -1;
    }
    if (result > 0 && faulted->corrupts && faulted->plan.action == FAULT_GO)
        fault_corrupt_received(faulted, made, (size_t)result);
    if (result > 0 && !(transfer->flags & MSG_PEEK))
        faults_moved(faulted, (uint64_t)result, clock_now_ns());
    return result;
}

/* Is nothing received because nothing more comes? */
static bool is_at_end(const struct transfer *transfer)
{
    return raw_poll(transfer->fd) & POLLRDHUP;
}

/* It was only looked at, and every other look would find it again. */
static void lose(int fd)
{
    int before = errno;
    syscall(SYS_recvfrom, fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
    errno = before;
}

/* A call that may wait sends all of it, part by part. */
static ssize_t send_under(struct descriptor *entry, const struct transfer *transfer, struct faulted *faulted)
{
    uint64_t began_ns = clock_now_ns(), room = UINT64_MAX;
    switch (wait_for_turn(entry, transfer, faulted, began_ns)) {
    case FAILED:
        return -1;
    case BROKEN:
        return transfer_send(entry, transfer, NOT_YET, began_ns);
    case MADE:
        break;
    }
    size_t done = 0, whole = 0;
    int before = errno;
    if (faulted->plan.action == FAULT_DROP && pretend_to_send(transfer, &done))
        return (ssize_t)done;
    if (faulted->plan.is_twice)
        transfer_send(entry, transfer, NOT_YET, clock_now_ns());
    do {
        if (done && faulted->gap_ns &&
            !transfer_wait(entry, transfer, true, 0, clock_now_ns() + faulted->gap_ns, clock_now_ns()))
            break;
        if (!wait_for_room(entry, transfer, faulted, began_ns, &room))
            break;
        bool is_corrupted = faulted->corrupts && faulted->plan.action == FAULT_GO;
        if (is_corrupted && room > FLOW_COPY_BYTES)
            room = FLOW_COPY_BYTES;
        struct rest part;
        struct corrupted copy;
        bool is_cut =
            room != UINT64_MAX && !faulted->flow->is_message && perform_part(transfer, done, room, &part);
        const struct transfer *made = is_cut ? &part.transfer : transfer;
        if (is_corrupted && fault_corrupt_copy(faulted, made, &copy))
            made = &copy.transfer;
        ssize_t sent = transfer_send(entry, made, NOT_YET, clock_now_ns());
        if (made == &copy.transfer && sent > 0)
            fault_corrupt_sent(&copy, (size_t)sent);
        if (sent < 0 || !is_cut) {
            faults_moved(faulted, sent > 0 ? (uint64_t)sent : 0, clock_now_ns());
            if (!done)
                return sent;
            break;
        }
        whole = perform_size(transfer);
        done += (size_t)sent;
        began_ns = clock_now_ns();
        faults_moved(faulted, (uint64_t)sent, began_ns);
        if (sent == 0)
            break;
    } while (done < whole && faulted->most && faulted->may_wait);
    if (!done)
        return -1;
    errno = before;
    return (ssize_t)done;
}

/* The datagram is lost on the way. False: how long it is cannot be told. */
static bool pretend_to_send(const struct transfer *transfer, size_t *size)
{
    const struct msghdr *message = transfer->data;
    switch (transfer->call) {
    case TRANSFER_SENDMMSG:
    case TRANSFER_SENDFILE:
    case TRANSFER_SPLICE_OUT:
        return false;
    case TRANSFER_SENDMSG:
        if (!is_readable(message, sizeof *message) || message->msg_iovlen > 64 ||
            !is_readable(message->msg_iov, message->msg_iovlen * sizeof *message->msg_iov))
            return false;
        break;
    case TRANSFER_WRITEV:
        if (transfer->count > 64 || !is_readable(transfer->data, transfer->count * sizeof(struct iovec)))
            return false;
        break;
    default:
        break;
    }
    *size = perform_size(transfer);
    return true;
}

/* Until it may be made. FAILED: errno is what the program gets. */
static enum verdict wait_for_turn(struct descriptor *entry, const struct transfer *transfer,
                                  struct faulted *faulted, uint64_t began_ns)
{
    struct fault_plan *plan = &faulted->plan;
    bool is_waiting = plan->delay_ns || plan->action == FAULT_SILENCE || faulted->break_ns != FAULT_NEVER;
    if (is_waiting && faulted->may_wait) {
        /* What is received is late from when it has come. */
        bool comes_first = !is_sending(faulted) && plan->action != FAULT_SILENCE;
        if (comes_first &&
            !transfer_wait(entry, transfer, false, POLLIN | POLLRDHUP, faulted->break_ns, began_ns))
            return FAILED;
        plan->begun_ns = clock_now_ns();
        uint64_t due_ns = fault_plan_due_ns(plan);
        due_ns = due_ns < faulted->break_ns ? due_ns : faulted->break_ns;
        if (due_ns > plan->begun_ns &&
            !transfer_wait(entry, transfer, is_sending(faulted), 0, due_ns, began_ns))
            return FAILED;
        if (faulted->break_ns != FAULT_NEVER && clock_now_ns() >= faulted->break_ns) {
            faults_broken(faulted);
            break_off(entry, transfer->fd);
            return BROKEN;
        }
    }
    if (plan->action == FAULT_BREAK)
        break_off(entry, transfer->fd);
    else if (plan->action == FAULT_END)
        end(entry, transfer->fd, is_sending(faulted));
    if (plan->action == FAULT_BREAK || plan->action == FAULT_END)
        return BROKEN;
    if (plan->action != FAULT_FAIL)
        return MADE;
    bool is_begun = is_sending(faulted) && exchange_begin(entry, plan->begun_ns);
    exchange_broken(entry, transfer->fd, plan->error);
    if (is_begun)
        exchange_undo(entry);
    errno = plan->error;
    return FAILED;
}

static bool wait_for_room(struct descriptor *entry, const struct transfer *transfer, struct faulted *faulted,
                          uint64_t began_ns, uint64_t *room)
{
    for (;;) {
        *room = faults_room(faulted, faulted->rates ? clock_now_ns() : 0);
        if (*room)
            return true;
        if (!transfer_wait(entry, transfer, is_sending(faulted), 0, faulted->due_ns, began_ns))
            return false;
    }
}

/* The kernel ends the connection with a reset: the peer sees it too, and so does whoever waits for it elsewhere. */
static void break_off(struct descriptor *entry, int fd)
{
    int before = errno, ignored;
    socklen_t length = sizeof ignored;
    entry->due_recv_error = ECONNRESET;
    atomic_fetch_or_explicit(&entry->state, CONNECT_ERROR_DUE | CUT_OFF, memory_order_acq_rel);
    if (!raw_disconnect(fd))
        real.shutdown(fd, SHUT_RDWR); /* a UNIX socket */
    real.getsockopt(fd, SOL_SOCKET, SO_ERROR, &ignored, &length);
    exchange_broken(entry, fd, ECONNRESET);
    errno = before;
}

/* As if the peer had closed its side, or would take no more. */
static void end(struct descriptor *entry, int fd, bool is_sending)
{
    int before = errno;
    if (!is_sending)
        atomic_fetch_or_explicit(&entry->state, CUT_OFF, memory_order_acq_rel);
    real.shutdown(fd, is_sending ? SHUT_WR : SHUT_RD);
    errno = before;
}

static bool is_sending(const struct faulted *faulted)
{
    return faulted->operation == FAULT_SEND;
}
