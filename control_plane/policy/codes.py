"""The codes of all findings. A code never changes its meaning and is never used again for another one.

KP1xx: the file and its YAML; KP2xx: one value against its declaration; KP3xx: values against each other; KP4xx: what
the policy compiles to, asked of an Envoy; KP9xx: warnings.
"""

from enum import StrEnum


class Code(StrEnum):
    """A stable code; `EXPLANATIONS` has one line for each."""

    UNREADABLE = "KP100"
    NOT_UTF8 = "KP101"
    CHARACTER = "KP102"
    SYNTAX = "KP103"
    TAB = "KP104"
    EMPTY = "KP105"
    SEVERAL_DOCUMENTS = "KP106"
    TOO_LARGE = "KP107"
    TOO_MANY_NODES = "KP108"
    TOO_DEEP = "KP109"
    ALIAS = "KP110"
    TAG = "KP111"
    MERGE_KEY = "KP112"
    KEY_NOT_TEXT = "KP113"

    UNKNOWN_KEY = "KP201"
    DUPLICATE_KEY = "KP202"
    MISSING_KEY = "KP203"
    WRONG_SHAPE = "KP204"
    NO_VALUE = "KP205"
    NOT_A_VALUE = "KP206"
    OUT_OF_BOUNDS = "KP207"
    UNKNOWN_WORD = "KP208"
    BAD_NAME = "KP209"
    BAD_ADDRESS = "KP210"
    BAD_PORT = "KP211"
    HOST_NAME = "KP212"
    ITEM_COUNT = "KP213"
    EXCLUSIVE_KEYS = "KP214"
    UNSUPPORTED = "KP215"
    FORMAT_VERSION = "KP216"

    UNKNOWN_REFERENCE = "KP301"
    DUPLICATE_NAME = "KP302"
    ALIAS_TAKEN = "KP303"
    WEIGHT_SUM = "KP304"
    DUPLICATE_ENDPOINT = "KP305"
    DUPLICATE_ADDRESS = "KP306"
    DUPLICATE_TARGET = "KP307"
    FAILOVER_TO_ITSELF = "KP308"
    RESERVED_NAME = "KP309"
    IDENTITIES_UNPROVEN = "KP310"
    IMPOSSIBLE_MATCH = "KP311"
    DUPLICATE_DOMAIN = "KP312"
    TLS_FILES = "KP313"
    TLS_VERSIONS = "KP314"
    BAD_KEY_SET = "KP315"
    SHARE_SUM = "KP316"
    CONTRADICTION = "KP317"
    OWN_STRATEGY = "KP318"
    FALLBACK_CYCLE = "KP319"

    ENVOY_REFUSES = "KP401"
    ENVOY_UNAVAILABLE = "KP402"
    PATCH_TARGET = "KP403"
    PATCH_FAILS = "KP404"
    PATCH_RESULT = "KP405"

    LIST_CUT = "KP900"
    UNUSED_POOL = "KP901"
    NO_EFFECT = "KP902"
    UNKNOWN_LOCALITY = "KP903"
    SHADOWED_RULE = "KP904"
    MIRROR_TO_ITSELF = "KP905"
    UNVERIFIED_PEER = "KP906"
    UNUSABLE_FILE = "KP907"
    NEEDS_RESTART = "KP908"
    NO_TOKENS = "KP909"
    SHARED_GPUS = "KP910"
    SLOW_PAGE = "KP911"

    @property
    def is_warning(self) -> bool:
        """Whether findings with this code leave the policy usable."""
        return self.value.startswith("KP9")

    @property
    def is_of_text(self) -> bool:
        """Whether it is about the file and its YAML, not about values."""
        return self.value.startswith("KP1")


