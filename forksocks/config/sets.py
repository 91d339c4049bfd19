"""The sets of addresses that are built in, as an operator writes them; `access.networks` fills them."""

from __future__ import annotations

from collections.abc import Mapping

LOOPBACK = "@loopback"
PRIVATE = "@private"
LINK_LOCAL = "@link-local"
METADATA = "@metadata"
MULTICAST = "@multicast"
RESERVED = "@reserved"
SELF = "@self"
ATTACHED = "@attached"
ANY = "@any"

SETS: Mapping[str, str] = {
    LOOPBACK: "this machine's loopback (127.0.0.0/8, ::1)",
    PRIVATE: "private networks (RFC 1918, RFC 6598, RFC 4193)",
    LINK_LOCAL: "link-local addresses (169.254.0.0/16, fe80::/10)",
    METADATA: "cloud providers' instance metadata services",
    MULTICAST: "multicast groups (224.0.0.0/4, ff00::/8)",
    RESERVED: "addresses that are not assigned to public hosts",
    SELF: "this machine's own addresses, except loopback",
    ATTACHED: "private networks that this machine is directly attached to, except the default gateway",
    ANY: "every address",
}
"""What each of them means."""

NEARBY = frozenset({PRIVATE, LINK_LOCAL})
"""Those whose addresses may be of directly attached hosts."""
