/*
 * The server at the far end: prints the port of 127.0.0.1 that it listens on, and serves until it is killed.
 *
 * One epoll loop answers the small messages; a transfer gets threads of its own with a blocking socket.
 * message.h has the orders. An origin that meets what cannot happen exits, which the benchmark reports.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "message.h"

enum { BACKLOG = 4096, EVENTS = 256, BATCH = 64, LARGEST_DATAGRAM = 2048 };

struct peer {
	size_t have;
	unsigned char message[MESSAGE_SIZE];
};

struct transfer {
	int fd;
	enum order order;
	uint64_t bytes;
};

static struct peer *peers; /* indexed by descriptor */
static rlim_t peers_size;

static int listen_on_a_free_port(in_port_t *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, BACKLOG) < 0)
		err(1, "listen");
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)) < 0)
		err(1, "TCP_NODELAY"); /* accepted sockets inherit it */
	getsockname(fd, (struct sockaddr *)&address, &length);
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);
	*port = address.sin_port;
	return fd;
}

static void *return_datagrams(void *argument)
{
	static unsigned char buffers[BATCH][LARGEST_DATAGRAM];
	struct sockaddr_in senders[BATCH];
	struct iovec vectors[BATCH];
	struct mmsghdr batch[BATCH];
	int fd = *(int *)argument;
	int got;

	for (;;) {

		for (int i = 0; i < BATCH; i++) {
			vectors[i] = (struct iovec){ buffers[i], sizeof buffers[i] };
			batch[i].msg_hdr = (struct msghdr){
				.msg_iov = &vectors[i], .msg_iovlen = 1, .msg_name = &senders[i], .msg_namelen = sizeof senders[i],
			};
		}
		got = recvmmsg(fd, batch, BATCH, MSG_WAITFORONE, NULL);
		for (int i = 0; i < got; i++)
			vectors[i].iov_len = batch[i].msg_len;
		for (int sent = 0, more; sent < got; sent += more)
			if ((more = sendmmsg(fd, batch + sent, (unsigned)(got - sent), 0)) <= 0)
				more = 1; /* that one is lost */
	}
	return NULL;
}

/* Datagrams go back from the same port of UDP, by a thread of its own. */
static void serve_datagrams(in_port_t port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	static int fd;
	pthread_t thread;

	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
	    pthread_create(&thread, NULL, return_datagrams, &fd) != 0)
		err(1, "datagrams");
}

static void *pour_in_background(void *argument)
{
	const struct transfer *transfer = argument;

	pour(transfer->fd, transfer->bytes);
	return NULL;
}

static void *pour_until_gone(int fd)
{
	static const char chunk[CHUNK];

	while (send(fd, chunk, sizeof chunk, MSG_NOSIGNAL) > 0)
		;
	close(fd);
	return NULL;
}

static void *serve_transfer(void *argument)
{
	struct transfer transfer = *(struct transfer *)argument;
	unsigned char message[MESSAGE_SIZE];
	pthread_t pouring;

	free(argument);
	if (transfer.order == ENDLESS)
		return pour_until_gone(transfer.fd);
	if (transfer.order == DOWN)
		pour(transfer.fd, transfer.bytes);
	if (transfer.order == BOTH && pthread_create(&pouring, NULL, pour_in_background, &transfer) != 0)
		errx(1, "pthread_create");
	if (transfer.order != DOWN)
		drain(transfer.fd, transfer.bytes);
	if (transfer.order == BOTH)
		pthread_join(pouring, NULL);

	write_message(message, transfer.order, transfer.bytes);
	if (send(transfer.fd, message, sizeof message, MSG_NOSIGNAL) != sizeof message)
		err(1, "send");
	shutdown(transfer.fd, SHUT_WR);
	if (recv(transfer.fd, message, sizeof message, 0) != 0)
		errx(1, "more bytes came than were announced, or a reset");
	close(transfer.fd);
	return NULL;
}

static void start_transfer(int fd, const unsigned char *message)
{
	struct transfer *transfer = malloc(sizeof *transfer);
	pthread_t thread;

	if (transfer == NULL)
		err(1, "malloc");
	*transfer = (struct transfer){ .fd = fd, .order = message[0], .bytes = message_bytes(message) };
	fcntl(fd, F_SETFL, 0);
	if (pthread_create(&thread, NULL, serve_transfer, transfer) != 0)
		errx(1, "pthread_create");
	pthread_detach(thread);
}

/* Closing also takes the descriptor out of the epoll set. */
static void answer(int poller, int fd, const unsigned char *message)
{
	switch (message[0]) {
	case ECHO:
	case ECHO_AND_CLOSE:
		if (send(fd, message, MESSAGE_SIZE, MSG_NOSIGNAL) != MESSAGE_SIZE || message[0] == ECHO_AND_CLOSE)
			close(fd);
		break;
	case DOWN:
	case UP:
	case BOTH:
	case ENDLESS:
		epoll_ctl(poller, EPOLL_CTL_DEL, fd, NULL);
		start_transfer(fd, message);
		break;
	default:
		errx(1, "unknown order %d", message[0]);
	}
}

static void read_from(int poller, int fd)
{
	struct peer *peer = &peers[fd];
	ssize_t got = recv(fd, peer->message + peer->have, MESSAGE_SIZE - peer->have, 0);

	if (got <= 0) {
		if (got == 0 || errno != EAGAIN)
			close(fd);
		return;
	}
	peer->have += (size_t)got;
	if (peer->have == MESSAGE_SIZE) {
		peer->have = 0;
		answer(poller, fd, peer->message);
	}
}

static void accept_all(int poller, int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

		if ((rlim_t)fd >= peers_size)
			errx(1, "descriptor %d is beyond the limit", fd);
		peers[fd].have = 0;
		if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
			err(1, "epoll_ctl");
	}
	if (errno != EAGAIN && errno != ECONNABORTED)
		err(1, "accept");
}

int main(void)
{
	struct epoll_event events[EVENTS];
	struct rlimit descriptors;
	int poller = epoll_create1(EPOLL_CLOEXEC);
	in_port_t port;
	int listener = listen_on_a_free_port(&port);
	struct epoll_event event = { .events = EPOLLIN, .data.fd = listener };

	serve_datagrams(port);
	getrlimit(RLIMIT_NOFILE, &descriptors);
	peers_size = descriptors.rlim_cur;
	peers = calloc(peers_size, sizeof *peers);
	if (peers == NULL || poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event) < 0)
		err(1, "start");
	for (;;) {
		int count = epoll_wait(poller, events, EVENTS, -1);

		for (int i = 0; i < count; i++) {
			if (events[i].data.fd == listener)
				accept_all(poller, listener);
			else
				read_from(poller, events[i].data.fd);
		}
	}
}
