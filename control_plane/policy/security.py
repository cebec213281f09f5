"""TLS: towards clients, towards pods, and on the ports of kvpilot itself. The words are Istio's.

    tls: {mode: SIMPLE, serverCertificate: server.pem, privateKey: server-key.pem}

Files are named, never contained; a relative path starts at the policy file. kvpilot reads them, pushes them to Envoy as
secrets, and does so again when their content changes. Source: Istio's `ServerTLSSettings` and `ClientTLSSettings`;
Envoy's `envoy.extensions.transport_sockets.tls.v3`. Rules between values are in `checks_security.py`.
"""

from control_plane.policy.blocks import BlockOf
from control_plane.policy.codes import Code
from control_plane.policy.containers import ListOf, OrWord
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.scalars import Boolean, Choice, Text

FILE = Text("the path of a file", r"[^\x00-\x1f]+", 4096, code=Code.NOT_A_VALUE)
SUBJECT_NAME = Text(
    "a name in a certificate (DNS name, IP address, or URI such as spiffe://…; `*` at one end stands for the rest)",
    r"[!-)+-~]+\*?|\*[!-)+-~]+",
    512,
    code=Code.NOT_A_VALUE,
)
SNI = Text("a DNS name", r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", 255, code=Code.NOT_A_VALUE)
"""What Envoy sends as server name; RFC 6066 allows no IP addresses there, but servers do not mind."""

SPIFFE = "spiffe://"
"""The scheme of SPIFFE ids (SPIFFE-ID standard, section 2)."""

SIMPLE = "SIMPLE"
MUTUAL = "MUTUAL"
OPTIONAL_MUTUAL = "OPTIONAL_MUTUAL"
DISABLE = "DISABLE"

_MESH = "certificates of Istio's own; name files"
_VERSION = Choice(
    ("TLSV1_2", "TLSV1_3"),
    planned={
        "TLSV1_0": "broken, and never going to be",
        "TLSV1_1": "broken, and never going to be",
        "TLS_AUTO": "leave the key out",
    },
)

CIPHER_SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
)
"""What Envoy's TLS library (BoringSSL) offers for TLS 1.2 (`TlsParameters.cipher_suites`); it refuses other names."""


@block(planned={"credentialName": "secrets of Kubernetes; name files", "httpsRedirect": "a redirect from plain HTTP"})
class ListenerTls(Block):
    """TLS towards clients; the words are those of `tls` in Istio's Gateway."""

    mode: str = setting(
        Choice(
            (SIMPLE, MUTUAL, OPTIONAL_MUTUAL),
            planned={
                "PASSTHROUGH": "TLS that Envoy does not end",
                "AUTO_PASSTHROUGH": "TLS that Envoy does not end",
                "ISTIO_MUTUAL": _MESH,
            },
        ),
        doc="`SIMPLE`: the server shows a certificate. `MUTUAL`: the client must show one, too. `OPTIONAL_MUTUAL`: it "
        "may; a certificate of another authority is refused all the same.",
    )
    server_certificate: str = setting(FILE, doc="PEM file with the server's certificate, then its intermediates.")
    private_key: str = setting(FILE, doc="PEM file with the certificate's private key, not encrypted.")
    ca_certificates: str = setting(
        FILE, default="", doc="PEM file with the authorities whose client certificates are taken (`MUTUAL` modes)."
    )
    subject_alt_names: tuple[str, ...] = setting(
        ListOf(SUBJECT_NAME),
        default=(),
        doc="Names of which a client's certificate must have one; `spiffe://corp/ns/a/*` takes a whole namespace. "
        "Empty: any certificate of these authorities.",
    )
    min_protocol_version: str = setting(_VERSION, default="TLSV1_2", doc="Oldest version of TLS.")
    max_protocol_version: str = setting(_VERSION, default="TLSV1_3", doc="Newest version of TLS.")
    cipher_suites: tuple[str, ...] = setting(
        ListOf(Choice(CIPHER_SUITES)),
        default=(),
        doc="Cipher suites for TLS 1.2, best first; those of TLS 1.3 are not configurable. Empty: Envoy's own list.",
    )


