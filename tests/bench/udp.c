/*
 * Datagrams through UDP associations (RFC 1928 section 7), sent back by the origin, one epoll loop for all.
 *
 * Each association keeps as many datagrams on their way as its window is wide; one that comes back sends the next.
 * Where nothing comes back for a while, what was on its way is lost and the window is filled anew. A datagram's
 * payload begins with its number, so that one that was overtaken is seen.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "load.h"
#include "message.h"

enum { HEADER_SIZE = 10, LARGEST = 2048, BATCH = 64, SILENCE_MS = 200, REPLY_PORT = 8 };

struct association {
	int control, fd;
	size_t window, header;
	uint64_t next, sent, received, overtaken, lost, highest;
	unsigned char datagram[LARGEST];
};

static size_t payload_size;
static unsigned char buffers[BATCH][LARGEST];
static struct iovec vectors[BATCH];
static struct mmsghdr batch[BATCH];

static void connect_datagrams(struct association *one, in_port_t port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};

	one->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (one->fd < 0 || connect(one->fd, (struct sockaddr *)&address, sizeof address) < 0)
		err(1, "datagram socket");
}

static void ask(int fd, const void *bytes, size_t size, unsigned char *reply, size_t expected)
{
	if (send(fd, bytes, size, MSG_NOSIGNAL) != (ssize_t)size ||
	    recv(fd, reply, expected, MSG_WAITALL) != (ssize_t)expected)
		err(1, "association");
}

/* Without a proxy the datagrams go straight to the origin and have no header. */
static void open_association(struct association *one, const struct route *route)
{
	const unsigned char request[REQUEST_SIZE] = { 5, 3, 0, 1 };
	const unsigned char header[HEADER_SIZE] = { 0, 0, 0, 1, 127, 0, 0, 1, route->origin >> 8, route->origin & 0xff };
	struct sockaddr_in address = first_hop(route);
	unsigned char reply[REQUEST_REPLY_SIZE];

	one->control = -1;
	if (route->proxy == 0) {
		connect_datagrams(one, route->origin);
		return;
	}
	one->control = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (one->control < 0 || connect(one->control, (struct sockaddr *)&address, sizeof address) < 0)
		err(1, "connect");
	ask(one->control, greeting, sizeof greeting, reply, GREETING_REPLY_SIZE);
	if (!greeting_accepted(reply))
		errx(1, "greeting refused");
	ask(one->control, request, sizeof request, reply, sizeof reply);
	if (!request_granted(reply))
		errx(1, "association refused: %d", reply[1]);
	connect_datagrams(one, (in_port_t)(reply[REPLY_PORT] << 8 | reply[REPLY_PORT + 1]));
	memcpy(one->datagram, header, sizeof header);
	one->header = HEADER_SIZE;
}

/* A full send buffer is not a loss: what did not go out now goes out with the next that comes back. */
static void send_some(struct association *one, size_t count)
{
	size_t ready = count < BATCH ? count : BATCH;
	int sent;

	for (size_t i = 0; i < ready; i++) {
		uint64_t number = one->next + i;

		memcpy(buffers[i], one->datagram, one->header + payload_size);
		memcpy(buffers[i] + one->header, &number, sizeof number);
		vectors[i].iov_len = one->header + payload_size;
	}
	sent = sendmmsg(one->fd, batch, (unsigned)ready, 0);
	if (sent < 0 && errno != EAGAIN && errno != ECONNREFUSED && errno != ENOBUFS)
		err(1, "sendmmsg");
	if (sent > 0) {
		one->next += (uint64_t)sent;
		one->sent += (uint64_t)sent;
	}
}

static void fill_window(struct association *one)
{
	uint64_t away = one->sent - one->received - one->lost;

	if (away < one->window)
		send_some(one, one->window - away);
}

static int receive_some(struct association *one)
{
	int got;

	for (size_t i = 0; i < BATCH; i++)
		vectors[i].iov_len = LARGEST;
	got = recvmmsg(one->fd, batch, BATCH, 0, NULL);
	for (int i = 0; i < got; i++) {
		uint64_t number;

		if (batch[i].msg_len != one->header + payload_size)
			errx(1, "a datagram of %u bytes came back, not %zu", batch[i].msg_len, one->header + payload_size);
		memcpy(&number, buffers[i] + one->header, sizeof number);
		if (number < one->highest)
			one->overtaken++;
		else
			one->highest = number;
		one->received++;
	}
	return got;
}

static void run_for(struct association *all, size_t count, double seconds, bool sending)
{
	struct epoll_event events[BATCH];
	int poller = epoll_create1(EPOLL_CLOEXEC);
	double end = now() + seconds;

	for (size_t i = 0; i < count; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = &all[i] };

		if (epoll_ctl(poller, EPOLL_CTL_ADD, all[i].fd, &event) < 0)
			err(1, "epoll_ctl");
		if (sending)
			fill_window(&all[i]);
	}
	while (now() < end) {
		int ready = epoll_wait(poller, events, BATCH, SILENCE_MS);

		for (int i = 0; i < ready; i++) {
			struct association *one = events[i].data.ptr;

			if (receive_some(one) > 0 && sending)
				fill_window(one);
		}
		for (size_t i = 0; ready == 0 && sending && i < count; i++) {
			all[i].lost = all[i].sent - all[i].received;
			fill_window(&all[i]);
		}
	}
	close(poller);
}

/* `seconds` of datagrams, then a while for those that are still on their way; the rest is lost. */
void measure_datagrams(const struct route *route, size_t count, size_t window, size_t size, double seconds)
{
	struct association *all = calloc(count, sizeof *all);
	uint64_t sent = 0, received = 0, overtaken = 0;
	double start, took;

	if (all == NULL || size < sizeof(uint64_t) || size > LARGEST - HEADER_SIZE)
		errx(2, "datagrams of %zu bytes", size);
	payload_size = size;
	for (size_t i = 0; i < BATCH; i++) {
		vectors[i].iov_base = buffers[i];
		batch[i].msg_hdr = (struct msghdr){ .msg_iov = &vectors[i], .msg_iovlen = 1 };
	}
	for (size_t i = 0; i < count; i++) {
		open_association(&all[i], route);
		all[i].window = window;
	}
	start = now();
	run_for(all, count, seconds, true);
	took = now() - start;
	for (size_t i = 0; i < count; i++)
		received += all[i].received;
	run_for(all, count, 2 * SILENCE_MS / 1e3, false);
	for (size_t i = 0; i < count; i++) {
		sent += all[i].sent;
		overtaken += all[i].overtaken;
		sent -= all[i].received;
	}
	printf("{\"seconds\": %.6f, \"datagrams\": %ju, \"lost\": %ju, \"overtaken\": %ju}\n", took, (uintmax_t)received,
	       (uintmax_t)sent, (uintmax_t)overtaken);
	free(all);
}
