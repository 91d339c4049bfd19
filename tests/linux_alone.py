"""Tests of what only Linux has: `tests/run elsewhere` leaves them out, as tests/system/test_elsewhere*.py do.

A pattern finds tests by their names: of the module, of the function, and in brackets of the parameters.
"""

from __future__ import annotations

import re

# Why, and which.
LINUX_ALONE = {
    "rtnetlink: what the routing tables say": (
        r"test_routes.*(netlink|_answer|route|socket_says|overrun|dump|_question|bound_is_closed|odd_sizes)",
        r"test_routes.*(anyip|attached|default_gateways|messages_that_are_not_ours|best_source|neighbours)",
        r"test_egress.*(own_addresses_stay_closed_where|behind_a_port_mapper)",
    ),
    "splice, and the pipes for it": (
        r"test_shortages.*(splic|TestPipes|pipes_leave_enough|without_pipes)",
        r"test_sandbox.*serves_names_users_and_bulk",
        r"test_relay.*(no_pipe_is_lent|copied_again_and_bulk)",
        r"test_a_gigabyte_(up|down)\[splice",
    ),
    "memory that can be sealed, and handed to another program": (
        r"test_boards.*(\[sealed|memory_that_is_read)",
        r"test_claims.*keeps_only_its_own_board",
        r"test_estate.*",
        r"test_starved.*TestSharedMemory",
        r"test_books.*(over_upgrades|of_three_programs)",
        r"test_metrics.*and_an_upgrade",
    ),
    "TCP_INFO: how a connection is doing": (
        r"test_vanished.*left_behind_unread",
        r"test_inspection.*(both_connections|round_trips)",
        r"test_end.*in_every_detail",
        r"test_top.*(stands_on_the_screen|without_a_terminal)",
    ),
    "only an error queue tells TTL expired from unreachable": (
        r"test_failures_have_their_codes.*9\.9\.4\.1",
    ),
    "SO_BINDTODEVICE: the interface that a connection leaves by": (
        r"test_interfaces.*(sends_over|removed_and_made_again)",
        r"test_dial.*interface_is_left_by",
        r"test_preflight.*interface_to_leave_by",
        r"test_seccomp.*filter_is_the_table",
    ),
    "TCP_NOTSENT_LOWAT: what the kernel keeps for who does not read": (
        r"test_shortages.*little_kernel_memory",
    ),
    "IP_BIND_ADDRESS_NO_PORT": (r"test_dial.*without_taking_a_port_from_others",),
    "only Linux passes a listener over": (
        r"test_withdrawal.*(who_has_come|waits_until_somebody)",
        r"test_an_address_that_gives_way_to_a_wider_one_loses_nobody",
    ),
    "Landlock, seccomp, no_new_privs, capabilities": (
        r"test_landlock.*(version_holds|reads_and_no_more|no_new_privileges)",
        r"test_seccomp.*(every_name|table_loads|worker_may|says_which)",
        r"test_privileges.*(right_to_bind|keeps_what_it_will_need|that_stay_are|comes_back|does_not_call_for_less)",
        r"test_confinement.*(order_is|for_real|missing_layer|empty_root|keeps_its_root|stays_root|second_thread)",
        r"test_limits.*a_worker_of_an_account_of_its_own",
        r"test_sandbox.*(less_than_was_required|missing_is_said|which_layers_hold)",
        r"test_machine.*filters_calls",
        r"test_the_ports_of_a_range_and_no_other.*require",
    ),
    "/proc": (
        r"test_hangs.*stopped_process",
        r"test_doctor.*limits_that_are_too_low",
        r"test_starved.*KilledForItsMemory",
        r"test_sinks.*opened_anew",
        r"test_preflight.*directories_that_cannot_be_written",
    ),
}
_PATTERN = re.compile("|".join(pattern for patterns in LINUX_ALONE.values() for pattern in patterns))


def is_linux_alone(test: str) -> bool:
    """Whether a test is one of them, by its node's name."""
    return _PATTERN.search(test) is not None