@block(planned={"credentialName": "secrets of Kubernetes; name files", "caCrl": "revocation lists"})
class PoolTls(Block):
    """TLS towards the pods; the words are those of `trafficPolicy.tls` in Istio's DestinationRule."""

    mode: str = setting(
        Choice((DISABLE, SIMPLE, MUTUAL), planned={"ISTIO_MUTUAL": _MESH}),
        doc="`DISABLE`: plain HTTP. `SIMPLE`: TLS. `MUTUAL`: TLS with a certificate of our own.",
    )
    client_certificate: str = setting(FILE, default="", doc="PEM file with our certificate (`MUTUAL`).")
    private_key: str = setting(FILE, default="", doc="PEM file with its private key, not encrypted (`MUTUAL`).")
    ca_certificates: str = setting(
        FILE,
        default="",
        doc="PEM file with the authorities that pods' certificates must come from. Without it: those of the machine "
        "that kvpilot runs on.",
    )
    subject_alt_names: tuple[str, ...] = setting(
        ListOf(SUBJECT_NAME),
        default=(),
        doc="Names of which a pod's certificate must have one. Empty: the name in `sni`; without that, any.",
    )
    sni: str = setting(SNI, default="", doc="The server name that Envoy asks for.")
    insecure_skip_verify: bool = setting(
        Boolean(), default=False, doc="Takes any certificate at all: for trying things out, never for traffic."
    )

    @property
    def is_on(self) -> bool:
        """Whether there is TLS."""
        return self.mode != DISABLE

    @property
    def verified_names(self) -> tuple[str, ...]:
        """The names of which a pod's certificate must have one; empty for any."""
        return self.subject_alt_names or ((self.sni,) if self.sni else ())


@block()
class EnvoyTls(Block):
    """What Envoy needs towards a port of kvpilot that has TLS."""

    ca_certificates: str = setting(FILE, doc="PEM file with the authorities that kvpilot's certificate must come from.")
    client_certificate: str = setting(FILE, default="", doc="PEM file with Envoy's certificate, for `MUTUAL`.")
    private_key: str = setting(FILE, default="", doc="PEM file with its private key, not encrypted.")
    subject_alt_names: tuple[str, ...] = setting(
        ListOf(SUBJECT_NAME),
        default=(),
        doc="Names of which kvpilot's certificate must have one. Empty: the name in `sni`; without that, any.",
    )
    sni: str = setting(SNI, default="", doc="The server name that Envoy asks for.")

    @property
    def verified_names(self) -> tuple[str, ...]:
        """The names of which kvpilot's certificate must have one; empty for any."""
        return self.subject_alt_names or ((self.sni,) if self.sni else ())


@block()
class ServerTls(Block):
    """TLS on a port of kvpilot itself."""

    mode: str = setting(
        Choice((SIMPLE, MUTUAL)),
        doc="`SIMPLE`: kvpilot shows a certificate. `MUTUAL`: the Envoy must show one, too.",
    )
    server_certificate: str = setting(FILE, doc="PEM file with kvpilot's certificate, then its intermediates.")
    private_key: str = setting(FILE, doc="PEM file with the certificate's private key, not encrypted.")
    ca_certificates: str = setting(
        FILE, default="", doc="PEM file with the authorities whose certificates Envoys must have (`MUTUAL`)."
    )
    envoy: EnvoyTls | None = setting(
        OrWord(BlockOf(EnvoyTls), "off", "nothing is sent"),
        default=None,
        doc="What Envoy uses towards this port: for `extProc` it is pushed to it; for `xds` it is the default of "
        "`kvpilot bootstrap` and what an Envoy that kvpilot starts itself gets.",
    )


@block()
class ServerPort(Block):
    """A port of kvpilot itself."""

    tls: ServerTls | None = setting(
        OrWord(BlockOf(ServerTls), "off", "plaintext"), default=None, doc="TLS on this port."
    )


@block()
class LoadReportPort(Block):
    """The port of `kvpilot run --load-reports`, where engines say how they are. `docs/load_reports.md` says more."""

    tls: ServerTls | None = setting(
        OrWord(BlockOf(ServerTls), "off", "plaintext"), default=None, doc="TLS on this port."
    )
    any_reporter: bool = setting(
        Boolean(),
        default=False,
        doc="Whether an endpoint may be reported of from another IP address than its own, as by an agent of a machine. "
        "Whoever reaches the port can then say anything about any endpoint: use `tls` with `MUTUAL`.",
    )


@block()
class ControlPlane(Block):
    """The ports of kvpilot itself. Whether they have TLS is decided at the start; the files may change at any time."""

    xds: ServerPort = setting(BlockOf(ServerPort), default=ServerPort(), doc="Where Envoys get their configuration.")
    ext_proc: ServerPort = setting(BlockOf(ServerPort), default=ServerPort(), doc="Where Envoys ask for picks.")
    load_reports: LoadReportPort = setting(
        BlockOf(LoadReportPort), default=LoadReportPort(), doc="Where engines report their load."
    )
