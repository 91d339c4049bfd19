"""The catalogue of attacks: what somebody does, and the tests that show what it comes to.

By who or what is attacked, a letter each. `file::test` is below tests/. What fails by itself (a full disk,
a pulled cable, a shortage of anything) are in tests/system.
"""

from __future__ import annotations

from typing import NamedTuple


class Attack(NamedTuple):
    """One attack: its letter and number, what is done, what has to come of it, and the tests that show it."""

    key: str
    does: str
    comes_of_it: str
    tests: tuple[str, ...]


HANDSHAKE = "attacks/test_handshake.py::"
NAMES = "attacks/test_names.py::"
EGRESS = "attacks/test_egress.py::"
UDP = "attacks/test_udp.py::"
BIND = "attacks/test_bind.py::"
LOGS = "attacks/test_logs.py::"
HOSTILE = "attacks/test_hostile_python.py::"
LOOPS = "attacks/test_loops.py::"
RELAY = "traffic/test_relay.py::"
LOOKUP = "process/test_lookup.py::"
USERS = "access/test_users.py::"
PIDFILE = "process/test_pidfile.py::"
ADMIN = "process/test_admin.py::"

ATTACKS = (
    # The handshake
    Attack(
        "H1", "silence, or a byte now and then, in any phase", "one deadline from the accept on",
        (
            f"{HANDSHAKE}test_one_deadline_for_silence_at_every_byte",
            f"{HANDSHAKE}test_a_byte_now_and_then_buys_no_time",
        ),
    ),
    Attack(
        "H2", "thousands who are silent, and come again when cut", "real clients are served",
        (
            f"{HANDSHAKE}test_a_flood_of_silent_clients_leaves_room_for_real_ones",
            f"{HANDSHAKE}test_silent_clients_never_hold_more_than_half_of_the_threads",
        ),
    ),
    Attack(
        "H3", "everything in one segment, or cut at every byte", "it is served, in order",
        (
            f"{HANDSHAKE}test_everything_in_one_segment_and_cut_at_every_byte",
            f"{HANDSHAKE}test_a_handshake_that_ends_early_is_a_close_at_every_byte",
        ),
    ),
    Attack(
        "H4", "a request behind a wrong password, in its place, or without any", "nobody is connected to",
        (f"{HANDSHAKE}test_nobody_is_let_in_without_the_password",),
    ),
    Attack(
        "H5", "a weaker method or an older protocol in place of a password", "the stronger one, or none",
        (
            "system/test_methods.py::test_the_listener_prefers_among_what_is_offered",
            "system/test_socks4.py::test_where_a_password_is_wanted_it_is_refused",
        ),
    ),
    Attack(
        "H6", "lengths of nothing or too much, HTTP, TLS, any bytes", "an answer or a close",
        (
            f"{HANDSHAKE}test_what_is_no_request_is_answered_or_closed",
            "attacks/test_any_bytes.py::test_any_bytes_are_answered_or_closed",
        ),
    ),
    Attack(
        "H7", "a megabyte behind a request that is refused", "the reply arrives",
        (f"{HANDSHAKE}test_a_refused_client_reads_its_reply_whatever_it_sends_behind",),
    ),
    Attack(
        "H8", "a PROXY header, to look like somebody else", "it is no SOCKS: closed",
        ("attacks/test_any_bytes.py::test_any_bytes_are_answered_or_closed",),
    ),
    # Names
    Attack(
        "N1", "a NUL in a name, which C takes for its end", "no look-up",
        (f"{NAMES}test_what_is_no_name_is_never_looked_up",),
    ),
    Attack(
        "N2", "control characters, options, empty and endless labels", "no look-up, plain lines",
        (
            f"{NAMES}test_what_is_no_name_is_never_looked_up",
            f"{NAMES}test_a_name_is_escaped_in_the_log",
        ),
    ),
    Attack(
        "N3", "other alphabets' digits and dots, which IDNA makes loopback", "no look-up",
        (
            f"{NAMES}test_what_is_no_name_is_never_looked_up",
            f"{NAMES}test_whatever_is_asked_for_is_of_the_alphabet",
        ),
    ),
    Attack(
        "N4", "an address as text, in the spellings of inet_aton", "judged as that address, or no name",
        (
            f"{NAMES}test_an_address_as_text_is_judged_as_that_address",
            f"{EGRESS}test_other_spellings_are_refused_or_no_names",
        ),
    ),
    # Egress
    Attack(
        "S", "an address that is not public, however it comes", "no connect(2) and no sendto(2)",
        (
            f"{EGRESS}test_refused_addresses_are_not_dialled_however_they_come",
            f"{EGRESS}test_nothing_is_connected_to_but_what_may_be",
            f"{UDP}test_no_refused_address_is_ever_written_to",
            f"{BIND}test_nobody_is_expected_who_may_not_be_dialled",
            f"{EGRESS}test_public_addresses_are_dialled",
        ),
    ),
    Attack(
        "S1", "an address of the machine itself, a public one too", "refused even where @private is open",
        (
            f"{EGRESS}test_own_addresses_stay_closed_where_private_ones_are_open",
            "access/test_guard.py::test_what_leads_here_from_outside_is_own_where_it_is_told",
            "system/test_routes.py::test_anyip_routes_and_broadcasts_are_own",
        ),
    ),
    Attack(
        "S2", "the server through itself, or a ring of two", "it ends",
        (
            f"{LOOPS}test_fifty_nested_tunnels_end_at_one",
            f"{LOOPS}test_by_an_address_of_its_own",
            f"{LOOPS}test_a_ring_of_two_ends_at_the_limit_and_with_its_client",
        ),
    ),
    Attack(
        "S3", "a free port of ours, until a connection meets itself", "refused",
        (f"{EGRESS}test_a_port_that_meets_itself_is_a_refusal",),
    ),
    Attack(
        "S4", "a name that is public once and loopback the next time", "the judged address is dialled",
        (
            f"{EGRESS}test_the_address_that_is_judged_is_dialled_and_looked_up_once",
            f"{EGRESS}test_refused_addresses_among_others_are_left_out_and_logged",
        ),
    ),
    Attack(
        "S5", "a name with thousands of addresses", "sixteen attempts, one deadline",
        (
            f"{EGRESS}test_a_name_with_four_thousand_addresses_is_sixteen_attempts",
            f"{EGRESS}test_many_dead_addresses_share_one_deadline",
        ),
    ),
    Attack(
        "S6", "names whose servers never answer", "others' look-ups go on",
        (
            f"{EGRESS}test_lookups_that_never_end_are_capped_and_others_go_on",
            "system/test_nameservers.py::test_one_clients_dead_names_delay_nobody_else",
        ),
    ),
    Attack(
        "S7", "refusals, to find out which ports are open", "they say nothing about the port",
        (f"{EGRESS}test_a_refusal_says_nothing_about_the_port",),
    ),
    Attack(
        "S8", "from the internet through a port mapper of a container", "no trust by address",
        (
            f"{EGRESS}test_no_trust_by_source_behind_a_port_mapper",
            "access/test_clients.py::test_in_a_container_loopback_alone_is_served",
        ),
    ),
    # UDP
    Attack(
        "U1", "datagrams to somebody else's association", "dropped",
        (
            f"{UDP}test_the_first_datagram_from_another_address_is_nobodys",
            f"{UDP}test_another_port_after_the_first_is_nobodys",
            f"{UDP}test_what_a_stranger_sent_before_the_lock_stays_out",
        ),
    ),
    Attack(
        "U2", "an association for a victim's address", "refused",
        (f"{UDP}test_a_request_for_somebody_else_is_refused",),
    ),
    Attack(
        "U3", "a connection that ends, and its port", "the port is gone",
        ("system/test_udp.py::test_the_port_is_gone_with_the_connection",),
    ),
    Attack(
        "U4", "answers from whom nobody wrote to", "dropped",
        (
            f"{UDP}test_an_answer_from_whom_nobody_wrote_to",
            f"{UDP}test_peers_are_bounded_and_the_oldest_go",
        ),
    ),
    Attack(
        "U5", "a refused address in the second datagram", "each is judged",
        (
            f"{UDP}test_no_refused_address_is_ever_written_to",
            "system/test_udp.py::test_rules_judge_every_datagram",
        ),
    ),
    Attack(
        "U6", "fragments that are never finished", "memory stays flat",
        (f"{UDP}test_endless_fragments_cost_nothing",),
    ),
    Attack(
        "U7", "rubbish, port 0, the relay's own port, errors of ICMP", "dropped, and never answered",
        (
            f"{UDP}test_rubbish_is_dropped_and_never_answered",
            f"{UDP}test_its_own_port_is_no_destination",
            "system/test_udp.py::test_an_error_of_one_remote_is_not_the_end",
        ),
    ),
    Attack(
        "U8", "a flood, or names that nobody answers for", "capped, and others pass",
        (
            f"{UDP}test_a_flood_is_capped_and_others_pass",
            f"{UDP}test_names_that_nobody_answers_for_are_bounded",
        ),
    ),
    # BIND
    Attack(
        "B", "strangers who come first, many waits, waits for anybody", "closed, few, refused",
        (
            f"{BIND}test_strangers_who_come_first_are_closed_and_the_wait_goes_on",
            f"{BIND}test_a_crowd_of_strangers_ends_the_wait",
            f"{BIND}test_waits_of_one_client_are_few",
            f"{BIND}test_anyone_is_not_everybody",
            f"{BIND}test_a_port_is_let_go_with_its_client",
            "system/test_bind.py::test_it_has_to_be_asked_for",
        ),
    ),
    # Passwords
    Attack(
        "P1", "guesses and sprays", "growing bans over all workers, and who was here before gets in",
        (
            "system/test_lockout.py::test_guesses_ban_over_workers_and_reloads",
            "system/test_lockout.py::test_who_was_here_before_is_not_locked_out",
            "system/test_lockout.py::test_bans_outlive_the_server_where_a_file_keeps_them",
            "access/test_throttle.py::test_bans_grow_up_to_the_longest_and_are_forgotten_after_a_long_quiet_time",
        ),
    ),
    Attack(
        "P2", "names that are not there, timed", "they cost the same hash",
        (
            f"{LOOKUP}test_a_wrong_password_costs_one_hash_whoever_it_is_for",
            f"{USERS}test_every_name_costs_one_hash_of_equal_parameters",
        ),
    ),
    Attack(
        "P3", "hundreds of wrong passwords at once, or a hash that costs gigabytes", "nobody starves",
        (
            "attacks/test_passwords.py::test_a_hundred_wrong_passwords_at_once_starve_nobody",
            "access/test_hashes.py::test_other_hashes_are_refused_without_repeating_them",
        ),
    ),
    Attack(
        "P4", "another split of the same bytes, a password from before a change", "not believed",
        (
            "access/test_verified.py::test_name_and_password_do_not_run_together",
            "attacks/test_passwords.py::test_a_changed_password_is_the_only_one_at_once",
        ),
    ),
    Attack(
        "P5", "a look into logs, command lines, environments and cores", "no password is there",
        (
            "attacks/test_passwords.py::test_passwords_are_nowhere_to_be_seen",
            f"{HOSTILE}test_what_others_see_of_its_confinement",
            f"{HOSTILE}test_a_supervisor_that_is_not_root_hides_its_memory",
        ),
    ),
    # The log and titles
    Attack(
        "L", "names that look like lines, fields or terminal commands; floods", "plain lines, counted",
        (
            f"{LOGS}test_a_user_of_odd_characters_is_in_plain_lines",
            f"{LOGS}test_a_host_of_odd_characters_is_in_plain_lines",
            f"{LOGS}test_titles_are_numbers_and_our_own_words",
            "system/test_fail2ban.py::test_failed_logins_are_found",
            "host/log/test_flood.py::test_ten_lines_a_second_for_each_source_then_a_count",
        ),
    ),
    # Exhaustion
    Attack(
        "X1", "a peer that reads nothing", "little memory, and a reset",
        (
            "system/test_shortages.py::test_they_cost_little_kernel_memory_and_end_by_reset",
            f"{RELAY}test_silence_ends_the_tunnel_and_resets_what_is_stuck",
        ),
    ),
    Attack(
        "X2", "urgent data", "no spin, bytes in order",
        (f"{RELAY}test_urgent_data_stays_in_line_and_does_not_spin",),
    ),
    Attack(
        "X3", "single bytes that fill a pipe", "nothing is lost",
        (f"{RELAY}test_a_flood_of_single_bytes_into_a_stalled_bulk_flow_loses_nothing",),
    ),
    Attack(
        "X4", "half-closed and idle tunnels, storms of resets", "they end, and nothing stays behind",
        (
            f"{RELAY}test_a_half_closed_tunnel_has_its_own_limit",
            "system/test_abuse.py::test_nothing_stays_behind",
        ),
    ),
    Attack(
        "X5", "all descriptors, all ports, a million addresses", "a pause, and nobody is unlimited",
        (
            "system/test_shortages.py::test_clients_wait_and_tunnels_go_on_without_a_spin",
            "system/test_limits.py::test_connections_are_counted_over_all_workers",
            "host/scoreboard/test_claims.py::test_a_full_table_forgets_who_counts_least",
        ),
    ),
    # A worker that was taken over
    Attack(
        "W1", "lies on the scoreboard", "no reader breaks, no stranger is killed",
        (
            "host/scoreboard/test_boards.py::test_garbage_never_breaks_a_reader",
            "host/scoreboard/test_claims.py::test_a_board_that_lies_breaks_no_reader",
            f"{HOSTILE}test_every_attempt_is_denied_but_those_that_nothing_prevents",
        ),
    ),
    Attack(
        "W2", "the shared listener ended, unblocked, taken", "denied",
        (f"{HOSTILE}test_every_attempt_is_denied_but_those_that_nothing_prevents",),
    ),
    Attack(
        "W3", "siblings killed, traced, read", "denied, and the attempt is an alarm",
        (
            f"{HOSTILE}test_every_attempt_is_denied_but_those_that_nothing_prevents",
            "attacks/test_channels.py::test_what_is_no_question_ends_no_channel",
        ),
    ),
    # Whoever asks the server about itself
    Attack(
        "A", "another account, another site's page, half a request, endless ones", "refused, left",
        (
            f"{ADMIN}test_a_stranger_is_not_answered",
            f"{ADMIN}test_what_is_no_request_is_answered_with_an_error",
            "system/test_status.py::test_the_socket_is_private_and_goes_with_the_server",
            "system/test_metrics.py::test_who_is_not_answered",
            "system/test_metrics.py::test_who_says_a_request_for_ever_keeps_nobody_out",
        ),
    ),
    # Files
    Attack(
        "F1", "a users file that others write, a link, a FIFO, endless, cut, empty", "refused; nobody",
        (
            f"{USERS}test_a_file_that_others_can_write_is_refused",
            f"{USERS}test_a_directory_that_others_can_write",
            f"{USERS}test_links_fifos_directories_and_missing_files_are_refused",
            f"{USERS}test_a_file_of_ten_gigabytes_is_refused_unread",
            f"{USERS}test_a_file_cut_anywhere_in_a_line_is_refused",
            f"{USERS}test_an_empty_file_is_nobody",
            "system/test_users.py::test_changes_hold_and_mistakes_change_nothing",
        ),
    ),
    Attack(
        "F2", "a reload that asks for no password any more", "refused",
        ("system/test_reload.py::test_what_asked_for_passwords_is_not_opened",),
    ),
    Attack(
        "F3", "a module beside the program, in a folder that others write", "not imported",
        (
            "attacks/test_files.py::test_services_import_nothing_from_where_they_are_started",
            "attacks/test_files.py::test_so_started_a_module_that_lies_there_is_not_imported",
        ),
    ),
    Attack(
        "F4", "links, and what others wrote, in place of pid file, log, bans and sockets",
        "not followed, not believed",
        (
            f"{PIDFILE}test_a_symbolic_link_is_not_followed",
            f"{PIDFILE}test_a_hard_link_is_not_written_through",
            f"{PIDFILE}test_root_writes_only_where_others_cannot",
            "host/log/test_log.py::test_behind_a_symbolic_link_is_refused",
            "process/test_kept_bans.py::test_what_others_could_change_is_neither_read_nor_replaced",
            "process/test_kept_bans.py::test_what_is_not_ours_is_set_aside_and_nothing_is_lost",
            "process/test_listeners.py::test_a_living_servers_stays",
            "process/test_listeners.py::test_a_file_that_is_no_socket_stays",
        ),
    ),
    # Children
    Attack(
        "E1", "a helper that hangs, lies, answers early; a name that forges a line", "nobody is let in",
        (
            "attacks/test_helpers.py::test_it_is_born_with_three_descriptors_and_nothing_else",
            "attacks/test_helpers.py::test_one_that_goes_wrong_lets_nobody_in_and_is_replaced",
            "attacks/test_helpers.py::test_an_answer_that_comes_too_early_answers_nobody",
            "attacks/test_helpers.py::test_a_name_cannot_forge_an_answer_or_a_question",
        ),
    ),
    Attack(
        "E2", "a process that dies as soon as it is born", "growing pauses",
        ("system/test_deaths.py::test_that_keeps_dying_is_started_after_growing_pauses",),
    ),
)  # fmt: skip
