"""The contents of files that a policy names: certificates, private keys, JWK sets.

The compiler reads nothing itself, so what it puts into Envoy's secrets is handed in. A file that is missing here is a
secret that does not exist yet: Envoy brings the listener or the connection up once it comes.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from control_plane.policy.loader import VERSION_DIGITS


@dataclass(frozen=True, slots=True)
class Materials:
    """Files by their path as the policy writes it, in order of the paths. Hashable, and equal for equal contents.

    A certificate and its key are both here or both missing; who fills this takes care of that.
    """

    files: tuple[tuple[str, bytes], ...] = ()

    def get(self, path: str) -> bytes | None:
        """The content of a file; None where it is missing."""
        return next((content for name, content in self.files if name == path), None)

    @property
    def version(self) -> str:
        """A short hash of all contents: the same files give the same version on every replica."""
        digest = hashlib.sha256()
        for name, content in self.files:
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()[:VERSION_DIGITS]

    def __repr__(self) -> str:
        # Private keys must not come into a log by way of a repr.
        return f"Materials({', '.join(name for name, _ in self.files)})"


NO_MATERIALS = Materials()
"""What a policy without files needs."""


def materials_of(files: Mapping[str, bytes]) -> Materials:
    """The materials that hold `files`."""
    return Materials(tuple(sorted(files.items())))
