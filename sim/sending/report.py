"""What a live run looks like: JSON values, and lines for eyes.

Pure. `results` has one entry with the names that a virtual run's has, so that programs read both alike.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table

from sim.sending.outcomes import PUNCTUAL_S, STRATEGY, Run, lateness, numbers, reasons, sending
from sim.sending.plan import Bounds
from sim.sending.prompts import Sizing
from sim.traces.summary import Summary
from sim.virtual.metrics import Slo

_DIGITS: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """To whom it was sent, and how."""

    url: str
    api: str
    rate: float
    bounds: Bounds
    salt: str
    sizes: Mapping[str, Sizing]
    """Of each model that was asked."""

    slo: Slo


def as_json(trace: Summary, setting: Setting, run: Run) -> dict[str, Any]:
    """The report as JSON values."""
    bounds = setting.bounds
    return {
        "trace": _rounded(asdict(trace)),
        "setup": {
            "url": setting.url,
            "api": setting.api,
            "max_rate": bounds.max_rate,
            "duration_s": bounds.duration_s,
            "max_in_flight": bounds.max_in_flight,
            "timeout_s": bounds.timeout_s,
            "salt": setting.salt,
            "slo": {"ttft_ms": round(setting.slo.ttft_s * 1e3, 3), "tpot_ms": round(setting.slo.tpot_s * 1e3, 3)},
        },
        "sizes": {model: asdict(found) for model, found in setting.sizes.items()},
        "sending": sending(run),
        "errors": reasons(run),
        "results": [
            {
                "strategy": STRATEGY,
                "kind": STRATEGY,
                "rate": setting.rate,
                "seed": 1,
                "load": None,
                **numbers(run, setting.slo),
            }
        ],
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, _DIGITS) if isinstance(value, float) else value


def target(setting: Setting) -> list[str]:
    """To whom it is sent, and what is known of the endpoint's tokens."""
    return [f"target    {setting.url}, salt {setting.salt}"] + [
        f"model     {model}: {sizing.tokens_per_word:.2f} tokens a word, {sizing.overhead_tokens} around them"
        + ("" if sizing.is_measured else " (ASSUMED: its usage could not be read)")
        for model, sizing in setting.sizes.items()
    ]


def lines(run: Run) -> list[str]:
    """How it was sent and what failed: lines of a word and its text."""
    told, late = sending(run), lateness(run)
    late_words = f"late {late['mean']:,.1f} ms in the mean, p99 {late['p99']:,.1f}, most {late['most']:,.1f}"
    found = [
        f"sent      {told['sent']:,} of {told['planned']:,}, {late_words}; at most {run.in_flight_most} in flight",
        f"answered  {run.answered:,} in full"
        + (f" ({run.empty:,} empty)" if run.empty else "")
        + "".join(f"; {n:,} × {why}" for why, n in reasons(run).items()),
    ]
    if told["prompt_tokens_share"] is not None:
        found.append(f"prompts   {told['prompt_tokens_share']:.1%} of the trace's tokens, as the endpoint counted them")
    found += [f"          {text}" for text in _warnings(run, late["p99"])]
    return found


def _warnings(run: Run, late_p99_ms: float) -> list[str]:
    found = []
    if run.is_interrupted:
        found.append(f"stopped before the end; {run.unfinished:,} requests on their way were given up")
    if run.waited:
        found.append(f"NOT OPEN LOOP: {run.waited:,} requests waited for a place, --max-in-flight was reached")
    if late_p99_ms > PUNCTUAL_S * 1e3:
        found.append("NOT ON TIME: this client was too slow or too busy; the load was lighter than the trace's")
    if run.sent and not run.is_cached_told:
        found.append(
            "the endpoint tells no cached tokens (vLLM: --enable-prompt-tokens-details, SGLang: --enable-cache-report)"
        )
    return found


def table(run: Run, slo: Slo) -> Table:
    """The numbers."""
    values = numbers(run, slo)
    made = Table(
        title=f"SLO ttft={slo.ttft_s:g}s,tpot={slo.tpot_s * 1e3:g}ms",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for name in ("", "mean", "p50", "p90", "p99"):
        made.add_column(name, justify="right" if name else "left")
    for name, key in (("TTFT ms", "ttft_ms"), ("TPOT ms", "tpot_ms"), ("end to end ms", "e2e_ms")):
        made.add_row(name, *(_number(values[key][column]) for column in ("mean", "p50", "p90", "p99")))
    made.add_row("cached", _share(values["cached_share"]))
    made.add_row("uneven", "–" if values["imbalance"] is None else f"{values['imbalance']:.2f}")
    made.add_row("in SLO", _share(values["good_share"]))
    made.add_row("in SLO/s", f"{values['goodput']:.2f}")
    return made


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
