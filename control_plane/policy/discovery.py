"""What `endpoints` of a pool may list: addresses, and sources that are asked for addresses while kvpilot runs.

An item has exactly one of `address`, `dns`, `dnsSrv` and `file`; that key says which block it is. Where the source is
asked, and what becomes of its answers, is in `control_plane/fleet/`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from control_plane.policy import nodes
from control_plane.policy.addresses import EndpointAddress
from control_plane.policy.blocks import BlockOf
from control_plane.policy.codes import Code
from control_plane.policy.containers import MapOf
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.diagnostics import quoted
from control_plane.policy.kinds import Json, Kind, ScalarKind, ValueRefusedError
from control_plane.policy.names import LABEL_KEY, LABEL_VALUE, MAX_LABELS, PLACE
from control_plane.policy.nodes import Node, Scalar
from control_plane.policy.reader import Reader
from control_plane.policy.scalars import MAX_UINT32, Boolean, Choice, Integer, Text
from ext_proc.core.address import MAX_PORT

MAX_HOST_NAME = 253
"""Characters of a host name (RFC 1035, section 2.3.4: 255 bytes on the wire)."""

MAX_PATH = 4_095
"""Bytes of a path: PATH_MAX of Linux without the closing NUL."""

DNS_FAMILIES = ("ALL", "V4_ONLY", "V6_ONLY", "V4_PREFERRED")
"""Envoy's words for `dns_lookup_family` (envoy.config.cluster.v3.Cluster); `AUTO` is left out: it hides IPv4 hosts."""

_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
"""One label of a name: RFC 1035, with the underscores of services, which some orchestrators use in host names, too."""

_NAME = rf"{_LABEL}(?:\.{_LABEL})*\.?"

DEFAULT_WEIGHT = 100


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host name in lower case, and a port. One that ends in a dot is looked up as it is, without search domains."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class HostAndPort(ScalarKind[HostPort]):
    """A host name with the port at which its addresses are asked."""

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return "a host name with its port such as vllm.internal:8000"

    def parse(self, text: str) -> HostPort:
        """The name and the port; raises ValueRefusedError."""
        host, colon, port = text.rpartition(":")
        if not colon or not port:
            raise ValueRefusedError(
                f"{quoted(text)} has no port", f"write {quoted(text.rstrip(':') + ':8000')}", Code.BAD_PORT
            )
        if re.fullmatch("[1-9][0-9]{0,4}", port) is None or int(port) > MAX_PORT:
            raise ValueRefusedError(f"{quoted(port)} is not a port (1..{MAX_PORT})", code=Code.BAD_PORT)
        return HostPort(host_name(host), int(port))

    def schema(self) -> Json:
        """Its outer form."""
        return {"type": "string", "pattern": f"^{_NAME}:[0-9]{{1,5}}$"}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return "`name:port`"

    def plain(self, value: HostPort) -> str:
        """Its text."""
        return str(value)


@dataclass(frozen=True, slots=True)
class ServiceName(ScalarKind[str]):
    """The name of SRV records; ports and weights come with them (RFC 2782)."""

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return "the name of SRV records such as _http._tcp.vllm.internal"

    def parse(self, text: str) -> str:
        """The name in lower case; raises ValueRefusedError."""
        if ":" in text:
            hint = "the port comes with the SRV records; for a host name with a port use `dns`"
            raise ValueRefusedError(f"{quoted(text)} has a port", hint, Code.BAD_PORT)
        return host_name(text)

    def schema(self) -> Json:
        """Its outer form."""
        return {"type": "string", "pattern": f"^{_NAME}$", "maxLength": MAX_HOST_NAME}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return "name of SRV records"


def host_name(text: str) -> str:
    """`text` in lower case if it is a host name; raises ValueRefusedError."""
    if not text.isascii():
        raise ValueRefusedError(
            f"{quoted(text)} is not a host name", "write names of other scripts in their `xn--` form", Code.BAD_ADDRESS
        )
    if re.fullmatch(r"[0-9.]*|\[.*|.*:.*", text):
        hint = "an IP address goes to `address`" if text else "write a name such as vllm.internal"
        raise ValueRefusedError(f"{quoted(text)} is not a host name", hint, Code.BAD_ADDRESS)
    if len(text.removesuffix(".")) > MAX_HOST_NAME or re.fullmatch(_NAME, text) is None:
        raise ValueRefusedError(f"{quoted(text)} is not a host name", code=Code.BAD_ADDRESS)
    return text.lower()


FILE_PATH = Text("the path of a file (printable characters)", r"[^\x00-\x1f\x7f]+", MAX_PATH, code=Code.NOT_A_VALUE)


def _region() -> str:
    value: str = setting(PLACE, default="", doc="Its region, for locality and failover.")
    return value


def _zone() -> str:
    value: str = setting(PLACE, default="", doc="Its zone, for locality and failover.")
    return value


def _labels() -> Mapping[str, str]:
    value: Mapping[str, str] = setting(
        MapOf(LABEL_KEY, LABEL_VALUE, MAX_LABELS),
        default_factory=dict,
        hash=False,
        doc="Free labels such as `gpu: h100`; values are texts.",
    )
    return value


def _weight(doc: str) -> int:
    value: int = setting(Integer(1, MAX_UINT32), default=DEFAULT_WEIGHT, doc=doc)
    return value


