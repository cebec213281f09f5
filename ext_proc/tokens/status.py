"""How a pool's prefix index is kept, in words for the operator. Pure."""

from typing import TYPE_CHECKING, Any, Final

from ext_proc.core.settings import PoolSettings

if TYPE_CHECKING:
    from ext_proc.tokens.counting import Counting

APPROXIMATE: Final = "approximate"
PRECISE: Final = "precise"


def prefix_status(pool: PoolSettings, counting: "Counting | None", telling: int) -> dict[str, Any]:
    """JSON values. `telling` of the pool's endpoints have told of their blocks themselves."""
    is_precise = pool.kv_events is not None and pool.kv_events.is_exact and telling > 0
    lacking = [model for model in pool.models if counting is None or not counting.prompts.is_ready(model)]
    return {
        "mode": pool.prefix_mode,
        "by": PRECISE if is_precise else APPROXIMATE,
        "blocks_of": "text" if lacking or not pool.models else "tokens",
        "telling": telling,
        "why": "" if is_precise and telling == len(pool.endpoints) else _why(pool, counting, lacking, telling),
    }


def _why(pool: PoolSettings, counting: "Counting | None", lacking: list[str], telling: int) -> str:
    """Why not all of it is precise."""
    if lacking:
        model = lacking[0]
        reason = "it has no `tokenizer`" if counting is None else counting.prompts.why_not(model)
        return f"the prompts of {model!r} are not tokenised: {reason}"
    if pool.kv_events is None:
        return "the pool has no `kvEvents`"
    if pool.prefix_mode == APPROXIMATE:
        return "the policy says so"
    if not pool.models:
        return "no model leads to it"
    return f"{telling} of {len(pool.endpoints)} endpoints have told of their blocks"
