"""What a start begins with, from what the file says and what the history has of it."""

from pathlib import Path

import pytest

from control_plane.policy import Document
from control_plane.sidecar.history import History
from control_plane.sidecar.policy_source import Files, PolicySource
from control_plane.sidecar.reading import read
from control_plane.sidecar.start import Beginning, begin
from protos.messages import load as load_messages
from tests.unit.control_plane.sidecar.in_process import FIRST, SECOND, THIRD, policy_text

CANARY = "groups: [{name: canary, appliesTo: {nodeId: {prefix: canary-}}, rollout: first}]\n"
BROKEN = "kvpilot: v1\nnonsense: 1\n"


class Place:
    """A policy file and its history on the disk."""

    def __init__(self, directory: Path, text: str | None) -> None:
        self.path = directory / "policy.yaml"
        if text is not None:
            self.path.write_text(text)
        self.history = History(directory / "history")

    def files(self, text: str) -> Files:
        """The policy as it would be read."""
        return ((str(self.path), text.encode()),)

    def document(self, text: str) -> Document:
        """The same, checked."""
        document, findings = read(self.files(text), load_messages())
        assert document is not None, findings
        return document

    def had(self, text: str, state: str = "applied", *, accepted: bool = False) -> str:
        """An earlier process served it; its version."""
        version = self.document(text).version
        self.history.record(version, self.files(text), state, 0.0)
        self.history.mark(version, accepted=accepted)
        self.history.write(self.history.pending())
        return version

    def begin(self) -> Beginning:
        """A new process."""
        return begin(PolicySource(self.path), History(self.history.directory), load_messages())


def served(found: Beginning) -> str:
    """The version that it begins with."""
    assert found.document is not None
    assert found.state.version == found.document.version
    return found.document.version


def test_a_good_file(tmp_path: Path) -> None:
    """Nothing is known of it, and nothing need be."""
    place = Place(tmp_path, policy_text(FIRST))
    found = place.begin()
    assert served(found) == place.document(policy_text(FIRST)).version
    assert (found.state.state, found.state.source, found.newer, found.accepted) == ("applied", "file", None, None)
    assert found.files == place.files(policy_text(FIRST))


@pytest.mark.parametrize("text", [BROKEN, None, ""])
def test_a_bad_file(tmp_path: Path, text: str | None) -> None:
    """The newest of the good ones, not one that was rolled back or never got over the first groups; why is told."""
    place = Place(tmp_path, text)
    good = place.had(policy_text(FIRST))
    place.had(policy_text(SECOND), "rolled-back")
    place.had(policy_text(THIRD), "rolling-out")
    found = place.begin()
    assert served(found) == good
    assert (found.state.state, found.state.source) == ("rejected", "last-good")
    assert found.state.error or found.diagnostics


def test_a_bad_file_and_nothing_else(tmp_path: Path) -> None:
    """There is nothing to serve, and both kinds of reasons are there."""
    assert Place(tmp_path, BROKEN).begin().diagnostics
    (tmp_path / "empty").mkdir()
    found = Place(tmp_path / "empty", None).begin()
    assert found.document is None
    assert "No such file" in found.error


def test_what_was_rolled_back_stays_so(tmp_path: Path) -> None:
    """A restart does not bring it back; without a good one before it there is no choice."""
    place = Place(tmp_path, policy_text(SECOND))
    place.had(policy_text(SECOND), "rolled-back")
    assert served(place.begin()) == place.document(policy_text(SECOND)).version
    good = place.had(policy_text(FIRST))
    found = place.begin()
    assert served(found) == good
    assert found.state.state == "rolled-back"
    assert "reload --force" in found.state.error


def test_a_version_that_no_longer_loads(tmp_path: Path) -> None:
    """It is passed over for an older one that does."""
    place = Place(tmp_path, BROKEN)
    good = place.had(policy_text(FIRST))
    place.history.record("from another kvpilot", place.files("kvpilot: v0\n"), "applied", 1.0)
    place.history.write(place.history.pending())
    assert served(place.begin()) == good


def test_with_groups_that_go_first(tmp_path: Path) -> None:
    """An edit that nobody has seen yet, or that was under way, comes as an edit of the last good one."""
    text = policy_text(SECOND) + CANARY
    place = Place(tmp_path, text)
    good = place.had(policy_text(FIRST))
    for state in ("", "rolling-out"):
        if state:
            place.had(text, state)
        found = place.begin()
        assert served(found) == good
        assert found.newer == place.files(text)
    place.had(text)
    found = place.begin()
    assert served(found) == place.document(text).version
    assert found.newer is None


def test_what_envoys_had_accepted(tmp_path: Path) -> None:
    """It is there to be served in place of what they refuse, unless it is the same anyway."""
    place = Place(tmp_path, policy_text(SECOND))
    good = place.had(policy_text(FIRST), accepted=True)
    place.had(policy_text(SECOND))
    accepted = place.begin().accepted
    assert accepted is not None
    assert accepted.version == good
    place.had(policy_text(SECOND), accepted=True)
    assert place.begin().accepted is None
