from __future__ import annotations

import dataclasses
import time
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forksocks.access.networks import category, embedded
from forksocks.access.rules import NO_RULE, Decision, Question, Rule, Rules
from forksocks.config.model import Action, Address, CommandName, Network, Ports, Window

ALLOW, DENY, DROP, REPORT = Action.ALLOW, Action.DENY, Action.DROP, Action.REPORT


def nets(text: str) -> tuple[str | Network, ...]:
    return tuple(each if each.startswith("@") else ip_network(each) for each in text.split())


def asked(
    name: str | None = None,
    address: str | None = "93.184.216.34",
    port: int = 443,
    client: str | None = "10.1.2.3",
    user: bytes | None = None,
    listener: str = "lan",
    command: CommandName = CommandName.CONNECT,
    groups: tuple[str, ...] = (),
) -> Question:
    known = None if address is None else ip_address(address)
    return Question(
        None if client is None else ip_address(client), user, listener, command, name, known, port, groups
    )


def decided(rules: list[Rule], question: Question) -> str | None:
    decision = Rules(rules).decide(question)
    return None if decision is None else decision.rule or "none"


def test_the_first_rule_that_fits_decides_and_none_denies() -> None:
    rules = [Rule("smtp", DENY, ports=(Ports(25, 25),)), Rule("lan", ALLOW, clients=nets("10.0.0.0/8"))]
    assert decided(rules, asked(port=25)) == "smtp"
    assert decided(rules, asked()) == "lan"
    assert Rules(rules).decide(asked(client="192.0.2.1")) == NO_RULE
    assert not NO_RULE.allowed
    assert not Rules([])


@pytest.mark.parametrize(
    ("rule", "fits", "fits_not"),
    [
        (Rule("r", ALLOW, users=(b"alice", b"\xff")), asked(user=b"\xff"), asked(user=b"bob")),
        (Rule("r", ALLOW, users=(b"alice",)), asked(user=b"alice"), asked()),
        (Rule("r", ALLOW, groups=("staff", "a")), asked(groups=("b", "staff")), asked(groups=("b",))),
        (Rule("r", ALLOW, groups=("staff",)), asked(groups=("staff",)), asked()),
        (Rule("r", ALLOW, listeners=("lan",)), asked(), asked(listener="dmz")),
        (Rule("r", ALLOW, commands=(CommandName.UDP,)), asked(command=CommandName.UDP), asked()),
        (Rule("r", ALLOW, clients=nets("@loopback")), asked(client="127.0.0.9"), asked()),
        (Rule("r", ALLOW, clients=nets("fd00::/8")), asked(client="fd00::1"), asked(client="fe80::1")),
        (Rule("r", ALLOW, clients=nets("@any")), asked(client=None), asked(client=None, port=0, listener="")),
        (Rule("r", ALLOW, to_networks=nets("@private")), asked(address="10.0.0.1"), asked()),
        (Rule("r", ALLOW, to_names=("a.example",)), asked("a.example"), asked("b.a.example")),
        (Rule("r", ALLOW, to_names=(".example",)), asked("a.b.example"), asked("example")),
        (Rule("r", ALLOW, to_names=(".example",)), asked("a.example"), asked("aexample")),
        (Rule("r", ALLOW, ports=(Ports(1, 9), Ports(5, 20))), asked(port=20), asked(port=21)),
    ],
)
def test_each_condition(rule: Rule, fits: Question, fits_not: Question) -> None:
    assert decided([rule], fits) == "r"
    if rule.clients != nets("@any"):
        assert decided([rule], fits_not) == "none"


def test_a_client_of_a_unix_socket_fits_no_network() -> None:
    assert decided([Rule("r", ALLOW, clients=nets("0.0.0.0/0 ::/0"))], asked(client=None)) == "none"
    assert decided([Rule("r", ALLOW)], asked(client=None)) == "r"


def test_a_name_is_not_decided_on_while_an_address_could_matter() -> None:
    rules = [
        Rule("inside", DENY, to_networks=nets("10.0.0.0/8")),
        Rule("shop", ALLOW, to_names=(".shop.example",)),
        Rule("web", ALLOW, to_networks=nets("93.184.0.0/16")),
    ]
    assert decided(rules, asked("www.shop.example", None)) is None
    assert decided(rules, asked("www.shop.example", "10.1.1.1")) == "inside"
    assert decided(rules, asked("www.shop.example")) == "shop"
    assert decided(rules, asked("other.example", None)) is None
    assert decided(rules, asked("other.example")) == "web"
    assert decided(rules, asked("other.example", "198.51.100.1")) == "none"


def test_a_name_is_decided_on_at_once_where_no_address_can_matter() -> None:
    rules = [
        Rule("ads", DENY, to_names=(".ads.example",)),
        Rule("inside", DENY, to_networks=nets("10.0.0.0/8"), ports=(Ports(80, 80),)),
        Rule("rest", ALLOW),
    ]
    assert decided(rules, asked("x.ads.example", None)) == "ads"
    assert decided(rules, asked("www.example", None)) == "rest"
    assert decided(rules, asked("www.example", None, port=80)) is None


def test_a_name_is_denied_at_once_where_no_address_could_allow_it() -> None:
    rules = [
        Rule("inside", DENY, to_networks=nets("10.0.0.0/8")),
        Rule("ads", DROP, to_names=(".ads.example",)),
        Rule("web", ALLOW, to_networks=nets("93.184.0.0/16"), ports=(Ports(80, 80),)),
    ]
    assert decided(rules, asked("x.ads.example", None)) == "ads"
    assert decided(rules, asked("www.example", None)) == "none"
    assert decided(rules, asked("www.example", None, port=80)) is None


