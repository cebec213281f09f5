"""The policy's values themselves."""

import pytest

from control_plane.policy.blocks import BlockOf
from control_plane.policy.declare import Setting, settings_of
from control_plane.policy.model import ENGINES, ListenerPicker, Policy, Pool, StaticEndpoint, TrafficPolicy
from tests.unit.control_plane.policy.samples import FULL, MINIMAL, document, parsed

SETTINGS = [
    (cls.__name__, setting)
    for cls in dict.fromkeys(BlockOf(Policy).blocks())
    for setting in settings_of(cls)
    if not setting.is_key
]


@pytest.mark.parametrize(("block", "setting"), SETTINGS, ids=[f"{block}.{one.key}" for block, one in SETTINGS])
def test_defaults_are_values(block: str, setting: Setting) -> None:
    """A default, written into the file as it is documented, is read as itself; so it is within its own bounds."""
    if not setting.has_default or not setting.absent_text:
        return
    reader, node = parsed(setting.absent_text)
    assert setting.kind.read(reader, node, "") == setting.absent()
    assert reader.diagnostics() == ()


@pytest.mark.parametrize(("block", "setting"), SETTINGS, ids=[f"{block}.{one.key}" for block, one in SETTINGS])
def test_everything_is_documented(block: str, setting: Setting) -> None:
    """Each key has a sentence."""
    assert setting.doc.endswith(".")
    assert setting.doc[0].isupper() or setting.doc[0] in "`5"


def test_pool_by_name() -> None:
    """A pool is found by its name; another name is a KeyError."""
    policy = document(FULL).policy
    assert policy.pool("llama-8b") is policy.pools[2]
    with pytest.raises(KeyError):
        policy.pool("nothing")


@pytest.mark.parametrize(
    ("name", "model"), [("llama-3-70b", "llama-3-70b"), ("openai/gpt-4", "llama-3-70b"), ("nothing", None)]
)
def test_model_by_name_or_alias(name: str, model: str | None) -> None:
    """A model is found by any of its names."""
    found = document(FULL).policy.model(name)
    assert (found.name if found is not None else None) == model


def test_blocks_can_be_built_by_hand() -> None:
    """Tests and tools build policies without a file; only what has no default must be given."""
    pool = Pool(name="chat", endpoints=(StaticEndpoint(address="10.0.0.1:8000"),))
    assert pool == document(MINIMAL).policy.pools[0]
    assert pool.engine in ENGINES
    assert pool.traffic_policy == TrafficPolicy()
    assert ListenerPicker().message_timeout_s == 0.25


def test_policies_are_hashable() -> None:
    """A policy can be the key of a cache; labels are compared but do not count for the hash."""
    one, other = (
        StaticEndpoint(address="10.0.0.1:8000", labels=labels) for labels in ({"gpu": "h100"}, {"gpu": "a100"})
    )
    assert one != other
    assert hash(one) == hash(other)
    assert hash(document(FULL).policy) == hash(document(FULL).policy)
