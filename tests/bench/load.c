/*
 * The load generator: `load MODE PROXY_PORT ORIGIN_PORT ...`, ports of 127.0.0.1, proxy 0 for none.
 *
 *   stream ... down|up|both STREAMS BYTES   BYTES each way over each of STREAMS connections at once
 *   ping ... ROUNDS STREAMS                 64-byte ping-pong, with STREAMS endless downloads beside it
 *   connections ... CLIENTS SECONDS         connect, handshake, one exchange, close, over and over (crowd.c)
 *   datagrams ... COUNT WINDOW SIZE SECONDS  datagrams through COUNT associations, sent back (udp.c)
 *   hold ... COUNT                          open COUNT tunnels, keep them until a line comes on stdin (crowd.c)
 *
 * Prints one JSON object a result. Streams and pings use blocking sockets and a thread each.
 */
#define _GNU_SOURCE
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "load.h"
#include "message.h"

enum { MAX_STREAMS = 64, WARM_UP_ROUNDS = 200 };

struct stream {
	int fd;
	enum order order;
	uint64_t bytes;
};

static pthread_barrier_t all_connected;

const unsigned char greeting[3] = { 5, 1, 0 };

void write_request(unsigned char *request, const struct route *route)
{
	const unsigned char connect_to_loopback[8] = { 5, 1, 0, 1, 127, 0, 0, 1 };
	in_port_t port = htons(route->origin);

	memcpy(request, connect_to_loopback, sizeof connect_to_loopback);
	memcpy(request + sizeof connect_to_loopback, &port, sizeof port);
}

bool greeting_accepted(const unsigned char *reply)
{
	return reply[0] == 5 && reply[1] == 0;
}

/* Version 5, success, IPv4: any other kind of address would have another length. */
bool request_granted(const unsigned char *reply)
{
	return reply[0] == 5 && reply[1] == 0 && reply[3] == 1;
}

struct sockaddr_in first_hop(const struct route *route)
{
	in_port_t port = route->proxy != 0 ? route->proxy : route->origin;

	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void send_all(int fd, const void *bytes, size_t size)
{
	if (send(fd, bytes, size, MSG_NOSIGNAL) != (ssize_t)size)
		err(1, "send");
}

static void receive_all(int fd, void *bytes, size_t size)
{
	ssize_t got = recv(fd, bytes, size, MSG_WAITALL);

	if (got < 0)
		err(1, "recv");
	if ((size_t)got != size)
		errx(1, "closed after %zd of %zu bytes", got, size);
}

static int open_tunnel(const struct route *route)
{
	struct sockaddr_in address = first_hop(route);
	unsigned char request[REQUEST_SIZE], reply[REQUEST_REPLY_SIZE];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
		err(1, "connect");
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)) < 0)
		err(1, "TCP_NODELAY");
	if (route->proxy == 0)
		return fd;

	send_all(fd, greeting, sizeof greeting);
	receive_all(fd, reply, GREETING_REPLY_SIZE);
	if (!greeting_accepted(reply))
		errx(1, "greeting refused");
	write_request(request, route);
	send_all(fd, request, sizeof request);
	receive_all(fd, reply, sizeof reply);
	if (!request_granted(reply))
		errx(1, "request refused: %d", reply[1]);
	return fd;
}

static void *pour_up(void *argument)
{
	const struct stream *stream = argument;

	pour(stream->fd, stream->bytes);
	return NULL;
}

/* The whole of one stream; the origin's closing message right behind the last byte proves both counts. */
static void *run_stream(void *argument)
{
	struct stream *stream = argument;
	unsigned char message[MESSAGE_SIZE];
	pthread_t pouring;

	pthread_barrier_wait(&all_connected);
	write_message(message, stream->order, stream->bytes);
	send_all(stream->fd, message, sizeof message);
	if (stream->order == UP)
		pour(stream->fd, stream->bytes);
	if (stream->order == BOTH && pthread_create(&pouring, NULL, pour_up, stream) != 0)
		errx(1, "pthread_create");
	if (stream->order != UP)
		drain(stream->fd, stream->bytes);
	if (stream->order == BOTH)
		pthread_join(pouring, NULL);

	receive_all(stream->fd, message, sizeof message);
	if (message[0] != stream->order || message_bytes(message) != stream->bytes)
		errx(1, "the stream did not end with the origin's message");
	if (recv(stream->fd, message, sizeof message, 0) != 0)
		errx(1, "more bytes came than were announced, or a reset");
	close(stream->fd);
	return NULL;
}

