"""Bytes to messages and back (RFC 1928, RFC 1929); no sockets, no clocks, no globals."""
