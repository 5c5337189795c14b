"""The peer is held while somebody is full and nobody waits; the turn of others holds whoever waits."""

from __future__ import annotations

from aiodicom.association.reading import TURN, Reading
from hypothesis import given
from hypothesis import strategies as st


def reading() -> tuple[Reading, list[str]]:
    calls: list[str] = []
    return Reading(lambda: calls.append("pause"), lambda: calls.append("resume")), calls


def test_full_holds_and_room_lets_go() -> None:
    one, calls = reading()
    one.full("find")
    one.full("find")
    one.full("get")
    assert (one.held, one.holders, calls) == (True, ("find", "get"), ["pause"])
    one.room("find")
    assert one.holders == ("get",)
    one.room("get")
    one.room("get")
    assert (one.held, one.holders, calls) == (False, (), ["pause", "resume"])  # type: ignore[comparison-overlap]


def test_who_waits_is_not_kept_waiting_by_who_is_full() -> None:
    one, calls = reading()
    one.full("find")
    one.waits("echo")
    assert not one.held
    one.goes_on("echo")
    assert one.held
    assert calls == ["pause", "resume", "pause"]


def test_who_is_full_and_waits_is_full() -> None:
    one, _ = reading()
    one.waits("retrieve")
    one.full("retrieve")
    assert one.held
    one.waits("echo")
    assert not one.held


def test_the_turn_of_others_holds_whoever_waits() -> None:
    one, _ = reading()
    one.waits("echo")
    one.full(TURN)
    assert one.held
    one.room(TURN)
    assert not one.held


NAMES = st.sampled_from(["a", "b", "c", TURN])
STEPS = st.lists(st.tuples(st.sampled_from(["full", "room", "waits", "goes_on", "clear"]), NAMES))


@given(STEPS)
def test_the_rule_holds_after_every_step(steps: list[tuple[str, str]]) -> None:
    one, calls = reading()
    full: set[str] = set()
    waiting: set[str] = set()
    for verb, name in steps:
        if verb == "clear":
            one.clear()
            full.clear()
        else:
            getattr(one, verb)(name)
            {"full": full.add, "room": full.discard, "waits": waiting.add, "goes_on": waiting.discard}[verb](
                name
            )
        assert one.held == (TURN in full or (bool(full) and waiting <= full))
        assert calls == (["pause", "resume"] * len(calls))[: len(calls)]
        assert one.held == (len(calls) % 2 == 1)


def test_what_gets_its_room_elsewhere_holds_whoever_waits() -> None:
    """A slow consumer gives way to who waits for the peer; a sink that uploads does not."""
    calls: list[str] = []
    reading = Reading(lambda: calls.append("pause"), lambda: calls.append("resume"))
    reading.waits("operation")
    reading.full("consumer")
    assert calls == []
    reading.full("sink", firm=True)
    assert calls == ["pause"]
    reading.room("sink")
    assert calls == ["pause", "resume"]
    reading.full("sink", firm=True)
    reading.clear()
    assert not reading.held
