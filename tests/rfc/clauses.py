"""What the standards ask of a SOCKS server, clause by clause: what forksocks does, and tests that show it.

forksocks-conformance(7) is made of it; `python -m tests.rfc` prints it.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Level(enum.Enum):
    """How strongly it is asked for (RFC 2119); EXPECTED is what a text describes without such a word."""

    MUST = "must"
    SHOULD = "should"
    MAY = "may"
    EXPECTED = "expected"


class Clause(NamedTuple):
    """One clause. asks: in our words. does: what forksocks does; differs: where that is not what is asked.

    tests: `file::test` below tests/.
    """

    source: str
    level: Level
    asks: str
    does: str
    tests: tuple[str, ...]
    differs: bool = False


MUST, SHOULD, MAY, EXPECTED = Level

CLAUSES = (
    # RFC 1928, the greeting and the methods
    Clause(
        "RFC 1928 3",
        EXPECTED,
        "A version byte and a list of methods come first; the server picks one of the list.",
        "Picks the first of the listener's `auth` that the client offers.",
        ("wire/test_socks5.py::test_greeting", "system/test_curl.py::test_users_need_their_password"),
    ),
    Clause(
        "RFC 1928 3",
        MUST,
        "FF tells that no method is acceptable; the connection is then over.",
        "Sends FF and closes, also to a list without methods.",
        (
            "system/test_replies.py::test_methods_that_are_not_served",
            "wire/test_socks5.py::test_greeting_without_methods_is_owed_the_answer_that_none_is_acceptable",
        ),
    ),
    Clause(
        "RFC 1928 3",
        MUST,
        "GSSAPI is supported.",
        "Is, by RFC 1961, with python-gssapi, where `auth` names it; else who offers it alone gets FF.",
        ("system/test_gssapi.py::test_curl", "system/test_replies.py::test_methods_that_are_not_served"),
    ),
    Clause(
        "RFC 1928 3",
        SHOULD,
        "User name and password are supported.",
        "Are, by RFC 1929.",
        ("system/test_curl.py::test_users_need_their_password",),
    ),
    Clause(
        "RFC 1928 3",
        MUST,
        "With a method that encapsulates, requests, replies and data are encapsulated.",
        "Are with GSSAPI, but for a level of protection that is none.",
        ("system/test_gssapi.py::test_protected_tunnels", "system/test_gssapi.py::test_levels"),
    ),
    # RFC 1928, requests
    Clause(
        "RFC 1928 4",
        EXPECTED,
        "A request is version 5, a command, a reserved byte, a host and a port.",
        "Reads exactly that, however it is cut; another version is closed without an answer.",
        (
            "wire/test_socks5.py::test_request",
            "wire/test_socks5.py::test_request_of_another_version_is_owed_nothing",
        ),
    ),
    Clause(
        "RFC 1928 4",
        EXPECTED,
        "The request is evaluated by source and destination.",
        "Rules and the egress guard judge the client, the name and every address.",
        (
            "attacks/test_egress.py::test_refused_addresses_are_not_dialled_however_they_come",
            "system/test_replies.py::test_failures_have_their_codes",
        ),
    ),
    Clause(
        "RFC 1928 5",
        EXPECTED,
        "A host is an IPv4 address, an IPv6 address, or a name with its length in front.",
        "Takes all three; a name is looked up at the server, if it is letters, digits, - _ and dots.",
        (
            "wire/test_socks5.py::test_any_request_is_read_as_it_was_written",
            "system/test_curl.py::test_a_name_is_looked_up_where_the_scheme_says",
            "system/test_curl.py::test_an_ipv6_target",
        ),
    ),
    # RFC 1928, replies
    Clause(
        "RFC 1928 6",
        EXPECTED,
        "Replies have the codes 00 to 08 by what happened.",
        "Each has its own.",
        (
            "wire/test_socks5.py::test_codes_are_those_of_rfc_1928",
            "system/test_replies.py::test_failures_have_their_codes",
        ),
    ),
    Clause(
        "RFC 1928 6",
        EXPECTED,
        "07 for a command that is not supported.",
        "Answers so, for those not allowed here too.",
        (
            "system/test_replies.py::test_commands_that_nobody_knows",
            "system/test_udp.py::test_a_listener_without_udp",
            "system/test_bind.py::test_it_has_to_be_asked_for",
        ),
    ),
    Clause(
        "RFC 1928 6",
        EXPECTED,
        "08 for an address type that is not supported.",
        "Answers so.",
        ("system/test_replies.py::test_address_types_that_nobody_knows",),
    ),
    Clause(
        "RFC 1928 6",
        MUST,
        "Reserved bytes are 0.",
        "Are in what is sent; what clients send there is not looked at.",
        ("wire/test_socks5.py::test_replies_without_an_address", "wire/test_socks5.py::test_request"),
    ),
    Clause(
        "RFC 1928 6",
        EXPECTED,
        "After CONNECT, BND is the address and port of the connection to the target.",
        "Is.",
        ("system/test_replies.py::test_success_names_the_outgoing_socket",),
    ),
    Clause(
        "RFC 1928 6",
        MUST,
        "After a failure the connection ends, within 10 seconds.",
        "Ends as soon as the reply is read, after a second at the latest.",
        ("system/test_replies.py::test_failures_have_their_codes",),
    ),
    Clause(
        "RFC 1928 6",
        EXPECTED,
        "After success of CONNECT or BIND data passes both ways.",
        "Passes, what the client sent early as well; one direction may end before the other.",
        (
            "traffic/test_relay.py::test_any_interleaving_delivers_exactly_the_bytes",
            "traffic/test_relay.py::test_a_half_close_ends_one_direction_only",
        ),
    ),
    # RFC 1928, BIND
    Clause(
        "RFC 1928 4",
        EXPECTED,
        "BIND has two replies: one when the server listens, one when the peer has come or not.",
        "Sends both.",
        (
            "system/test_bind.py::test_two_replies_and_the_peer",
            "system/test_bind.py::test_a_peer_that_does_not_come",
        ),
    ),
    Clause(
        "RFC 1928 4",
        EXPECTED,
        "The first reply says where the server listens.",
        "Listens before it says so, on the address that the peer would see, or says what `advertise` says.",
        (
            "attacks/test_bind.py::test_strangers_who_come_first_are_closed_and_the_wait_goes_on",
            "system/test_bind.py::test_the_ports_of_a_range_and_no_other",
        ),
    ),
    Clause(
        "RFC 1928 4",
        EXPECTED,
        "The second reply says who has come.",
        "Says so.",
        ("system/test_bind.py::test_two_replies_and_the_peer",),
    ),
    Clause(
        "RFC 1928 4",
        EXPECTED,
        "DST tells whom the client expects.",
        "Admits that address alone; a client may leave it open only where `any_peer` says so.",
        (
            "attacks/test_bind.py::test_strangers_who_come_first_are_closed_and_the_wait_goes_on",
            "attacks/test_bind.py::test_nobody_is_expected_who_may_not_be_dialled",
        ),
    ),
    # RFC 1928, UDP ASSOCIATE
    Clause(
        "RFC 1928 4",
        MAY,
        "DST of UDP ASSOCIATE says where the client will send from, to limit the association.",
        "A port that is said is the only one; an address other than the client's own is refused.",
        (
            "system/test_udp.py::test_a_client_that_says_its_port_is_taken_at_its_word",
            "attacks/test_udp.py::test_a_request_for_somebody_else_is_refused",
        ),
    ),
    Clause(
        "RFC 1928 4",
        MUST,
        "A client that does not know says all zeros.",
        'Then its first datagram fixes the port, or nothing does (`lock = "address"`).',
        (
            "system/test_udp.py::test_the_first_port_stays_the_clients",
            "system/test_udp.py::test_a_locked_address_lets_the_port_change",
        ),
    ),
    Clause(
        "RFC 1928 4",
        EXPECTED,
        "An association ends with the connection that asked for it.",
        "Ends, and its port with it.",
        ("system/test_udp.py::test_the_port_is_gone_with_the_connection",),
    ),
    Clause(
        "RFC 1928 4",
        EXPECTED,
        "BND is where the client sends its datagrams.",
        "Is the address that the client reached, or what `advertise` says.",
        (
            "system/test_udp.py::test_both_families_and_names_in_one_association",
            "system/test_udp.py::test_the_ports_of_a_range_and_no_other",
        ),
    ),
    Clause(
        "RFC 1928 7",
        EXPECTED,
        "A datagram begins with RSV 0000, FRAG and the remote host and port.",
        "Drops what does not.",
        ("wire/test_udp.py::test_header", "attacks/test_udp.py::test_rubbish_is_dropped_and_never_answered"),
    ),
    Clause(
        "RFC 1928 7",
        EXPECTED,
        "Relaying and dropping are silent.",
        "Are; drops are counted in the log.",
        ("attacks/test_udp.py::test_rubbish_is_dropped_and_never_answered",),
    ),
    Clause(
        "RFC 1928 7",
        MUST,
        "Datagrams from a remote get the header, with where they came from.",
        "Get it with their true source.",
        ("system/test_udp.py::test_both_families_and_names_in_one_association",),
    ),
    Clause(
        "RFC 1928 7",
        MUST,
        "The relay knows the client's address and drops what comes from another.",
        "Takes it from the connection, and drops.",
        ("attacks/test_udp.py::test_the_first_datagram_from_another_address_is_nobodys",),
    ),
    Clause(
        "RFC 1928 7",
        MAY,
        "Fragments are supported: positions 1 to 127, the high bit ends the sequence.",
        "Are put together.",
        ("wire/test_udp.py::test_all_127", "system/test_udp.py::test_fragments_are_put_together"),
    ),
    Clause(
        "RFC 1928 7",
        MUST,
        "A lower position than the highest, or the timer, abandons what is queued.",
        "Does; a datagram that stands alone does too, and a gap.",
        (
            "wire/test_udp.py::test_a_lower_number_begins_again",
            "wire/test_udp.py::test_what_does_not_follow_abandons_the_sequence",
            "system/test_udp.py::test_fragments_are_put_together",
        ),
    ),
    Clause(
        "RFC 1928 7",
        MUST,
        "The timer is 5 seconds at least.",
        "Is 5 seconds from the first fragment on.",
        (
            "wire/test_udp.py::test_the_rfc_wants_a_timer_of_five_seconds_at_least",
            "wire/test_udp.py::test_a_sequence_that_began_in_time_has_the_whole_time",
        ),
    ),
    Clause(
        "RFC 1928 7",
        MUST,
        "Without support every datagram with FRAG other than 0 is dropped.",
        'Drops them where `fragments = "drop"`.',
        ("system/test_udp.py::test_fragments_are_dropped_where_the_listener_says_so",),
    ),
    Clause(
        "RFC 1928 7",
        SHOULD,
        "Fragmentation is avoided.",
        "Fragments only an answer that no datagram can hold, for a client that has sent fragments.",
        ("system/test_udp.py::test_what_no_datagram_can_hold_comes_back_in_fragments_to_those_who_use_them",),
    ),
    Clause(
        "RFC 1928 7",
        MUST,
        "With a method that encapsulates, datagrams are encapsulated.",
        "Are, header and all, at the level of protection that was agreed on.",
        ("system/test_gssapi_udp.py::test_datagrams_go_at_the_level_that_was_agreed_on",),
    ),
    # RFC 1929
    Clause(
        "RFC 1929 2",
        EXPECTED,
        "Version 1, a name and a password of 1 to 255 bytes each.",
        "Takes any bytes; an empty name or password is refused.",
        (
            "wire/test_socks5.py::test_credentials",
            "wire/test_socks5.py::test_bad_credentials_are_owed_a_refusal",
        ),
    ),
    Clause(
        "RFC 1929 2",
        EXPECTED,
        "Status 00 is success, any other is failure.",
        "Answers 00 or 01.",
        ("wire/test_socks5.py::test_password_answers",),
    ),
    Clause(
        "RFC 1929 2",
        MUST,
        "After a failure the connection is closed.",
        "Is.",
        ("system/test_curl.py::test_users_need_their_password",),
    ),
    Clause(
        "RFC 1929 3",
        SHOULD,
        "Passwords in the clear are not for networks where somebody listens.",
        "Says nothing about it: that is the operator's to know.",
        ("wire/test_socks5.py::test_credentials",),
    ),
    # RFC 1961
    Clause(
        "RFC 1961 3",
        MUST,
        "A message is version 1, a type, a length and a token of up to 65,535 bytes.",
        "Reads and writes exactly that.",
        ("wire/test_gssapi.py::test_messages", "wire/test_gssapi.py::test_the_longest_token"),
    ),
    Clause(
        "RFC 1961 3",
        MAY,
        "The server's name is the service socks at its host.",
        "Takes logins to every service that its keytab has the key of: rcmd too, which curl asks for.",
        ("system/test_gssapi.py::test_curl",),
    ),
    Clause(
        "RFC 1961 3",
        SHOULD,
        "Clients ask for replay detection, and for sequence only over TCP.",
        "Grants both; a datagram that comes again is dropped, with sequence one that comes late too.",
        (
            "system/test_gssapi_udp.py::test_a_datagram_may_be_lost_or_late_and_comes_once",
            "system/test_gssapi_udp.py::test_who_asks_for_sequence_loses_what_is_out_of_it",
        ),
    ),
    Clause(
        "RFC 1961 3",
        EXPECTED,
        "Tokens are exchanged until the context stands.",
        "Are, within the one deadline of the handshake, and not without end.",
        (
            "access/test_gssapi.py::test_several_tokens_belong_together",
            "access/test_gssapi.py::test_a_login_does_not_go_on_for_ever",
        ),
    ),
    Clause(
        "RFC 1961 3",
        MUST,
        "A client that is refused, for whatever reason, is told so by type FF.",
        "Is, and by nothing else.",
        (
            "system/test_gssapi.py::test_what_is_no_token_is_refused",
            "wire/test_gssapi.py::test_any_other_message_is_an_error_that_is_answered",
        ),
    ),
    Clause(
        "RFC 1961 4",
        EXPECTED,
        "The client asks for a level of protection, wrapped; the server answers with the one that it takes.",
        "Gives what was asked for, or more, as `protection` allows.",
        ("system/test_gssapi.py::test_levels", "wire/test_gssapi.py::test_levels"),
    ),
    Clause(
        "RFC 1961 4",
        EXPECTED,
        "The levels are integrity, confidentiality, and either of them by the message.",
        "Has these, and where `protection` allows it none, also asked for unwrapped, as NEC's clients do.",
        (
            "system/test_gssapi.py::test_curl",
            "system/test_gssapi.py::test_a_level_that_is_not_signed_is_for_those_who_allow_none",
        ),
        differs=True,
    ),
    Clause(
        "RFC 1961 4",
        MUST,
        "Both messages about the level are sealed, not encrypted, and verified.",
        "Are; where no protection is allowed anyway a client may leave its own unsealed.",
        (
            "system/test_gssapi.py::test_levels",
            "system/test_gssapi.py::test_a_level_that_is_not_signed_is_for_those_who_allow_none",
        ),
    ),
    Clause(
        "RFC 1961 6",
        EXPECTED,
        "Nothing is said about the end of a context: it is over with its connection.",
        "Says nothing; the keys go with the connection.",
        ("system/test_gssapi.py::test_protected_tunnels",),
    ),
    Clause(
        "RFC 1961 5",
        MUST,
        "All that follows is encapsulated at that level, in messages of type 3.",
        "Is; what is not, or was meddled with, ends the connection.",
        (
            "system/test_gssapi.py::test_protected_tunnels",
            "system/test_gssapi.py::test_what_was_meddled_with_ends_the_tunnel",
        ),
    ),
    Clause(
        "RFC 1961 5",
        MUST,
        "At level 1 no message is encrypted, at level 2 every one, at level 3 each as its sender likes.",
        "Does so, at level 3 encrypting; what is only signed at level 2 is refused.",
        (
            "system/test_gssapi.py::test_protected_tunnels",
            "system/test_gssapi_udp.py::test_each_message_of_a_selective_client_is_protected_as_it_likes",
            "system/test_gssapi.py::test_what_was_meddled_with_ends_the_tunnel",
        ),
    ),
    Clause(
        "RFC 1961 5",
        MUST,
        "UDP clients and servers encapsulate as well.",
        "Each datagram, header and all, is one message; any other is dropped.",
        (
            "system/test_gssapi_udp.py::test_datagrams_go_at_the_level_that_was_agreed_on",
            "system/test_gssapi_udp.py::test_what_the_client_has_not_wrapped_as_agreed_decides_nothing",
        ),
    ),
    # SOCKS 4 and 4a
    Clause(
        "SOCKS 4",
        EXPECTED,
        "A request is version 4, a command, a port, an address and a user id up to a 0.",
        "Reads exactly that; a user id longer than 255 bytes is refused.",
        (
            "wire/test_socks4.py::test_request",
            "wire/test_socks4.py::test_a_text_that_does_not_end_is_refused_at_its_256th_byte",
        ),
    ),
    Clause(
        "SOCKS 4",
        EXPECTED,
        "A reply is version 0, a code, a port and an address.",
        "Is.",
        (
            "wire/test_socks4.py::test_a_reply_has_the_port_before_the_address",
            "system/test_socks4.py::test_connect",
        ),
    ),
    Clause(
        "SOCKS 4",
        EXPECTED,
        "90 grants, 91 refuses; the connection then ends.",
        "Does.",
        ("system/test_socks4.py::test_connect", "system/test_socks4.py::test_every_refusal_is_91"),
    ),
    Clause(
        "SOCKS 4",
        MAY,
        "The user id is checked with identd: 92 without one, 93 if it says another.",
        "Asks no identd and never sends them; where a password is wanted version 4 is refused.",
        (
            "system/test_socks4.py::test_where_a_password_is_wanted_it_is_refused",
            "wire/test_socks4.py::test_replies",
        ),
    ),
    Clause(
        "SOCKS 4",
        EXPECTED,
        "BIND has two replies, and in the first 0.0.0.0 means the server's own address.",
        "Sends both; an IPv6 address, which has no room, is 0.0.0.0.",
        (
            "system/test_bind.py::test_version_4",
            "wire/test_socks4.py::test_an_ipv6_address_has_no_room_in_a_reply",
        ),
    ),
    Clause(
        "SOCKS 4",
        EXPECTED,
        "A peer that is not the expected one ends BIND with 91.",
        "Closes strangers and waits on, so that nobody can take the peer's place; 16 of them end it.",
        (
            "attacks/test_bind.py::test_strangers_who_come_first_are_closed_and_the_wait_goes_on",
            "attacks/test_bind.py::test_a_crowd_of_strangers_ends_the_wait",
        ),
        differs=True,
    ),
    Clause(
        "SOCKS 4",
        EXPECTED,
        "Both commands have a time limit, two minutes in the first implementation.",
        "Have: `timeouts.connect` (10 seconds) and `timeouts.bind` (two minutes).",
        (
            "system/test_bind.py::test_a_peer_that_does_not_come",
            "system/test_replies.py::test_failures_have_their_codes",
        ),
    ),
    Clause(
        "SOCKS 4A",
        MUST,
        "An address 0.0.0.x with x not 0 announces a name behind the user id.",
        "Reads the name and looks it up; 0.0.0.0 announces none.",
        ("wire/test_socks4.py::test_request", "system/test_socks4.py::test_connect"),
    ),
    Clause(
        "SOCKS 4A",
        SHOULD,
        "The name is resolved and connected to.",
        "Is, as in version 5.",
        ("system/test_socks4.py::test_connect", "system/test_socks4.py::test_curl"),
    ),
    Clause(
        "SOCKS 4A",
        EXPECTED,
        "A name that leads nowhere is refused with 91.",
        "Is, one that is no name as well.",
        ("system/test_socks4.py::test_a_name_that_leads_nowhere",),
    ),
)


def table() -> str:
    """All clauses as a table in Markdown."""
    lines = ["| source | | asked | forksocks |", "|---|---|---|---|"]
    for each in CLAUSES:
        does = f"*Differs:* {each.does}" if each.differs else each.does
        lines.append(f"| {each.source} | {each.level.value} | {each.asks} | {does} |")
    return "\n".join(lines)
