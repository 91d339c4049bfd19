/* What the two halves of the load generator share: where to connect, and the SOCKS5 client's side (RFC 1928). */
#ifndef LOAD_H
#define LOAD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

enum { GREETING_REPLY_SIZE = 2, REQUEST_SIZE = 10, REQUEST_REPLY_SIZE = 10 };

/* Both are ports of 127.0.0.1; proxy 0 means straight to the origin. */
struct route {
	in_port_t proxy, origin;
};

extern const unsigned char greeting[3];

void write_request(unsigned char *request, const struct route *route);
bool greeting_accepted(const unsigned char *reply);
bool request_granted(const unsigned char *reply);
struct sockaddr_in first_hop(const struct route *route);
double now(void);

/* crowd.c */
void measure_connections(const struct route *route, size_t clients, double seconds);
void hold_tunnels(const struct route *route, size_t count);

/* udp.c */
void measure_datagrams(const struct route *route, size_t count, size_t window, size_t size, double seconds);

#endif
