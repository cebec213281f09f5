"""What `kvpilot replay` plays over: the words, the arrangement that they make, and what a report says of it."""

import argparse
import json
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest

from control_plane.cli import EX_USAGE, main
from control_plane.cli.replay_setup import MAX_ENGINES, add_setup_arguments, described, fleet_words, setup_of
from ext_proc.core.settings import EndpointSettings, PoolSettings
from sim.hardware import named
from sim.virtual import setup
from sim.virtual.faults import fault
from sim.virtual.production import BARE
from sim.virtual.setup import Setup

POLICY = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models: [{name: llama, pool: chat}]
pools:
  chat:
    picker: {strategy: least-request}
    trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: true}}}
    endpoints:
      - {address: 127.0.0.1:1, zone: a}
      - {address: 127.0.0.1:2, zone: b}
"""

ZONED = PoolSettings(
    name="chat",
    cluster="pool/chat",
    endpoints=(EndpointSettings(address="p:1", zone="a"), EndpointSettings(address="p:2", zone="b")),
)


def read(*words: str) -> argparse.Namespace:
    """The words as the verb has them."""
    parser = argparse.ArgumentParser()
    add_setup_arguments(parser)
    return parser.parse_args(words)


def made(*words: str, pool: PoolSettings = BARE) -> Setup:
    """The arrangement."""
    return setup_of(read(*words), pool)


def test_nothing_said_is_kvpilot_in_one_network() -> None:
    """The defaults of the words are those of the values."""
    arranged = made()
    assert arranged == Setup(factory=arranged.factory, profile=named("h100-8b"), zone_s=0.0005)
    assert fleet_words(read(), arranged) == "8 × h100-8b, routers: 1, scrapes: 200 ms"


def test_every_word_has_its_place() -> None:
    """In seconds, and in the engines."""
    words = (
        "--engines=3", "--profile=l4-8b", "--kv=0.25", "--routers=2", "--network-ms=2", "--zones=2", "--zone-ms=3",
        "--scrape-ms=50", "--first-tokens=100", "--estimate=1.3", "--first-byte-s=9", "--give-up=4", "--abort=0.2",
        "--fault=crash:1@5",
    )  # fmt: skip
    arranged = made(*words)
    assert arranged == Setup(
        factory=arranged.factory,
        profile=named("l4-8b").with_memory(0.25),
        engines=3,
        routers=2,
        network_s=0.002,
        zones=("zone-1", "zone-2"),
        router_zones=("zone-1", "zone-2"),
        zone_s=0.003,
        scrape_s=0.05,
        report_s=0.1,
        estimate=1.3,
        first_byte_s=9.0,
        give_up_s=4.0,
        abort_share=0.2,
        faults=(fault("crash:1@5"),),
    )
    told = described(read(*words), arranged)
    assert [told[key] for key in ("engines", "profile", "kv", "routers", "network_ms", "zones", "zone_ms")] == [
        3, "l4-8b", 0.25, 2, 2.0, ["zone-1", "zone-2"], 3.0,
    ]  # fmt: skip
    assert [told[key] for key in ("scrape_ms", "first_tokens_ms", "estimate", "first_byte_s")] == [
        50.0,
        100.0,
        1.3,
        9.0,
    ]
    assert [told[key] for key in ("give_up_s", "abort_share")] == [4.0, 0.2]
    assert [found["kind"] for found in told["faults"]] == ["crash"]
    text = fleet_words(read(*words), arranged)
    for part in (
        "zones: 2, 3 ms further",
        "KV memory × 0.25",
        "network: 2 ms",
        "first tokens known: 100 ms",
        "1.3 times",
    ):
        assert part in text
    assert "give up after 4 s, clients that leave in mid-answer: 20%" in text


def test_never_is_a_word() -> None:
    """Scrapes and first tokens can be withheld; JSON says null."""
    words = ("--scrape-ms", "never", "--first-tokens", "never")
    arranged = made(*words)
    assert (arranged.scrape_s, arranged.report_s) == (inf, None)
    told = described(read(*words), arranged)
    assert (told["scrape_ms"], told["first_tokens_ms"]) == (None, None)
    json.dumps(told, allow_nan=False)
    assert "scrapes: never, first tokens known: never" in fleet_words(read(*words), arranged)


def test_zones_are_the_policys_or_made_up() -> None:
    """A policy's endpoints have theirs; one of them may be where the routers stand."""
    assert (made(pool=ZONED).zones, made(pool=ZONED).router_zones) == (("a", "b"), ())
    near = made("--zone", "b", pool=ZONED)
    assert (near.zones, near.router_zones) == (("a", "b"), ("b",))
    assert made("--engines", "3", pool=ZONED).zones == ()
    for words, pool, says in (
        (("--zone", "c"), ZONED, "no endpoint is in the zone 'c'; zones of this fleet: a, b"),
        (("--zone", "a"), BARE, "zones of this fleet: none"),
        (("--zones", "2"), ZONED, "a policy has its own"),
    ):
        with pytest.raises(ValueError, match=says):
            made(*words, pool=pool)


