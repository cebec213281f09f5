"""The picker where prompts go by their tokens and engines tell of their blocks."""

import json
import random
from dataclasses import replace

from ext_proc.core.counted import Counted
from ext_proc.core.decision import Named
from ext_proc.core.events import BlocksStored
from ext_proc.core.picker import Picker
from ext_proc.core.request import RequestFacts
from ext_proc.core.settings import EndpointSettings, KvEventSettings, PickerSettings, PoolSettings
from ext_proc.core.token_blocks import token_block_hashes, token_bytes

FIRST, SECOND = "10.0.0.1:8000", "10.0.0.2:8000"
POOL = PoolSettings(
    name="p",
    cluster="c",
    endpoints=(EndpointSettings(address=FIRST), EndpointSettings(address=SECOND)),
    base_model="m",
    kv_events=KvEventSettings(is_exact=True),
)
SETTINGS = PickerSettings(version="v", pools=(POOL,))
IDS = tuple(range(640))


def asked(picker: Picker, model: str = "m") -> dict[str, object]:
    """The decision about a request with these tokens."""
    body = json.dumps({"model": model, "prompt": "x"}).encode()
    facts = RequestFacts(body=body, path="/v1/completions", cluster="c", counted=Counted(token_bytes(IDS)))
    named = picker.decide(facts, 1.0, random.Random(1))
    assert isinstance(named, Named)
    record = picker.decisions.get(named.decision_id)
    assert record is not None
    return {**record.as_dict(), "named": named.endpoints[0]}


def test_what_engines_tell_is_found() -> None:
    """By the base model under no name, by an adapter under its own; the record says that the count is exact."""
    for model, name in (("m", ""), ("sql", "sql")):
        picker = Picker(SETTINGS)
        picker.apply(BlocksStored(address=SECOND, at=0.0, blocks=token_block_hashes(IDS, name)[:8]))
        found = asked(picker, model)
        assert found["named"] == SECOND
        assert found["predicted"] == {"cached_tokens": 512, "wait_ms": None, "ttft_ms": None}
        assert found["request"]["counted_by"] == "tokens"  # type: ignore[index]
        assert found["request"]["tokens"] == 640  # type: ignore[index]


def test_who_does_not_tell_any_more_is_predicted() -> None:
    """What it told would otherwise be believed for ever; others keep theirs."""
    picker = Picker(SETTINGS)
    for address in (FIRST, SECOND):
        picker.apply(BlocksStored(address=address, at=0.0, blocks=(1, 2, 3)))
    assert picker.survey.pools(0.0)["p"]["telling"] == 2
    one = replace(POOL, endpoints=POOL.endpoints[:1])
    silent = replace(POOL, name="q", cluster="d", endpoints=POOL.endpoints[1:], kv_events=KvEventSettings())
    picker.apply_settings(replace(SETTINGS, pools=(one, silent)))
    status = picker.survey.pools(0.0)
    assert (status["p"]["telling"], status["q"]["telling"]) == (1, 0)
    assert [row["index_blocks"] for pool in status.values() for row in pool["endpoints"]] == [3, 0]


def test_someone_to_ask() -> None:
    """Whoever has the fewest requests; nobody in an empty or unknown pool."""
    picker = Picker(SETTINGS)
    busy = asked(picker)["named"]
    assert picker.someone("c", 1.0) == ({FIRST, SECOND} - {busy}).pop()
    assert picker.someone("elsewhere", 1.0) is None
    picker.apply_settings(replace(SETTINGS, pools=(replace(POOL, endpoints=()),)))
    assert picker.someone("c", 1.0) is None
