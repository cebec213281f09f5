"""What a scrape of a pod comes to."""

from ext_proc.core.events import Scraped, ScrapeFailed
from sim.events import Request
from sim.profile import Profile
from sim.virtual.pod import Pod
from sim.virtual.scrape import TIMEOUT_S, scraped
from tests.unit.sim.virtual.fleets import PLAIN, Telling, setup

SETUP = setup(Telling(), network_s=0.25, scrape_delay_s=0.5)


def test_a_pod_tells_its_numbers() -> None:
    """Those of its last step, and how its memory is divided; known after the delay of scrapes."""
    pod = Pod("a", PLAIN)
    pod.submit(Request("r", (), 1_000, 50), 0.0)
    pod.advance(0.2)
    known, told = scraped(pod, SETUP, 0.2)
    assert known == 0.7
    # The prompt's ten blocks of a hundred, and one for what it answers.
    assert told == Scraped(address="a", at=0.2, running=1, waiting=0, kv_usage=0.11, block_size=100, kv_tokens=10_000)


def test_slots_have_no_blocks() -> None:
    """llama.cpp's server tells how many slots there are instead."""
    profile = Profile(engine="llamacpp", max_batch=4)
    _, told = scraped(Pod("a", profile), SETUP, 0.0)
    assert isinstance(told, Scraped)
    assert (told.block_size, told.max_running, told.kv_tokens) == (None, 4, profile.kv_tokens)


def test_one_that_is_gone_refuses_and_one_that_hangs_says_nothing() -> None:
    """The first is known after the way there, the second after the scraper's patience; a hung process can end, too."""
    pod = Pod("a", PLAIN)
    pod.hang(1.0)
    assert scraped(pod, SETUP, 2.0) == (2.0 + TIMEOUT_S, ScrapeFailed(address="a", at=2.0, reason="timeout"))
    pod.crash()
    assert scraped(pod, SETUP, 2.0) == (2.25, ScrapeFailed(address="a", at=2.0, reason="refused"))