EXPLANATIONS: dict[Code, str] = {
    Code.UNREADABLE: "The file cannot be read.",
    Code.NOT_UTF8: "The file is not UTF-8.",
    Code.CHARACTER: "A character that YAML does not allow, such as a control character.",
    Code.SYNTAX: "The YAML cannot be parsed; nothing behind this place was checked.",
    Code.TAB: "A tab where YAML wants spaces.",
    Code.EMPTY: "The file has no content.",
    Code.SEVERAL_DOCUMENTS: "The file has more than one YAML document (`---`).",
    Code.TOO_LARGE: "The file is larger than any policy can be.",
    Code.TOO_MANY_NODES: "With its aliases expanded the file has more values than any policy can have.",
    Code.TOO_DEEP: "Values are nested deeper than in any policy.",
    Code.ALIAS: "An alias (`*name`) without its anchor (`&name`) before it, or inside it.",
    Code.TAG: "A YAML tag (`!name`); values are read by the type of their key.",
    Code.MERGE_KEY: "A merge key (`<<`); plain aliases are fine.",
    Code.KEY_NOT_TEXT: "A list or a mapping is used as a key.",
    Code.UNKNOWN_KEY: "A key that does not exist at this place.",
    Code.DUPLICATE_KEY: "The same key twice in one mapping.",
    Code.MISSING_KEY: "A required key is missing.",
    Code.WRONG_SHAPE: "A mapping, a list or a single value where another of the three is wanted.",
    Code.NO_VALUE: "A key without a value.",
    Code.NOT_A_VALUE: "The text is no value of the wanted type (number, duration, size, …).",
    Code.OUT_OF_BOUNDS: "A value below its minimum or above its maximum.",
    Code.UNKNOWN_WORD: "A word that is not among the possible ones.",
    Code.BAD_NAME: "A name with characters that are not allowed, or too long.",
    Code.BAD_ADDRESS: "Not an `ip:port` address.",
    Code.BAD_PORT: "The port is missing or not in 1..65535.",
    Code.HOST_NAME: "A host name where an IP address is wanted.",
    Code.ITEM_COUNT: "Too few or too many items.",
    Code.EXCLUSIVE_KEYS: "Two keys that say the same thing in two ways.",
    Code.UNSUPPORTED: "Planned or known from Istio, but not supported in this version.",
    Code.FORMAT_VERSION: "A format other than `kvpilot: v1`, the only one there is.",
    Code.UNKNOWN_REFERENCE: "A name that is not defined in this file.",
    Code.DUPLICATE_NAME: "Two things of one kind with the same name.",
    Code.ALIAS_TAKEN: "An alias that is the name or the alias of a model already.",
    Code.WEIGHT_SUM: "Weights that add up to zero or to more than 4294967295 (2³²−1), which Envoy rejects.",
    Code.DUPLICATE_ENDPOINT: "The same address, name or file twice in one pool.",
    Code.DUPLICATE_ADDRESS: "Two listeners on one address.",
    Code.DUPLICATE_TARGET: "The same pool twice in one route.",
    Code.FAILOVER_TO_ITSELF: "A failover from a place to the same place, or the same one twice.",
    Code.RESERVED_NAME: "A group called `default`, which is always there.",
    Code.IDENTITIES_UNPROVEN: "A group with `identities`, and no mTLS on the xDS port that could prove them.",
    Code.IMPOSSIBLE_MATCH: "Conditions that contradict each other: no request can meet them all.",
    Code.DUPLICATE_DOMAIN: "The same domain in two virtual hosts of one listener, which Envoy rejects.",
    Code.TLS_FILES: "A TLS mode without a file that it cannot do without.",
    Code.TLS_VERSIONS: "The oldest TLS version is newer than the newest one.",
    Code.BAD_KEY_SET: "A JSON Web Key Set with something that Envoy cannot use.",
    Code.SHARE_SUM: "Shares of a distribution that do not add up to 100 percent.",
    Code.CONTRADICTION: "Two values that cannot both hold, such as a maximum below its minimum.",
    Code.OWN_STRATEGY: "A strategy of your own that is not installed, cannot be loaded, or refuses its parameters.",
    Code.FALLBACK_CYCLE: "A model that is its own fallback, at once or by way of the fallbacks of others.",
    Code.ENVOY_REFUSES: "`kvpilot check --envoy`: Envoy does not take what the policy compiles to; a bug of kvpilot's.",
    Code.ENVOY_UNAVAILABLE: "`kvpilot check --envoy`: there is no envoy binary to ask.",
    Code.PATCH_TARGET: "A patch of an Envoy resource that the policy does not compile to.",
    Code.PATCH_FAILS: "An operation of a patch does not fit the resource, or changes its name.",
    Code.PATCH_RESULT: "What a patch makes is no message of Envoy's: an unknown field, a value of the wrong type.",
    Code.LIST_CUT: "There are more findings than are listed; errors come before warnings.",
    Code.UNUSED_POOL: "No model and no listener uses the pool.",
    Code.NO_EFFECT: "A setting that does nothing because of another one.",
    Code.UNKNOWN_LOCALITY: "A failover to, or a share for, a place where the pool has no endpoint.",
    Code.SHADOWED_RULE: "A rule that no request reaches, because an earlier one takes them all.",
    Code.MIRROR_TO_ITSELF: "Copies of requests to a pool that serves them, too: twice the load and nothing learned.",
    Code.UNVERIFIED_PEER: "TLS that takes any certificate, or one for any name.",
    Code.UNUSABLE_FILE: "A certificate, key, authority or key set that is missing or cannot be used on this machine.",
    Code.NEEDS_RESTART: "An edit of what is decided when kvpilot starts: the rest of the edit is applied, this is not.",
    Code.NO_TOKENS: "Prompts that go by their text where their tokens would be wanted, or by tokens that may be wrong.",
    Code.SHARED_GPUS: "Several endpoints that are judged by the same GPUs, for nothing says whose each one is.",
    Code.SLOW_PAGE: "A check with less time than the engine takes to answer it.",
}
"""One line for each code, for the reference page."""
