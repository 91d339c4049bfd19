/*
 * Many small SOCKS clients in one epoll loop: connections per second, and tunnels that are opened and held.
 *
 * A client walks through the stages below: send something, expect so many bytes, check them. Events are
 * edge-triggered, so each descriptor is registered once and read until it has nothing more.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "load.h"
#include "message.h"

/* A run ends early after this many failures: a proxy that refuses everything must not be hammered. */
enum { MAX_ERRORS = 1000, EVENTS = 256, OPENING_AT_ONCE = 64 };

/* Seconds that clients on their way may still take when the time is up, and that the opening or closing of
 * tunnels may make no progress. */
static const double PATIENCE = 10.0;

enum stage { IDLE, CONNECTING, GREETING, REQUEST, EXCHANGE, HELD, CLOSING };

static const size_t EXPECTED[] = {
	[GREETING] = GREETING_REPLY_SIZE,
	[REQUEST] = REQUEST_REPLY_SIZE,
	[EXCHANGE] = MESSAGE_SIZE,
	[CLOSING] = MESSAGE_SIZE,
};

struct client {
	int fd;
	enum stage stage;
	size_t have;
	unsigned char input[MESSAGE_SIZE];
};

struct crowd {
	const struct route *route;
	int poller;
	bool hold;         /* keep a tunnel after its first exchange */
	bool again;        /* start another connection in place of one that ended */
	size_t under_way;  /* clients neither idle nor held */
	size_t done, held, errors;
};