def test_engines_that_keep_nothing() -> None:
    """Said to the engines, in the report and in its JSON."""
    arranged = made("--no-prefix-caching")
    assert arranged.profile == replace(named("h100-8b"), prefix_caching=False)
    assert fleet_words(read("--no-prefix-caching"), arranged).endswith(", no prefix caching")
    assert described(read("--no-prefix-caching"), arranged)["prefix_caching"] is False
    assert described(read(), made())["prefix_caching"] is True


def test_memory_that_holds_nothing_is_refused() -> None:
    """At least one block is left."""
    with pytest.raises(ValueError, match="memory × 1e-06 does not hold one block"):
        made("--kv", "0.000001")


@pytest.mark.parametrize(
    "words",
    [
        "--scrape-ms 0", "--scrape-ms inf", "--scrape-ms nan", "--first-tokens x", "--network-ms -1", "--estimate 0",
        "--kv never", "--give-up 0", "--abort 1.1", "--abort -0.1", "--zones 0", "--zone-ms inf",
    ],
)  # fmt: skip
def test_wrong_numbers_are_usage_errors(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 64, with the word that is wrong."""
    with pytest.raises(SystemExit) as ended:
        main(["replay", "generate:chat", *words.split()])
    assert ended.value.code == EX_USAGE
    assert words.split()[0] in capsys.readouterr().err


def _results(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    assert main(["replay", "generate:chat", "--requests", "120", "--rate", "4", *words, "--output", "json"]) == 0
    results: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["results"]
    return results


SMALL = ("--profile", "demo", "--engines", "2", "--strategies", "least-request")


def test_clients_go_away(capsys: pytest.CaptureFixture[str]) -> None:
    """Those who give up and those who leave in mid-answer are counted apart, in JSON and in the table."""
    (patient,) = _results(capsys, *SMALL)
    (hasty,) = _results(capsys, *SMALL, "--give-up", "0.5", "--abort", "0.3")
    assert (patient["aborted"], hasty["failed"], hasty["shed"]) == (0, 0, 0)
    assert 20 < hasty["aborted"] < 120
    assert hasty["ttft_ms"]["p99"] <= 500
    assert main(["replay", "generate:chat", "--requests", "120", "--rate", "4", *SMALL, "--give-up", "0.5"]) == 0
    assert "aborted" in capsys.readouterr().out
    assert main(["replay", "generate:chat", "--requests", "20", *SMALL]) == 0
    assert "aborted" not in capsys.readouterr().out


def test_a_policys_near_zone_is_preferred(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With routers in zone a, all requests go to its one endpoint."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    words = ("--profile", "demo", "--strategies", "least-request", "--policy", str(policy))
    (anywhere,), (near,) = _results(capsys, *words), _results(capsys, *words, "--zone", "a")
    assert anywhere["imbalance"] < 1.5
    assert near["imbalance"] == 2.0


def test_engines_like_llamacpps_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    """By name, as any other profile; what it cannot hold fails."""
    words = ("--engines", "4", "--strategies", "round-robin", "--profile", "llamacpp-7b")
    assert {result["failed"] for result in _results(capsys, *words)} == {0}
    assert _results(capsys, *words, "--kv", "0.1")[0]["failed"] > 0


def test_a_large_fleet_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """As many engines as an arrangement may have, and not one more."""
    assert made("--engines", str(MAX_ENGINES)).engines == MAX_ENGINES == setup.MAX_ENGINES
    with pytest.raises(SystemExit):
        read("--engines", str(MAX_ENGINES + 1))
    assert f"from 1 to {MAX_ENGINES}" in capsys.readouterr().err


def test_the_report_says_what_goes_wrong() -> None:
    """Faults and limits of tries are in the head of the tables: without them nobody could tell two reports apart."""
    words = ("--fault", "crash:1@5", "--fault", "slow:2:2@1..2.5", "--first-byte-s", "3")
    said = fleet_words(read(*words), made(*words))
    assert said.endswith("a try's first token within 3 s, faults: crash:1@5 slow:2:2@1..2.5")
    assert "fault" not in fleet_words(read(), made())
