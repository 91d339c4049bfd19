from __future__ import annotations

import pytest

from forksocks.verbs.top.columns import COLUMNS, IMPORTANT, fitting, round_trip
from forksocks.verbs.top.model import ORDERS


@pytest.mark.parametrize("room", range(40, 260))
def test_as_many_as_there_is_room_for_the_most_important_first(room: int) -> None:
    chosen = fitting(room)
    used = sum(width for _, width in chosen) + len(chosen) - 1
    assert used <= room
    titles = {column.title for column, _ in chosen}
    assert titles == set(IMPORTANT[: len(titles)])
    assert all(width >= column.width for column, width in chosen)
    if used < room:
        assert all(width == column.most for column, width in chosen if column.most)


def test_eighty_columns_have_what_matters_and_two_hundred_have_all() -> None:
    assert {"USER", "CLIENT", "TARGET", "AGE", "UP/s", "DOWN/s", "TOTAL", "RTT ms"} == {
        column.title for column, _ in fitting(80)
    }
    assert [column for column, _ in fitting(200)] == list(COLUMNS)
    assert {column.order for column in COLUMNS if column.order} == set(ORDERS) - {"rate"}


@pytest.mark.parametrize(
    ("client", "target", "shown"),
    [(0.0002, 0.038, "0.2/38"), (None, 0.0099, "-/9.9"), (None, None, "-"), (1.25, 0.9994, "1.2s/999"),
     (0.0, 0.01, "0.0/10")],
)  # fmt: skip
def test_round_trips(client: float | None, target: float | None, shown: str) -> None:
    assert round_trip({"rtt": {"client": client, "target": target}}) == shown