static void start(struct crowd *crowd, struct client *client)
{
	struct sockaddr_in address = first_hop(crowd->route);
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = client };

	client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (client->fd < 0)
		err(1, "socket");
	if (connect(client->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
		err(1, "connect");
	if (epoll_ctl(crowd->poller, EPOLL_CTL_ADD, client->fd, &event) < 0)
		err(1, "epoll_ctl");
	client->stage = CONNECTING;
	client->have = 0;
	crowd->under_way++;
}

static void end(struct crowd *crowd, struct client *client, bool succeeded)
{
	close(client->fd);
	if (client->stage == HELD)
		crowd->held--;
	else
		crowd->under_way--;
	client->stage = IDLE;
	if (succeeded)
		crowd->done++;
	else
		crowd->errors++;
	if (crowd->again && crowd->errors < MAX_ERRORS)
		start(crowd, client);
}

static bool say(struct client *client, enum stage next, const void *bytes, size_t size)
{
	client->stage = next;
	client->have = 0;
	return send(client->fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size;
}

static bool say_message(struct client *client, enum stage next, enum order order)
{
	unsigned char message[MESSAGE_SIZE];

	write_message(message, order, 0);
	return say(client, next, message, sizeof message);
}

/* What the stage waited for is here: check it and go on. False when the connection failed. */
static bool advance(struct crowd *crowd, struct client *client)
{
	unsigned char request[REQUEST_SIZE];

	switch (client->stage) {
	case CONNECTING:
		if (crowd->route->proxy != 0)
			return say(client, GREETING, greeting, sizeof greeting);
		break;
	case GREETING:
		write_request(request, crowd->route);
		return greeting_accepted(client->input) && say(client, REQUEST, request, sizeof request);
	case REQUEST:
		if (!request_granted(client->input))
			return false;
		break;
	case EXCHANGE:
		client->stage = HELD;
		client->have = 0;
		crowd->under_way--;
		crowd->held++;
		return client->input[0] == ECHO;
	default: /* bytes that nobody asked for */
		return false;
	}
	return crowd->hold ? say_message(client, EXCHANGE, ECHO) : say_message(client, CLOSING, ECHO_AND_CLOSE);
}

static bool complete(const struct client *client)
{
	return client->stage == CLOSING && client->have == MESSAGE_SIZE && client->input[0] == ECHO_AND_CLOSE;
}

/* Read until nothing is left; a connection that ends where it should has succeeded. */
static void read_from(struct crowd *crowd, struct client *client)
{
	for (;;) {
		size_t wanted = EXPECTED[client->stage] - client->have;
		/* Once all is here only the end may follow: one more byte would be one too many. */
		unsigned char surplus, *room = wanted > 0 ? client->input + client->have : &surplus;
		ssize_t got = recv(client->fd, room, wanted > 0 ? wanted : 1, 0);

		if (got < 0 && errno == EAGAIN)
			return;
		if (got <= 0 || wanted == 0) {
			end(crowd, client, got == 0 && complete(client));
			return;
		}
		client->have += (size_t)got;
		if (client->have == EXPECTED[client->stage] && client->stage != CLOSING && !advance(crowd, client)) {
			end(crowd, client, false);
			return;
		}
	}
}

static void serve(struct crowd *crowd, const struct epoll_event *event)
{
	struct client *client = event->data.ptr;

	if (client->stage != CONNECTING)
		read_from(crowd, client);
	else if (event->events & (EPOLLERR | EPOLLHUP) || !advance(crowd, client))
		end(crowd, client, false);
}

/* Returns false when nothing happened for a tenth of a second. */
static bool turn(struct crowd *crowd)
{
	struct epoll_event events[EVENTS];
	int count = epoll_wait(crowd->poller, events, EVENTS, 100);

	for (int i = 0; i < count; i++)
		serve(crowd, &events[i]);
	return count > 0;
}

static struct client *make_clients(struct crowd *crowd, size_t count)
{
	struct client *clients = calloc(count, sizeof *clients);

	crowd->poller = epoll_create1(EPOLL_CLOEXEC);
	if (clients == NULL || crowd->poller < 0)
		err(1, "start");
	return clients;
}

void measure_connections(const struct route *route, size_t count, double seconds)
{
	struct crowd crowd = { .route = route, .again = true };
	struct client *clients = make_clients(&crowd, count);
	double began = now(), ended;
	size_t in_time;

	for (size_t i = 0; i < count; i++)
		start(&crowd, &clients[i]);
	while (now() < began + seconds && crowd.errors < MAX_ERRORS)
		turn(&crowd);
	ended = now();
	in_time = crowd.done;
	crowd.again = false;
	while (crowd.under_way > 0 && now() < ended + PATIENCE)
		turn(&crowd);
	printf("{\"seconds\": %.6f, \"connections\": %zu, \"late\": %zu, \"errors\": %zu}\n", ended - began, in_time,
	       crowd.done - in_time, crowd.errors + crowd.under_way);
	free(clients);
}

/* Take turns while clients are under way and `next` of them starts more; gives up when nothing moves. */
static void run_all(struct crowd *crowd, struct client *clients, size_t count,
		    void (*next)(struct crowd *, struct client *))
{
	double moved = now();
	size_t started = 0;

	while (started < count || crowd->under_way > 0) {
		while (started < count && crowd->under_way < OPENING_AT_ONCE && crowd->errors < MAX_ERRORS)
			next(crowd, &clients[started++]);
		if (turn(crowd))
			moved = now();
		else if (now() > moved + PATIENCE || crowd->errors >= MAX_ERRORS)
			break;
	}
}

static void ask_for_the_end(struct crowd *crowd, struct client *client)
{
	if (client->stage != HELD)
		return;
	crowd->held--;
	crowd->under_way++;
	if (!say_message(client, CLOSING, ECHO_AND_CLOSE))
		end(crowd, client, false);
}

void hold_tunnels(const struct route *route, size_t count)
{
	struct crowd crowd = { .route = route, .hold = true };
	struct client *clients = make_clients(&crowd, count);
	double began = now();

	run_all(&crowd, clients, count, start);
	printf("{\"seconds\": %.6f, \"held\": %zu, \"errors\": %zu}\n", now() - began, crowd.held,
	       crowd.errors + crowd.under_way);
	fflush(stdout);
	getchar();

	began = now();
	crowd.errors = 0;
	run_all(&crowd, clients, count, ask_for_the_end);
	printf("{\"seconds\": %.6f, \"closed\": %zu, \"errors\": %zu}\n", now() - began, crowd.done,
	       crowd.errors + crowd.under_way + crowd.held);
	free(clients);
}
