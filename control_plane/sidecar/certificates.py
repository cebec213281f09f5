"""The files that a policy names, read and watched: certificates, keys, authorities, JWK sets.

    certificates = CertificateFiles(base=policy.parent, changed=slow_loop.materials_changed)
    certificates.start(document.policy)
    ... certificates.materials, certificates.status() ...
    certificates.apply(edited.policy)
    await certificates.stop()

A file counts only if it can be used: a certificate together with the key that belongs to it. A rotation is seldom one
step (two files, or a file that is written in pieces), so what does not fit together is waited for, and until then the
last good content is served. `status` says so. What was never good is missing, and Envoy waits for it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from control_plane.compile.materials import NO_MATERIALS, Materials, materials_of
from control_plane.policy.model import Policy
from control_plane.policy.named_files import SYSTEM_AUTHORITIES, CertificatePair, NamedFile, named_files, resolved
from control_plane.policy.security import MUTUAL, EnvoyTls, ServerTls
from control_plane.sidecar.certificate_checks import fault_of, system_authorities
from control_plane.sidecar.certificate_end import first_end

log = logging.getLogger("kvpilot")

POLL_S: Final = 1.0
"""How often the files are read: certificates live for hours and more, and a rotation is done well before one ends."""

MAX_BYTES: Final = 1024 * 1024
"""The largest file that is read; the list of all public authorities has a quarter of it."""


class CertificateError(Exception):
    """A port of kvpilot itself cannot have TLS: the text says which file is missing or unusable."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What one look at the files of a `NamedFile` gave."""

    contents: tuple[bytes, ...] | None
    fault: str


