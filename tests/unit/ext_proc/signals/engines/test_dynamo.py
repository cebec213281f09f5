"""The page of Dynamo's frontend."""

from ext_proc.signals.engines.dynamo import read_dynamo
from tests.unit.ext_proc.signals.pages import page


def test_page() -> None:
    """What is queued is in flight, too, and runs only afterwards."""
    assert read_dynamo(page("dynamo-frontend.prom")).values() == {"running": 9, "waiting": 3}


def test_the_other_name() -> None:
    """Active requests stand for those in flight; without a queue nothing is told."""
    body = b"dynamo_frontend_active_requests 2\n"
    assert read_dynamo(body).values() == {}
    more = b"dynamo_frontend_queued_requests 3\ndynamo_frontend_model_kv_cache_block_size 32\n"
    assert read_dynamo(body + more).values() == {"running": 0, "waiting": 3, "block_size": 32}