@pytest.mark.parametrize("wrapped", ["::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "2a00::5efe:10.0.0.1"])
def test_an_address_inside_another_can_shut_out_and_not_let_in(wrapped: str) -> None:
    inside = nets("10.0.0.0/8")
    assert decided([Rule("no", DENY, to_networks=inside), Rule("r", ALLOW)], asked(address=wrapped)) == "no"
    assert decided([Rule("yes", ALLOW, to_networks=inside)], asked(address=wrapped)) == "none"
    assert decided([Rule("yes", ALLOW, to_networks=nets("@private"))], asked(address=wrapped)) == "none"
    assert decided([Rule("yes", ALLOW, clients=nets("@private"))], asked(client=wrapped)) == "none"


def at(day: int, hour: int, minute: int = 0) -> float:
    """Seconds since the epoch of a local time in a week whose Monday is the fifth of January 2026."""
    return time.mktime((2026, 1, 5 + day, hour, minute, 0, 0, 0, -1))


@pytest.mark.parametrize(
    ("window", "when", "fits"),
    [
        (Window((0,), 480, 1080), (0, 8), True),
        (Window((0,), 480, 1080), (0, 18), False),
        (Window((0,), 480, 1080), (1, 9), False),
        (Window((4,), 22 * 60, 6 * 60), (4, 23), True),
        (Window((4,), 22 * 60, 6 * 60), (5, 5), True),
        (Window((4,), 22 * 60, 6 * 60), (5, 6), False),
        (Window((4,), 22 * 60, 6 * 60), (4, 5), False),
        (Window((6,), 22 * 60, 6 * 60), (0, 5), True),
        (Window((0,), 0, 1440), (0, 23), True),
    ],
)
def test_times_of_the_week(window: Window, when: tuple[int, int], fits: bool) -> None:
    rules = Rules([Rule("r", ALLOW, times=(window,))], clock=lambda: at(*when))
    decision = rules.decide(asked())
    assert decision is not None
    assert decision.allowed is fits


def test_time_goes_on() -> None:
    now = [at(0, 7, 59)]
    rules = Rules([Rule("r", ALLOW, times=(Window((0,), 480, 1080),))], clock=lambda: now[0])
    assert rules.decide(asked()) == NO_RULE
    now[0] = at(0, 8)
    assert rules.decide(asked()) == Decision(ALLOW, "r")


def test_every_rule_that_was_tried_says_what_was_against_it() -> None:
    rules = Rules(
        [
            Rule("a", DENY, ports=(Ports(25, 25),), users=(b"bob",)),
            Rule("b", ALLOW, to_names=(".example",)),
            Rule("c", ALLOW),
            Rule("d", ALLOW),
        ]
    )
    tried = {rule.name: against for rule, against in rules.tried(asked(user=b"alice"))}
    assert tried == {"a": ("users", "ports"), "b": ("to",), "c": ()}


# The same by going through the list.

NETWORKS = ["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "93.184.216.34/32", "fd00::/8", "::/0"]
SETS = ["@private", "@loopback", "@any"]
ADDRESSES = ["10.1.2.3", "10.200.0.1", "127.0.0.1", "93.184.216.34", "fd00::1", "2a00::1"]
NAMES = ["a.example", ".example", ".a.example", "b.example"]
SELECTORS = st.lists(st.sampled_from(NETWORKS + SETS), max_size=3).map(lambda all: nets(" ".join(all)))
RULES = st.lists(
    st.builds(
        Rule,
        st.just("r"),
        st.sampled_from(list(Action)),
        clients=SELECTORS,
        users=st.lists(st.sampled_from([b"alice", b"bob"]), max_size=2).map(tuple),
        listeners=st.lists(st.sampled_from(["lan", "dmz"]), max_size=1).map(tuple),
        to_networks=SELECTORS,
        to_names=st.lists(st.sampled_from(NAMES), max_size=2).map(tuple),
        ports=st.lists(st.sampled_from([Ports(1, 99), Ports(80, 443), Ports(443, 443)]), max_size=2).map(
            tuple
        ),
    ),
    max_size=70,
)
QUESTIONS = st.builds(
    asked,
    name=st.sampled_from([None, "a.example", "x.a.example", "b.example", "c.test"]),
    address=st.sampled_from(ADDRESSES),
    port=st.sampled_from([25, 80, 443, 500]),
    client=st.sampled_from([None, *ADDRESSES]),
    user=st.sampled_from([None, b"alice", b"bob", b"carol"]),
    listener=st.sampled_from(["lan", "dmz"]),
)


def holds(selectors: tuple[str | Network, ...], address: Address | None) -> bool:
    if address is None:
        return "@any" in selectors
    return any(
        each in ("@any", category(address)) if isinstance(each, str) else address in each
        for each in selectors
    )


def fits(rule: Rule, question: Question) -> bool:
    name = question.name or ""
    named = any(name.endswith(each) if each.startswith(".") else name == each for each in rule.to_names)
    return (
        (not rule.clients or holds(rule.clients, question.client))
        and (not rule.users or question.user in rule.users)
        and (not rule.listeners or question.listener in rule.listeners)
        and (not rule.ports or any(each.first <= question.port <= each.last for each in rule.ports))
        and (not rule.has_destination or named or holds(rule.to_networks, question.address))
    )


@given(RULES, QUESTIONS)
@settings(max_examples=150)
def test_the_tables_say_what_the_list_says(rules: list[Rule], question: Question) -> None:
    assert question.address is not None
    assert embedded(question.address) is None
    numbered = [dataclasses.replace(rule, name=str(number)) for number, rule in enumerate(rules)]
    expected = next((rule.name for rule in numbered if fits(rule, question)), None)
    decision = Rules(numbered).decide(question)
    assert decision is not None
    assert decision.rule == expected
