"""`kvpilot check`: the files that a policy names, as they are on this machine.

Only where at least one of them is here: elsewhere, in a repository's CI for instance, that they are missing says
nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from control_plane.policy import Diagnostic, Document, LoadResult
from control_plane.policy.codes import Code
from control_plane.policy.named_files import named_files


def with_file_findings(policy: Path, result: LoadResult) -> LoadResult:
    """`result` with a warning for each named file that kvpilot could not use here; `policy` is where it stands."""
    if result.document is None:
        return result
    base = policy if policy.is_dir() else policy.parent
    found = _findings(result.document, base) if named_files(result.document.policy) else ()
    return replace(result, diagnostics=(*result.diagnostics, *found, *_of_tokenizers(result.document, base)))


def _findings(document: Document, base: Path) -> tuple[Diagnostic, ...]:
    from control_plane.sidecar.certificates import CertificateFiles  # takes longer to load than most policies to check

    files = CertificateFiles(base, is_quiet=True)
    files.apply(document.policy)
    rows = files.status()
    if not any(_is_there(base / file) for row in rows for file in row["files"]):
        return ()
    return tuple(_finding(document, row) for row in rows if row["error"])


def _of_tokenizers(document: Document, base: Path) -> Iterator[Diagnostic]:
    """The same for tokenizers and chat templates; the place is the key of the file."""
    for model in document.policy.models:
        tokenizer = model.tokenizer
        if tokenizer is None or not any(_is_there(base / path) for _, path in tokenizer.files):
            continue
        from control_plane.sidecar.tokenizer_files import load

        loaded = load(base, tokenizer)
        if loaded.fault:
            path = f"models.{model.name}.tokenizer.{loaded.which}"
            yield document.finding(path, Code.UNUSABLE_FILE, loaded.fault, "prompts go by their text until it is good")
        elif loaded.model is not None and not loaded.model.templates:
            message = "there is no chat template in these files: chats go by their text"
            path = f"models.{model.name}.tokenizer"
            yield document.finding(path, Code.NO_TOKENS, message, "add `chatTemplate: chat_template.jinja`")


def _is_there(path: Path) -> bool:
    """A path that cannot be one, or leads through a directory that is closed to us, leads to nothing."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _finding(document: Document, row: Mapping[str, Any]) -> Diagnostic:
    hint = "what needs it waits until it is there"
    return document.finding(row["policy"], Code.UNUSABLE_FILE, row["error"], hint)
