"""Rules about tokens of prompts, and about pools that want to compare them to their engines' events."""

from collections.abc import Iterator

from control_plane.policy.checks_kv_events import TELLING
from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.model import Model, Policy, Pool
from control_plane.policy.reader import BlockRule, Reader
from control_plane.policy.tokenizers import APPROXIMATE, AUTO, BY_ENGINE, BY_FILE, PRECISE, Tokenizer
from ext_proc.tokens.asked import ASKABLE

_FILES = ("file", "config", "chatTemplate")
_GIVE_ONE = "give the model a `tokenizer`"


def _files_and_engines(tokenizer: Tokenizer, path: str, reader: Reader) -> None:
    if tokenizer.from_ == BY_ENGINE:
        reader.report_idle(path, _FILES, "engines are asked: `{key}` does nothing")
    elif not tokenizer.file and f"{path}.file" not in reader.marks:
        message = "a tokenizer needs its file"
        reader.report_at(path, Code.MISSING_KEY, message, "`file: tokenizer.json`, or `from: engine`")
    if tokenizer.from_ == BY_FILE and tokenizer.chat_template and not tokenizer.config:
        # Not all templates print special tokens, but those that do would print nothing instead.
        message = "without `config` the chat template does not know `bos_token` and the like"
        reader.report_at(f"{path}.chatTemplate", Code.NO_TOKENS, message, "add `config: tokenizer_config.json`")


def _precise_without_events(pool: Pool, path: str, reader: Reader) -> None:
    if pool.prefix_index.mode == PRECISE and pool.kv_events is None and f"{path}.kvEvents" not in reader.marks:
        message = "`precise` needs the engines' events, and the pool has no `kvEvents`"
        reader.report_at(f"{path}.prefixIndex.mode", Code.CONTRADICTION, message, "add `kvEvents`, or use `auto`")


def _approximate_without_events(pool: Pool, path: str, reader: Reader) -> None:
    if pool.prefix_index.mode == APPROXIMATE and pool.kv_events is None:
        message = "without `kvEvents` the index is approximate anyway"
        reader.report_at(f"{path}.prefixIndex.mode", Code.NO_EFFECT, message, "remove it")


def check_precise_models(reader: Reader) -> None:
    """A precise pool needs the tokens of every model that leads to it."""
    pools = {pool.name: pool for _, pool in reader.built if isinstance(pool, Pool)}
    for path, model in reader.built:
        if not isinstance(model, Model) or model.tokenizer is not None or f"{path}.tokenizer" in reader.marks:
            continue
        for target in model.targets:
            pool = pools.get(target.pool)
            if pool is not None and pool.prefix_index.mode == PRECISE:
                message = f"the pool {quoted(pool.name)} is `precise`, and {quoted(model.name)} has no `tokenizer`"
                reader.report_at(path, Code.CONTRADICTION, message, f"{_GIVE_ONE}, or use `mode: {AUTO}`")
                break


def check_tokens(policy: Policy, reader: Reader) -> None:
    """What stays approximate although it need not, and engines that cannot be asked."""
    for pool in policy.pools:
        models = policy.models_of(pool.name)
        lacking = [model for model in models if model.tokenizer is None]
        listens = pool.kv_events is not None and pool.engine in TELLING
        if listens and pool.prefix_index.mode == AUTO and lacking:
            message = f"the prompts of {quoted(lacking[0].name)} are not tokenised: events tell of restarts only"
            hint = f"{_GIVE_ONE}, or write `prefixIndex: {{mode: {APPROXIMATE}}}`"
            reader.report_at(f"pools.{pool.name}.kvEvents", Code.NO_TOKENS, message, hint)
        for model in _asking(models):
            if pool.engine not in ASKABLE:
                message = f"{quoted(pool.engine)} cannot be asked for tokens: prompts go by their text"
                reader.report_at(f"models.{model.name}.tokenizer.from", Code.NO_TOKENS, message, "name files instead")


def _asking(models: tuple[Model, ...]) -> Iterator[Model]:
    return (model for model in models if model.tokenizer is not None and model.tokenizer.from_ == BY_ENGINE)


TOKENIZER_RULES: dict[type, tuple[BlockRule, ...]] = {
    Tokenizer: (_files_and_engines,),
    Pool: (_precise_without_events, _approximate_without_events),
}