class CertificateFiles:
    """Mutable: all that it found. Single writer: `look`, on the event loop or before there is one."""

    def __init__(
        self,
        base: Path,
        changed: Callable[[Materials], None] = lambda materials: None,
        wall_clock: Callable[[], float] = time.time,
        *,
        is_quiet: bool = False,
    ) -> None:
        """Relative paths start at `base`; `changed` is called with the new materials after each rotation.

        Faults are in the log, unless `is_quiet`; they are in `status` anyway.
        """
        self._wall_clock = wall_clock
        self._base = base
        self._changed = changed
        self.policy: Policy | None = None
        """The policy whose files these are."""
        self._named: tuple[NamedFile, ...] = ()
        self._good: dict[NamedFile, tuple[bytes, ...]] = {}
        self._faults: dict[NamedFile, str] = {}
        self._is_quiet = is_quiet
        self._watcher: asyncio.Task[None] | None = None
        self.materials: Materials = NO_MATERIALS
        """The last good content of every file, by its path in the policy."""

    def start(self, policy: Policy) -> None:
        """Reads all that `policy` names, and again from now on. Never raises: what is missing is in `status`."""
        self.apply(policy)
        self._watcher = asyncio.create_task(self._watch(), name="certificate files")

    def apply(self, policy: Policy) -> None:
        """An edit of the policy: other files may be named. `changed` is not called, the caller knows already."""
        self.policy = policy
        self._named = named_files(policy)
        self._good = {named: contents for named, contents in self._good.items() if named in self._named}
        self._faults = {}
        self.look()

    def preview(self, policy: Policy) -> Materials:
        """What `apply` would make the materials, without applying it: for an edit that may yet be refused."""
        return self._trial(policy).materials

    def missing(self, policy: Policy) -> tuple[tuple[NamedFile, str], ...]:
        """What of the files of `policy` would have no content that can be used, and why."""
        trial = self._trial(policy)
        return tuple((named, trial._faults[named]) for named in trial._named if named not in trial._good)

    def _trial(self, policy: Policy) -> "CertificateFiles":
        trial = CertificateFiles(self._base, is_quiet=True)
        trial._good = dict(self._good)
        trial.apply(policy)
        return trial

    def resolved(self, envoy: EnvoyTls) -> EnvoyTls:
        """The same with whole paths, for an Envoy that reads these files itself."""
        return resolved(envoy, self._base.absolute())

    async def stop(self) -> None:
        """Ends the watching; harmless when called twice."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    def status(self) -> list[dict[str, Any]]:
        """One row for each thing that the policy names, as JSON values; never the content.

        `state`: `ok`; `stale`: the files are bad now and the last good content is served; `missing`: they never were
        good, and what needs them waits; `expired`: it is served, and nobody should take it any more. `expires` is when
        the certificate ends (ISO 8601), empty for what is no certificate of one's own.
        """
        return [self._row(named) for named in self._named]

    def _row(self, named: NamedFile) -> dict[str, Any]:
        fault = self._faults.get(named, "")
        state = "ok" if not fault else "stale" if named in self._good else "missing"
        files = [file or "the authorities of this machine" for file in named.files]
        end = first_end(self._good[named][0]) if isinstance(named, CertificatePair) and named in self._good else None
        expires = end.isoformat() if end else ""
        if end and end.timestamp() <= self._wall_clock() and not fault:
            state, fault = "expired", f"{named.files[0]} expired at {expires}"
        return {"policy": named.policy_path, "files": files, "state": state, "error": fault, "expires": expires}

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            before = self.materials
            self.look()
            if self.materials != before:
                log.info("certificate files changed, now %s", self.materials.version)
                self._changed(self.materials)

    def look(self) -> None:
        """Reads all files once, each only once, however many things it is for."""
        contents = {file: self._content(file) for file in dict.fromkeys(file for n in self._named for file in n.files)}
        for named in self._named:
            found = self._read(named, contents)
            if found.contents is not None:
                self._good[named] = found.contents
            self._tell(named, found.fault)
            self._faults[named] = found.fault
        made = materials_of(
            {
                file: content
                for named, contents in self._good.items()
                for file, content in zip(named.files, contents, strict=True)
            }
        )
        if made != self.materials:  # else the same object says at once that nothing changed
            self.materials = made

    def _tell(self, named: NamedFile, fault: str) -> None:
        if fault and fault != self._faults.get(named) and not self._is_quiet:
            serving = "still serving the last good one" if named in self._good else "there was never a good one"
            log.error("%s: %s; %s", named.policy_path, fault, serving)

    def _read(self, named: NamedFile, contents: Mapping[str, bytes | OSError]) -> _Found:
        found = []
        for file in named.files:
            content = contents[file]
            if isinstance(content, OSError):
                return _Found(None, f"{file}: {content.strerror or content}")
            found.append(content)
        if self._good.get(named) == tuple(found):
            return _Found(None, "")
        fault = fault_of(named, tuple(found))
        return _Found(None, fault) if fault else _Found(tuple(found), "")

    def _content(self, file: str) -> bytes | OSError:
        try:
            if file == SYSTEM_AUTHORITIES:
                return system_authorities()
            with (self._base / file).open("rb") as stream:
                content = stream.read(MAX_BYTES + 1)
        except OSError as error:
            return error
        return OSError(f"more than {MAX_BYTES:,} bytes") if len(content) > MAX_BYTES else content


def server_credentials(
    tls: ServerTls,
    certificates: CertificateFiles,
    newest: Callable[[Policy], ServerTls | None] = lambda policy: None,
) -> grpc.ServerCredentials:
    """Credentials for a port of kvpilot: each new connection gets the certificate of the moment.

    `newest` says which files a later policy names for this port; None: those of `tls`. The mode stays that of `tls`.

    Raises `CertificateError` while the files are missing or bad: a port that was meant to be closed must not be open.
    """
    is_mutual = tls.mode == MUTUAL
    first = _configuration(tls, certificates.materials)
    if first is None:
        faults = [row["error"] for row in certificates.status() if row["error"] and _concerns(row, tls)]
        raise CertificateError("; ".join(faults) or "a certificate file is missing")
    served = _Served(tls, certificates, newest)
    return grpc.dynamic_ssl_server_credentials(first, served.next, require_client_authentication=is_mutual)


def _concerns(row: Mapping[str, Any], tls: ServerTls) -> bool:
    return bool({tls.server_certificate, tls.private_key, tls.ca_certificates} & set(row["files"]))


@dataclass(slots=True)
class _Served:
    """Mutable: files and version that grpc has; written by grpc's own thread, which asks before each handshake."""

    tls: ServerTls
    certificates: CertificateFiles
    newest: Callable[[Policy], ServerTls | None]
    served: tuple[ServerTls, str] | None = None

    def next(self) -> "grpc.ServerCertificateConfiguration | None":
        """The configuration for the next connection; None while nothing has changed."""
        materials, policy = self.certificates.materials, self.certificates.policy
        tls = (self.newest(policy) if policy else None) or self.tls
        if self.served == (tls, materials.version):
            return None
        self.served = tls, materials.version
        return _configuration(tls, materials)


def _configuration(tls: ServerTls, materials: Materials) -> "grpc.ServerCertificateConfiguration | None":
    certificate, key = materials.get(tls.server_certificate), materials.get(tls.private_key)
    authorities = materials.get(tls.ca_certificates) if tls.mode == MUTUAL else None
    if certificate is None or key is None or (tls.mode == MUTUAL and authorities is None):
        return None
    return grpc.ssl_server_certificate_configuration([(key, certificate)], authorities)
