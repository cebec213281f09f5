"""Several files as one policy: their top-level sections put together, every value still knowing its file.

Lists and mappings of one section are joined in the order of the files, so that names are unique over all of them and a
key that two files set in one block is reported as the double that it is. `kvpilot: v1` stands in each file.
"""

from collections.abc import Sequence as SequenceOf

from control_plane.policy.codes import Code
from control_plane.policy.declare import settings_of
from control_plane.policy.kinds import shape_error
from control_plane.policy.model import FORMAT, Policy
from control_plane.policy.nodes import Mapping, Node, Scalar, Sequence
from control_plane.policy.reader import Reader, RefusedError

FORMAT_KEY = "kvpilot"

_FORMAT_KIND = next(setting.kind for setting in settings_of(Policy) if setting.key == FORMAT_KEY)


def merged(roots: SequenceOf[Node], reader: Reader) -> Mapping | None:
    """One tree of the files' trees; what is wrong with the files' own form goes to the reader. None for no mapping."""
    whole = [root for root in roots if isinstance(root, Mapping)]
    for root in roots:
        if not isinstance(root, Mapping):
            shape_error(reader, root, "a mapping", f"start with `{FORMAT_KEY}: {FORMAT}`")
    if not whole:
        return None
    result = Mapping(whole[0].line, whole[0].column, file=whole[0].file, pairs=list(whole[0].pairs))
    for root in whole[1:]:
        _check_format(root, reader)
        _add(result, root)
    return result


def _check_format(root: Mapping, reader: Reader) -> None:
    """Each file says which format it has: it may be read alone, or by a later version."""
    found = next((value for key, value in root.pairs if isinstance(key, Scalar) and key.text == FORMAT_KEY), None)
    if found is None:
        message = f"`{FORMAT_KEY}` is missing"
        reader.report(root, Code.MISSING_KEY, message, f"every file starts with `{FORMAT_KEY}: {FORMAT}`")
        return
    try:
        _FORMAT_KIND.read(reader, found, FORMAT_KEY)
    except RefusedError:
        pass  # the finding is with the reader


def _add(result: Mapping, root: Mapping) -> None:
    """Joins the sections of `root` to those of `result`; a key that is twice in one file stays a double."""
    places = {key.text: index for index, (key, _) in reversed(list(enumerate(result.pairs))) if isinstance(key, Scalar)}
    taken: set[str] = set()
    for key, value in root.pairs:
        name = key.text if isinstance(key, Scalar) else ""
        if name == FORMAT_KEY and name not in taken:
            taken.add(name)  # judged above
            continue
        if name in places and name not in taken:
            index = places[name]
            joined = _joined(result.pairs[index][1], value)
            if joined is not None:
                result.pairs[index] = (result.pairs[index][0], joined)
                taken.add(name)
                continue
        taken.add(name)
        result.pairs.append((key, value))


def _joined(one: Node, other: Node) -> Node | None:
    """Two lists or two mappings as one, at the place of the first; None for what cannot be joined."""
    if isinstance(one, Sequence) and isinstance(other, Sequence):
        return Sequence(one.line, one.column, file=one.file, items=[*one.items, *other.items])
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return Mapping(one.line, one.column, file=one.file, pairs=[*one.pairs, *other.pairs])
    return None
