/*
 * What the load generator says to the origin: messages of 64 bytes, the first byte is the order.
 *
 *   E  send this message back (a ping, or proof that a tunnel works)
 *   C  send it back and close (one small exchange)
 *   D  send `bytes` bytes, then a message, close
 *   U  take `bytes` bytes, then send a message, close
 *   B  both at once, then send a message, close
 *   S  send until the other side is gone (a download that others are measured beside)
 *
 * The origin closes first, so the ports that wait in TIME_WAIT are its own and nobody's ephemeral ports run out.
 */
#ifndef MESSAGE_H
#define MESSAGE_H

#include <err.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

enum { MESSAGE_SIZE = 64, CHUNK = 1 << 20 };
enum order { ECHO = 'E', ECHO_AND_CLOSE = 'C', DOWN = 'D', UP = 'U', BOTH = 'B', ENDLESS = 'S' };

static inline void write_message(unsigned char *message, enum order order, uint64_t bytes)
{
	memset(message, '.', MESSAGE_SIZE);
	message[0] = (unsigned char)order;
	memcpy(message + 1, &bytes, sizeof bytes);
}

static inline uint64_t message_bytes(const unsigned char *message)
{
	uint64_t bytes;

	memcpy(&bytes, message + 1, sizeof bytes);
	return bytes;
}

/* Send `bytes` bytes of no meaning over a blocking socket. */
static inline void pour(int fd, uint64_t bytes)
{
	static const char chunk[CHUNK];

	while (bytes > 0) {
		ssize_t sent = send(fd, chunk, bytes < CHUNK ? bytes : CHUNK, MSG_NOSIGNAL);
		if (sent < 0)
			err(1, "send, %ju bytes to go", (uintmax_t)bytes);
		bytes -= (uint64_t)sent;
	}
}

/* Receive exactly `bytes` bytes from a blocking TCP socket; MSG_TRUNC drops them without copying (tcp(7)). */
static inline void drain(int fd, uint64_t bytes)
{
	while (bytes > 0) {
		ssize_t got = recv(fd, NULL, bytes < CHUNK ? bytes : CHUNK, MSG_TRUNC);
		if (got < 0)
			err(1, "recv, %ju bytes to go", (uintmax_t)bytes);
		if (got == 0)
			errx(1, "closed with %ju bytes to go", (uintmax_t)bytes);
		bytes -= (uint64_t)got;
	}
}

#endif