static void start_streams(const struct route *route, struct stream *streams, pthread_t *threads, size_t count)
{
	if (count > MAX_STREAMS)
		errx(2, "at most %d streams", MAX_STREAMS);
	pthread_barrier_init(&all_connected, NULL, (unsigned)count + 1);
	for (size_t i = 0; i < count; i++) {
		streams[i].fd = open_tunnel(route);
		if (pthread_create(&threads[i], NULL, run_stream, &streams[i]) != 0)
			errx(1, "pthread_create");
	}
	pthread_barrier_wait(&all_connected);
}

static void measure_streams(const struct route *route, enum order order, size_t count, uint64_t bytes)
{
	struct stream streams[MAX_STREAMS];
	pthread_t threads[MAX_STREAMS];
	double start;

	for (size_t i = 0; i < MAX_STREAMS; i++)
		streams[i] = (struct stream){ .order = order, .bytes = bytes };
	start_streams(route, streams, threads, count);
	start = now();
	for (size_t i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	printf("{\"seconds\": %.6f, \"bytes\": %ju}\n", now() - start,
	       (uintmax_t)(bytes * count * (order == BOTH ? 2 : 1)));
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double ping(int fd)
{
	unsigned char message[MESSAGE_SIZE];
	double start = now();

	write_message(message, ECHO, 0);
	send_all(fd, message, sizeof message);
	receive_all(fd, message, sizeof message);
	return now() - start;
}

/* The downloads beside it never end: leaving the process closes them. */
static void measure_pings(const struct route *route, size_t rounds, size_t beside)
{
	struct stream streams[MAX_STREAMS];
	pthread_t threads[MAX_STREAMS];
	double *times = calloc(rounds, sizeof *times);
	int fd = open_tunnel(route);

	if (times == NULL || rounds == 0)
		errx(1, "%zu rounds", rounds);
	for (size_t i = 0; i < MAX_STREAMS; i++)
		streams[i] = (struct stream){ .order = ENDLESS, .bytes = UINT64_MAX };
	start_streams(route, streams, threads, beside);
	for (size_t i = 0; i < WARM_UP_ROUNDS; i++)
		ping(fd);
	for (size_t i = 0; i < rounds; i++)
		times[i] = ping(fd);
	qsort(times, rounds, sizeof *times, compare);
	printf("{\"p50_us\": %.2f, \"p99_us\": %.2f}\n", times[rounds / 2] * 1e6, times[rounds * 99 / 100] * 1e6);
	free(times);
}

static enum order order_named(const char *name)
{
	if (strcmp(name, "down") == 0)
		return DOWN;
	if (strcmp(name, "up") == 0)
		return UP;
	if (strcmp(name, "both") == 0)
		return BOTH;
	errx(2, "unknown direction %s", name);
}

int main(int argc, char **argv)
{
	struct route route;

	if (argc < 5)
		errx(2, "usage: load MODE PROXY_PORT ORIGIN_PORT ...");
	route = (struct route){ .proxy = (in_port_t)atoi(argv[2]), .origin = (in_port_t)atoi(argv[3]) };
	if (strcmp(argv[1], "stream") == 0 && argc == 7)
		measure_streams(&route, order_named(argv[4]), strtoul(argv[5], NULL, 10), strtoull(argv[6], NULL, 10));
	else if (strcmp(argv[1], "ping") == 0 && argc == 6)
		measure_pings(&route, strtoul(argv[4], NULL, 10), strtoul(argv[5], NULL, 10));
	else if (strcmp(argv[1], "connections") == 0 && argc == 6)
		measure_connections(&route, strtoul(argv[4], NULL, 10), atof(argv[5]));
	else if (strcmp(argv[1], "datagrams") == 0 && argc == 8)
		measure_datagrams(&route, strtoul(argv[4], NULL, 10), strtoul(argv[5], NULL, 10),
				  strtoul(argv[6], NULL, 10), atof(argv[7]));
	else if (strcmp(argv[1], "hold") == 0 && argc == 5)
		hold_tunnels(&route, strtoul(argv[4], NULL, 10));
	else
		errx(2, "unknown mode %s, or not its arguments", argv[1]);
	fflush(stdout);
	return 0;
}
