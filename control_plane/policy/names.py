"""What names may look like: narrow enough to be safe in Envoy's resource names, statistics and log lines."""

from control_plane.policy.scalars import Text

MAX_NAME = 128
"""Characters of a name: names become parts of Envoy's resource names and statistics."""

MAX_MODEL_NAME = 256
"""Characters of a model's name: a repository, a path or a fine-tune; longer ones are no names."""

MAX_LABEL = 256
"""Characters of a label's value: a word or two, not a document."""

MAX_LABELS = 64
"""Labels of one endpoint: they travel with every endpoint to every Envoy."""


def plain_name(what: str) -> Text:
    """The kind of a name without signs that mean anything to Envoy; `what` is "the name of a pool"."""
    return Text(f"{what} (letters, digits, `.`, `_`, `-`)", "[A-Za-z0-9][A-Za-z0-9._-]*", MAX_NAME)


POOL_NAME = plain_name("the name of a pool")
LISTENER_NAME = plain_name("the name of a listener")
# Engines serve under the name of a repository (`meta-llama/Llama-3-70B`), a path (`/models/llama`) or a tune (`ft:…`).
MODEL_NAME = Text("the name of a model (letters, digits, `.`, `_`, `-`, `/`, `:`)", "[A-Za-z0-9._/:-]+", MAX_MODEL_NAME)
PLACE = Text("a region or zone (letters, digits, `.`, `_`, `-`, `/`)", "[A-Za-z0-9][A-Za-z0-9._/-]*", MAX_NAME)
LABEL_KEY = Text("the key of a label (letters, digits, `.`, `_`, `-`, `/`)", "[A-Za-z0-9][A-Za-z0-9._/-]*", MAX_NAME)
LABEL_VALUE = Text("the value of a label (printable ASCII)", "[ -~]*", MAX_LABEL)


def _any_case(text: str) -> str:
    """A pattern for `text` in any mixture of cases, in the part of the language that JSON Schema has, too."""
    return "".join(f"[{char}{char.upper()}]" if char.isalpha() else char for char in text)


HEADER_PATTERN = "[A-Za-z0-9][A-Za-z0-9_-]*"

# What a client sends under these prefixes is removed by Envoy, so no session can be read from there.
_OWN_HEADERS = "|".join(_any_case(prefix) for prefix in ("x-kvpilot-", "x-gateway-destination-", "x-envoy-"))
HEADER_NAME = Text(
    "the name of a header of the client's own (letters, digits, `-`, `_`)",
    f"(?!{_OWN_HEADERS}){HEADER_PATTERN}",
    MAX_NAME,
    is_lower_cased=True,
)
RESPONSE_HEADER_NAME = Text(
    "the name of a header (letters, digits, `-`, `_`)", HEADER_PATTERN, MAX_NAME, is_lower_cased=True
)
"""A header of an answer: any name, for what endpoints say is theirs."""
