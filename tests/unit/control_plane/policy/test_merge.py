"""Several files as one policy."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.policy import load, load_bytes, load_files
from tests.unit.control_plane.policy.samples import FULL, MINIMAL, place

LISTENERS = "kvpilot: v1\nlisteners: [{name: openai, address: 127.0.0.1:8080}]\n"
MODELS = "kvpilot: v1\nmodels: [{name: llama, pool: chat}]\n"
POOLS = "kvpilot: v1\npools: {chat: {endpoints: [{address: 10.0.0.1:8000}]}}\n"
MORE = "kvpilot: v1\nmodels: [{name: mixtral, pool: big}]\npools: {big: {endpoints: [{address: 10.0.0.2:8000}]}}\n"


def files(*texts: str) -> list[tuple[str, bytes]]:
    """Files a.yaml, b.yaml, … in order."""
    return [(f"{'abcdefgh'[number]}.yaml", text.encode()) for number, text in enumerate(texts)]


def found(*texts: str) -> list[str]:
    """All findings as `file:line:column code`."""
    return [f"{one.file}:{place(one)}" for one in load_files(files(*texts)).diagnostics]


def test_parts_make_a_whole() -> None:
    """Each file brings a part; lists come in the order of the files, and every mark has its own file."""
    document = load_files(files(LISTENERS, MORE, MODELS, POOLS)).document
    assert document is not None
    assert [model.name for model in document.policy.models] == ["mixtral", "llama"]
    assert [pool.name for pool in document.policy.pools] == ["big", "chat"]
    assert document.policy.listeners[0].default_pool == "big"
    assert str(document.mark("models.llama")) == "c.yaml:2:10"
    assert str(document.mark("pools.chat.endpoints[0].address")) == "d.yaml:2:38"
    assert str(document.mark("pools.big")) == "b.yaml:3:9"


def test_one_file_is_what_it_always_was() -> None:
    """A file alone has the same policy, marks and version, whichever way it is read."""
    alone = load(FULL, "x.yaml")
    assert load_files([("x.yaml", FULL.encode())]) == alone == load_bytes(FULL.encode(), "x.yaml")


def test_the_version_is_that_of_the_contents() -> None:
    """Names do not count, contents and their order do."""
    texts = (LISTENERS, MODELS, POOLS)
    one, renamed, edited = (
        load_files(named).document
        for named in (
            files(*texts),
            [(f"/else/{name}", data) for name, data in files(*texts)],
            files(LISTENERS, MODELS + "# a comment\n", POOLS),
        )
    )
    assert one is not None
    assert renamed is not None
    assert edited is not None
    assert one.version == renamed.version != edited.version


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((MINIMAL, MODELS), ["b.yaml:2:17 KP302"]),
        ((MINIMAL, POOLS), ["b.yaml:2:9 KP202"]),
        ((MINIMAL, POOLS.replace("chat", "spare")), ["b.yaml:2:9 KP901"]),
        ((MINIMAL, LISTENERS.replace("openai", "other")), ["b.yaml:2:36 KP306"]),
        ((MINIMAL, MODELS.replace("llama", "x").replace("chat", "none")), ["b.yaml:2:26 KP301"]),
        ((MINIMAL, "pools: {}\n"), ["b.yaml:1:1 KP203"]),
        ((MINIMAL, "kvpilot: v2\n"), ["b.yaml:1:10 KP216"]),
        ((MINIMAL, "kvpilot: v1\nkvpilot: v1\n"), ["b.yaml:2:1 KP202"]),
        ((MINIMAL, "kvpilot: v1\npools: []\n"), ["b.yaml:2:1 KP202"]),
        ((MINIMAL, "kvpilot: v1\nextra: 1\n"), ["b.yaml:2:1 KP201"]),
        ((MINIMAL, "# nothing\n"), ["b.yaml:1:1 KP105"]),
        ((MINIMAL, "- a\n"), ["b.yaml:1:1 KP204"]),
        (("- a\n", "b\n"), ["a.yaml:1:1 KP204", "b.yaml:1:1 KP204"]),
        ((MODELS, "a: [\n", POOLS + "\t- x\n"), ["b.yaml:1:1 KP201", "b.yaml:1:4 KP103", "c.yaml:3:1 KP104"]),
        ((MODELS.replace("chat", "none"), LISTENERS.replace("8080", "0"), POOLS),
         ["a.yaml:2:30 KP301", "b.yaml:2:37 KP211"]),
        ((MINIMAL, "kvpilot: v1\npools: {b: {endpoints: *x}}\n"), ["b.yaml:2:24 KP110"]),
    ],
)  # fmt: skip
def test_findings_have_their_file(texts: tuple[str, ...], expected: list[str]) -> None:
    """All files' findings at once, each in its own file, in the order of the files."""
    assert found(*texts) == expected


def test_hints_name_the_other_file() -> None:
    """Where a hint points at the first of two, it says in which file that is."""
    (double,) = load_files(files(MINIMAL, MODELS)).diagnostics
    assert double.hint == "the first is in line 3 of a.yaml"
    (alone,) = load(MINIMAL.replace("pool: chat}", "pool: chat}, {name: llama, pool: chat}"), "a.yaml").diagnostics
    assert alone.hint == "the first is in line 3"


def test_bytes_that_are_no_text() -> None:
    """A file that is not UTF-8 is named; the others need not be looked at."""
    result = load_files([("a.yaml", MINIMAL.encode()), ("b.yaml", b"kvpilot: \xff\n")])
    assert [f"{one.file}:{place(one)}" for one in result.diagnostics] == ["b.yaml:1:10 KP101"]


def test_no_file_at_all() -> None:
    """Nothing is not a policy."""
    assert [one.code for one in load_files([]).diagnostics] == ["KP105"]


SECTIONS = re.split(r"(?m)^(?=\w)", FULL.removeprefix("kvpilot: v1\n"))[1:]
"""The top-level sections of the full sample."""


@given(st.lists(st.sampled_from(SECTIONS), min_size=len(SECTIONS), max_size=len(SECTIONS), unique=True), st.data())
def test_a_policy_may_be_cut_anywhere_between_its_sections(sections: list[str], data: st.DataObject) -> None:
    """Whatever file a section stands in, and in whatever order, the policy is the same."""
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sections) - 1))))
    parts = [sections[start:end] for start, end in zip([0, *cuts], [*cuts, len(sections)], strict=True)]
    found = load_files(files(*("kvpilot: v1\n" + "".join(part) for part in parts)))
    whole = load(FULL, "x.yaml").document
    assert found.document is not None
    assert whole is not None
    assert found.document.policy == whole.policy
    assert found.document.marks.keys() == whole.marks.keys()
