"""Rules about how the picker chooses."""

from control_plane.policy.codes import Code
from control_plane.policy.declare import yaml_key
from control_plane.policy.diagnostics import quoted
from control_plane.policy.model import Pool
from control_plane.policy.reader import BlockRule, Reader
from control_plane.policy.strategies import (
    STRATEGIES,
    GpuMemoryStrategy,
    PickerFilter,
    PoolPicker,
    SessionStrategy,
    WeightedStrategy,
    known_strategies,
)

_WITH_PARAMETERS = ("kv-aware", "weighted", "queue-depth", "gpu-memory", "session")


def _own_strategy(picker: PoolPicker, path: str, reader: Reader) -> None:
    """A strategy of the user's own is made once, to see whether it can be."""
    own = {key: name for key, name in _strategies(picker).items() if name not in STRATEGIES}
    if picker.parameters and not own:
        _no_effect(f"{path}.parameters", f"`parameters` does nothing with {_named(picker)}", reader)
    for key, name in own.items():
        problem = reader.own_strategies.problem(name, picker.own_parameters)
        if problem:
            message = f"the strategy `{name}` cannot be made: {problem}"
            hint = f"there are {', '.join(known_strategies(reader))}"
            reader.report_at(f"{path}.{key}", Code.OWN_STRATEGY, message, hint)


def _shadow_of_itself(picker: PoolPicker, path: str, reader: Reader) -> None:
    if picker.shadow == picker.strategy:
        _no_effect(f"{path}.shadow", f"`{picker.shadow}` decides already, and would always agree with itself", reader)


def _strategies(picker: PoolPicker) -> dict[str, str]:
    """Key of the policy → the strategy that it names."""
    return dict(zip(("strategy", "shadow"), picker.strategies, strict=False))


def _named(picker: PoolPicker) -> str:
    return " and ".join(f"`{name}`" for name in dict.fromkeys(picker.strategies))


def _filter(filter_: PickerFilter, path: str, reader: Reader) -> None:
    least, most = filter_.min_prompt_tokens, filter_.max_prompt_tokens
    if most is not None and most < least:
        message = "`maxPromptTokens` is less than `minPromptTokens`: no prompt is both"
        reader.report_at(f"{path}.maxPromptTokens", Code.CONTRADICTION, message, "make it at least as large")
    if not filter_.puts_anybody_first:
        message = "this filter puts nobody first"
        hint = "add `labels`, `zone`, `adapterLoaded: true`, `modelLoaded: true` or `batch`, or remove it"
        reader.report_at(path, Code.NO_EFFECT, message, hint)


def _labels_of_nobody(pool: Pool, path: str, reader: Reader) -> None:
    if pool.discovered:
        return  # they may have them
    for index, filter_ in enumerate(pool.picker.filters):
        if not any(filter_.labels.items() <= endpoint.labels.items() for endpoint in pool.static_endpoints):
            message = f"no endpoint of {quoted(pool.name)} has these labels"
            _no_effect(f"{path}.picker.filters[{index}].labels", message, reader)
        if filter_.zone and filter_.zone not in {endpoint.zone for endpoint in pool.static_endpoints}:
            message = f"no endpoint of {quoted(pool.name)} is in this zone"
            _no_effect(f"{path}.picker.filters[{index}].zone", message, reader)


def _unused_parameters(picker: PoolPicker, path: str, reader: Reader) -> None:
    for name in _WITH_PARAMETERS:
        key = yaml_key(name.replace("-", "_"))
        if name == "session" and picker.asks_for_sessions:
            _only_the_key(picker, f"{path}.session", reader)
            continue
        if name not in picker.strategies and f"{path}.{key}" in reader.marks:
            _no_effect(f"{path}.{key}", f"`{key}` does nothing with {_named(picker)}", reader)


def _nearest_first_anyway(pool: Pool, path: str, reader: Reader) -> None:
    """Where levels of localities are kept to, all endpoints between which is chosen are equally far."""
    locality = pool.traffic_policy.load_balancer.locality_lb_setting
    if not locality.enabled or locality.has_shares:
        return
    for key in ("otherZoneCost", "otherRegionCost"):
        written = f"{path}.picker.kvAware.{key}"
        if written in reader.marks:
            _no_effect(written, f"`{key}` does nothing beside `localityLbSetting`: who is nearest comes first", reader)


def _only_the_key(picker: PoolPicker, path: str, reader: Reader) -> None:
    """`kv-aware` takes the key of `session`, and has a bound of its own."""
    if "session" not in picker.strategies and f"{path}.hashBalanceFactor" in reader.marks:
        message = "`hashBalanceFactor` does nothing with `kv-aware`, whose bound is `sessionBound`"
        _no_effect(f"{path}.hashBalanceFactor", message, reader)


def _one_key(session: SessionStrategy, path: str, reader: Reader) -> None:
    given = [key for key in ("httpHeaderName", "httpCookieName", "useUser") if f"{path}.{key}" in reader.marks]
    if len(given) > 1:
        last = max(given, key=lambda key: (reader.marks[f"{path}.{key}"].line, reader.marks[f"{path}.{key}"].column))
        other = next(key for key in given if key != last)
        message = f"`{last}` beside `{other}`: a session has one key"
        reader.report_at(f"{path}.{last}", Code.EXCLUSIVE_KEYS, message, "keep one of them")


def _no_errors_at_all(weighted: WeightedStrategy, path: str, reader: Reader) -> None:
    _not_zero(weighted.error_limit, f"{path}.errorLimit", reader)


def _no_memory_at_all(memory: GpuMemoryStrategy, path: str, reader: Reader) -> None:
    _not_zero(memory.maximum_usage, f"{path}.maximumUsage", reader)


def _not_zero(percent: int, path: str, reader: Reader) -> None:
    if percent == 0:
        reader.report_at(path, Code.OUT_OF_BOUNDS, "0 % is not in 1..100: no endpoint is below it")


def _no_effect(path: str, message: str, reader: Reader) -> None:
    reader.report_at(path, Code.NO_EFFECT, message, "remove it")


PICKER_RULES: dict[type, tuple[BlockRule, ...]] = {
    PoolPicker: (_own_strategy, _unused_parameters, _shadow_of_itself),
    SessionStrategy: (_one_key,),
    WeightedStrategy: (_no_errors_at_all,),
    PickerFilter: (_filter,),
    Pool: (_labels_of_nobody, _nearest_first_anyway),
    GpuMemoryStrategy: (_no_memory_at_all,),
}
"""Kind of block → rules about one such block."""
