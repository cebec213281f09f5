"""All adapters, by the engine's name in the policy, and which one a page is from. Pure."""

from collections.abc import Mapping
from typing import Final

from ext_proc.signals.engines.adapter import Adapter, Page, Read
from ext_proc.signals.engines.custom import CUSTOM, custom_adapter
from ext_proc.signals.engines.dynamo import DYNAMO
from ext_proc.signals.engines.json_pages import json_of
from ext_proc.signals.engines.llamacpp import LLAMACPP, read_slots
from ext_proc.signals.engines.lmdeploy import LMDEPLOY
from ext_proc.signals.engines.sglang import SGLANG, read_loads
from ext_proc.signals.engines.tgi import TGI
from ext_proc.signals.engines.triton import TRITON
from ext_proc.signals.engines.trtllm import TRTLLM, read_iterations
from ext_proc.signals.engines.vllm import VLLM

ADAPTERS: Final[Mapping[str, Adapter]] = {
    adapter.engine: adapter for adapter in (VLLM, SGLANG, TRTLLM, TRITON, LLAMACPP, TGI, LMDEPLOY, DYNAMO)
}


def adapter_of(engine: str, metrics: Mapping[str, str] | None = None, path: str = "") -> Adapter | None:
    """The adapter for an engine whose numbers are on `path` instead of where it usually has them.

    None for an engine that is not known, and for a custom one without names. Raises ValueError for names that are none.
    """
    if engine == CUSTOM:
        return custom_adapter(metrics or {}, path or "/metrics") if metrics else None
    adapter = ADAPTERS.get(engine)
    if adapter is None or not path:
        return adapter
    return Adapter(
        engine=adapter.engine,
        title=adapter.title,
        pages=(Page(path=path, read=reader_of(adapter, path)),),
        port=adapter.port,
        prefixes=adapter.prefixes,
        owner=adapter.owner,
        missing=adapter.missing,
    )


def reader_of(adapter: Adapter, path: str) -> Read:
    """How the engine's page of that path is read: as the engine has it, else like its first one."""
    if path in adapter.on_request:
        return adapter.on_request[path]
    bare = path.partition("?")[0]
    return next((page.read for page in adapter.pages if page.path.partition("?")[0] == bare), adapter.pages[0].read)


def recognised(body: bytes) -> tuple[Adapter, Read] | None:
    """Whose page it is, by the names on it; None for one that is nobody's."""
    for adapter in ADAPTERS.values():
        for prefix in adapter.prefixes:
            name = prefix.encode()
            if body.startswith((name, b'{"' + name)) or b"\n" + name in body or b'\n{"' + name in body:
                return adapter, reader_of(adapter, adapter.metrics_path)
    return _recognised_json(json_of(body))


def _recognised_json(value: object) -> tuple[Adapter, Read] | None:
    if isinstance(value, dict):
        return (SGLANG, read_loads) if isinstance(value.get("loads"), list) else None
    first = value[0] if isinstance(value, list) and value else None
    if not isinstance(first, dict):
        return None
    if "numActiveRequests" in first or "kvCacheStats" in first:
        return TRTLLM, read_iterations
    return (LLAMACPP, read_slots) if "n_ctx" in first else None