def _family() -> str:
    value: str = setting(
        Choice(DNS_FAMILIES),
        # A host with an A and an AAAA record would be two endpoints under ALL, each with half of its load and cache.
        default="V4_PREFERRED",
        doc="Which addresses of a name are endpoints. `V4_PREFERRED`: IPv6 only where there is no IPv4, so that a host "
        "with both counts once. `ALL`: IPv4 and IPv6, for names whose hosts have one or the other.",
    )
    return value


@block()
class StaticEndpoint(Block):
    """One inference server."""

    KIND: ClassVar[str] = "address"

    address: str = setting(
        EndpointAddress(), doc="Where it is. Instead of it an item may have `dns`, `dnsSrv` or `file`."
    )
    region: str = _region()
    zone: str = _zone()
    weight: int = _weight("Its share relative to the other endpoints of the pool; half of it for half the speed.")
    labels: Mapping[str, str] = _labels()

    @property
    def target(self) -> str:
        """What the item names."""
        return self.address


@block()
class DnsEndpoints(Block):
    """The inference servers behind a host name: each address that it resolves to is an endpoint.

    The name is looked up again when its answer's time to live is over.
    """

    KIND: ClassVar[str] = "dns"

    dns: HostPort = setting(
        HostAndPort(), doc="The name and the port of all its addresses; asked with the system's search domains."
    )
    dns_lookup_family: str = _family()
    region: str = _region()
    zone: str = _zone()
    weight: int = _weight("The share of each of its endpoints relative to the other endpoints of the pool.")
    labels: Mapping[str, str] = _labels()

    @property
    def target(self) -> str:
        """What the item names."""
        return str(self.dns)


@block()
class SrvEndpoints(Block):
    """The inference servers behind SRV records: each has the port and the weight of its record.

    Of several priorities the first whose targets resolve is used.
    """

    KIND: ClassVar[str] = "dnsSrv"

    dns_srv: str = setting(ServiceName(), doc="The name of the records, such as `_http._tcp.vllm.internal`.")
    dns_lookup_family: str = _family()
    region: str = _region()
    zone: str = _zone()
    weight: int = _weight("The share of each of its endpoints where the records have no weights (all 0).")
    labels: Mapping[str, str] = _labels()

    @property
    def target(self) -> str:
        """What the item names."""
        return self.dns_srv


@block()
class FileEndpoints(Block):
    """The inference servers that a file lists, in the shape of Prometheus' file-based discovery; it is watched.

    `[{"targets": ["10.0.0.1:8000"], "labels": {"zone": "a"}}]`, in YAML or JSON. The labels `region`, `zone` and
    `weight` mean what they mean here; labels that begin with `__` are ignored.
    """

    KIND: ClassVar[str] = "file"

    file: str = setting(FILE_PATH, doc="Its path; a relative one starts at the directory of the policy file.")
    allow_empty: bool = setting(
        Boolean(),
        default=False,
        doc="Whether the file may list nobody: without it an empty list is taken for a mistake, and the last endpoints "
        "stay.",
    )
    region: str = _region()
    zone: str = _zone()
    weight: int = _weight("The share of each endpoint for which the file says no weight.")
    labels: Mapping[str, str] = _labels()

    @property
    def target(self) -> str:
        """What the item names."""
        return self.file


Discovered = DnsEndpoints | SrvEndpoints | FileEndpoints
"""An item whose endpoints only a running kvpilot knows."""

EndpointItem = StaticEndpoint | Discovered
"""An item of a pool's `endpoints`."""

ITEM_BLOCKS: tuple[type[EndpointItem], ...] = (StaticEndpoint, DnsEndpoints, SrvEndpoints, FileEndpoints)


class EndpointItemKind(Kind[EndpointItem]):
    """An item of `endpoints`: the one key among `address`, `dns`, `dnsSrv` and `file` says which block it is."""

    def __init__(self) -> None:
        """Reads the declarations once; immutable from then on."""
        self._blocks: dict[
            str, BlockOf[StaticEndpoint] | BlockOf[DnsEndpoints] | BlockOf[SrvEndpoints] | BlockOf[FileEndpoints]
        ] = {
            StaticEndpoint.KIND: BlockOf(StaticEndpoint),
            DnsEndpoints.KIND: BlockOf(DnsEndpoints),
            SrvEndpoints.KIND: BlockOf(SrvEndpoints),
            FileEndpoints.KIND: BlockOf(FileEndpoints),
        }

    def read(self, reader: Reader, node: Node, path: str) -> EndpointItem:
        """The block of its key; an item without any is read as one that lacks its `address`."""
        pairs = node.pairs if isinstance(node, nodes.Mapping) else []
        kinds = [key for key, _ in pairs if isinstance(key, Scalar) and key.text in self._blocks]
        different = {key.text: key for key in kinds}
        if len(different) > 1:
            one, other = list(different)[:2]
            message = f"`{other}` beside `{one}`: an item is one or the other"
            raise reader.refuse(different[other], Code.EXCLUSIVE_KEYS, message, "make two items of them")
        kind = self._blocks[kinds[0].text if kinds else StaticEndpoint.KIND]
        return kind.read(reader, node, path)

    def schema(self) -> Json:
        """Any of the blocks."""
        return {"anyOf": [kind.schema() for kind in self._blocks.values()]}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return ", ".join(kind.describe() for kind in self._blocks.values())

    def blocks(self) -> Iterator[type[Block]]:
        """The four blocks."""
        for kind in self._blocks.values():
            yield from kind.blocks()
