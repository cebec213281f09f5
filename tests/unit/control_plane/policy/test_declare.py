"""A declaration and what is read from it."""

import dataclasses

import pytest

from control_plane.policy.blocks import BlockOf
from control_plane.policy.containers import ListOf, OrWord
from control_plane.policy.declare import Block, block, setting, settings_of, summary, yaml_key
from control_plane.policy.scalars import Integer
from control_plane.policy.units import Duration
from tests.unit.control_plane.policy.samples import parsed


@block(planned={"later": "something"})
class Sample(Block):
    """A block to try.

    What is behind the first paragraph is not shown.
    """

    count: int = setting(Integer(0, 9), doc="How many.")
    idle_timeout_s: float = setting(Duration("1ms", "1h"), default=0.25, doc="How long.")
    limit_s: float | None = setting(OrWord(Duration("1ms", "1h"), "auto", "learned"), default=None, doc="At most.")
    items: tuple[int, ...] = setting(ListOf(Integer(0, 9)), default=(), doc="Which.")
    owner: str = setting(Integer(0, 9), absent=("", "the first"), doc="Whose.")
    version: int = setting(Integer(1, 1), default=1, required=True, key="v", doc="Of what.")


def test_settings() -> None:
    """Keys, defaults and what is required follow from the declaration."""
    assert [(one.field, one.key, one.required, one.absent_text, one.has_default) for one in settings_of(Sample)] == [
        ("count", "count", True, "", False),
        ("idle_timeout_s", "idleTimeout", False, "250ms", True),
        ("limit_s", "limit", False, "auto", True),
        ("items", "items", False, "[]", True),
        ("owner", "owner", False, "the first", False),
        ("version", "v", True, "1", True),
    ]


def test_summary() -> None:
    """What a block is: the first paragraph of its docstring."""
    assert summary(Sample) == "A block to try."


def test_a_new_block_is_read() -> None:
    """A declaration is all that the loader needs."""
    reader, root = parsed("{count: 3, idleTimeout: 2s, v: 1}")
    expected = Sample(count=3, idle_timeout_s=2.0, limit_s=None, items=(), owner="", version=1)
    assert expected == BlockOf(Sample).read(reader, root, "")


def test_blocks_are_values() -> None:
    """A block cannot be changed, only copied with a change, and has no room for anything else."""
    sample = Sample(count=1, owner="a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        sample.count = 2  # type: ignore[misc]
    assert dataclasses.replace(sample, count=2) == Sample(count=2, owner="a")
    assert not hasattr(sample, "__dict__")
    assert hash(sample) == hash(Sample(count=1, owner="a"))


def test_types_are_known_to_the_checker() -> None:
    """A type checker knows which arguments a block needs: a forgotten one is an error there, and when it runs."""
    with pytest.raises(TypeError, match="count"):
        Sample(owner="a")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("field", "unit", "key"),
    [
        ("name", "", "name"),
        ("message_timeout_s", "_s", "messageTimeout"),
        ("retriable_status_codes", "_s", "retriableStatusCodes"),
        ("consecutive_5xx_errors", "", "consecutive5xxErrors"),
        ("http1_max_pending_requests", "", "http1MaxPendingRequests"),
        ("from_", "", "from"),
    ],
)
def test_yaml_key(field: str, unit: str, key: str) -> None:
    """camelCase, without the unit and without the underscore that Python needs."""
    assert yaml_key(field, unit) == key


@block()
class Shared(Block):
    """What several blocks have."""

    later: int = setting(Integer(0, 9), default=1, doc="Something.")


@block()
class Own(Shared):
    """A block with more."""

    first: int = setting(Integer(0, 9), default=2, doc="Something else.")


def test_shared_fields_come_last() -> None:
    """What a block has of its own is what a reader looks for."""
    assert [one.key for one in settings_of(Own)] == ["first", "later"]
    assert Own(later=5) == Own(first=2, later=5)
    assert not hasattr(Own(), "__dict__")
