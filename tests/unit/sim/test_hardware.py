"""Profiles of real accelerators: what follows from the public numbers, and that it is near what is known."""

import pytest

from sim.engine import Finished, FirstToken, Request
from sim.hardware import A100, H20, H100, L4, LLAMA_8B, LLAMA_70B, LLAMACPP_7B, PROFILES, named, roofline
from sim.slots import SlotEngine
from sim.virtual.pod import Pod


def test_constants_follow_from_the_public_numbers() -> None:
    """The arithmetic of the module's table, done by hand for one H100 and the 8B model."""
    profile = roofline(H100, LLAMA_8B)
    assert LLAMA_8B.kv_bytes == 2 * 32 * 8 * 128 * 2 == 131_072
    assert LLAMA_8B.layer_flops == pytest.approx(13.96e9, rel=0.001)
    assert profile.prefill_tokens_per_s == pytest.approx(989.5e12 * 0.5 / 13.96e9, rel=0.001)
    assert profile.attention_ns_per_pair == pytest.approx(4 * 32 * 4096 / (989.5e12 * 0.5) * 1e9, rel=0.001)
    assert profile.step_base_ms == pytest.approx(15.01e9 / (3350e9 * 0.75) * 1e3 + 1, rel=0.001)
    assert profile.kv_read_ns_per_token == round(131_072 / (3350e9 * 0.75) * 1e9)
    assert profile.kv_tokens == pytest.approx((80e9 * 0.9 - 2e9 - 16.06e9) / 131_072, rel=0.001)


def test_four_gpus_share_the_weights_and_pay_for_the_exchange() -> None:
    """Per step 2 all-reduces for each of 80 layers; memory that one GPU lacks for 70B is there on four."""
    profile = roofline(H100, LLAMA_70B, 4)
    weights = (70.55e9 - 128_256 * 8192) * 2
    assert profile.step_base_ms == pytest.approx(weights / (4 * 3350e9 * 0.75) * 1e3 + 1 + 1.6, rel=0.001)
    assert profile.kv_tokens > 400_000


def test_what_does_not_fit_is_refused() -> None:
    """70B in BF16 needs 141 GB."""
    with pytest.raises(ValueError, match="70b does not fit into 1 × h100"):
        roofline(H100, LLAMA_70B)
    with pytest.raises(ValueError, match="2 × l4"):
        roofline(L4, LLAMA_70B, 2)


def test_profiles_differ_as_the_hardware_does() -> None:
    """H20 has the least compute for its bandwidth: slow prefill, fast decode; L4 is slow in both."""
    h100, a100, h20, l4 = (roofline(gpu, LLAMA_8B) for gpu in (H100, A100, H20, L4))
    assert h100.prefill_s(8_000) < a100.prefill_s(8_000) < h20.prefill_s(8_000) < l4.prefill_s(8_000)
    assert h20.step_base_ms < h100.step_base_ms < a100.step_base_ms < l4.step_base_ms


# Of the sample in llama.cpp's examples/batched-bench/README.md: requests at a time, seconds for their prompts of 128
# tokens, seconds for their answers of 128 tokens.
BATCHED_BENCH = ((1, 0.108, 3.079), (2, 0.198, 5.029), (4, 0.373, 6.878))


@pytest.mark.parametrize(("count", "prompts_s", "answers_s"), BATCHED_BENCH)
def test_llamacpp_is_as_fast_as_it_was_measured(count: int, prompts_s: float, answers_s: float) -> None:
    """Requests at one time, to 10 %: the decode steps of one and of two lie to both sides of the line."""
    engine = SlotEngine(LLAMACPP_7B, tokens=False)
    engine.submit(Request("before", (), 1, 1), now=0.0)  # so that all of the others begin with the next step
    for number in range(count):
        engine.submit(Request(str(number), (), 128, 129), now=0.0)
    events = engine.advance(1e4)
    began = events[0].at
    (first,) = {e.at for e in events if isinstance(e, FirstToken) and e.id != "before"}
    ended = max(e.at for e in events if isinstance(e, Finished))
    assert first - began == pytest.approx(prompts_s, rel=0.1)
    assert ended - first == pytest.approx(answers_s, rel=0.1)


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_serves(name: str) -> None:
    """A prompt of 20,000 tokens ends; its first token comes when `prefill_s` says, but for the KV that decodes read."""
    profile = named(name)
    engine = Pod("a", profile).engine
    engine.submit(Request("r", (), 20_000, 3), now=0.0)
    events = engine.advance(1e4)
    assert events[0].at == pytest.approx(profile.prefill_s(20_000), rel=1e-6)
    assert isinstance(events[-1], Finished)


def test_an_unknown_name_lists_the_known_ones() -> None:
    """What was meant is most likely among them."""
    with pytest.raises(ValueError, match="no profile 'b200'; there are demo, h100-8b, h100x4-70b"):
        named("b200")
