"""`rules[].match`: which requests a rule is for, in the words of Istio's HTTPMatchRequest and some of our own."""

from collections.abc import Mapping, Sequence

from control_plane.policy.blocks import BlockOf
from control_plane.policy.codes import Code
from control_plane.policy.containers import ListOf, MapOf
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.names import HEADER_NAME, MODEL_NAME
from control_plane.policy.regex import MAX_PROGRAM, Regex
from control_plane.policy.scalars import Boolean, Integer, Text
from control_plane.policy.string_match import ANY_TEXT, SOME_TEXT, StringMatch

MAX_CONDITIONS = 32
"""Headers (or query parameters) that one match can ask for: each is looked at for every request that comes so far."""

MAX_ALTERNATIVES = 64
"""Alternatives of one match. Envoy tries routes one after the other, and each alternative is up to four of them."""

MAX_WORDS = 256
"""Values of one of the lists: more of them are a prefix or a regular expression."""

MAX_WAYS = 256
"""Combinations of groups of words that one match may need: each is a few of Envoy's routes."""

MAX_TOKENS = 100_000_000
"""Tokens of a prompt or an answer: a body of 1 GiB has more, and no engine takes it."""

_WORDS_PROGRAM = MAX_PROGRAM - 10
"""Steps of an expression for several words, without what each expression has."""

TASK_PATHS: Mapping[str, str] = {
    "chat": "/v1/chat/completions",
    "completion": "/v1/completions",
    "embedding": "/v1/embeddings",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}
"""Task types that the path tells; any other word is a value of the listener's `taskHeader`."""

# Envoy takes 1..1024 bytes (`QueryParameterMatcher.name`).
PARAMETER_NAME = Text("the name of a query parameter (printable ASCII without `&`, `=`, `#`)", "[!\"$%'-<>-~]+", 128)
WORD = Text("a value of a header (printable ASCII)", "[!-~](?:[ -~]*[!-~])?", 256, code=Code.NOT_A_VALUE)


@block(one_of=("exact", "prefix", "regex", "present"))
class ValueMatch(Block):
    """A condition on a header or a query parameter: exactly one of the keys."""

    exact: str | None = setting(ANY_TEXT, default=None, absent=(None, "none"), doc="The whole value is this.")
    prefix: str | None = setting(SOME_TEXT, default=None, absent=(None, "none"), doc="The value starts with this.")
    regex: str | None = setting(
        Regex(), default=None, absent=(None, "none"), doc="The whole value matches this expression (RE2)."
    )
    present: bool | None = setting(
        Boolean(),
        default=None,
        absent=(None, "none"),
        doc="`true`: it is there, whatever its value. `false`: it is not.",
    )


@block()
class TokenRange(Block):
    """A number of tokens: at least the one, less than the other, or both."""

    at_least: int | None = setting(
        Integer(1, MAX_TOKENS), default=None, absent=(None, "no bound"), doc="So many tokens, or more."
    )
    less_than: int | None = setting(
        Integer(1, MAX_TOKENS), default=None, absent=(None, "no bound"), doc="Fewer tokens than this."
    )


@block(
    planned={
        "authority": "conditions on the host; `virtualHosts` of the listener is there",
        "scheme": "conditions on http or https",
        "port": "conditions on the port; listeners are there",
        "ignoreUriCase": "paths without regard to case",
    }
)
class RuleMatch(Block):
    """Conditions that all hold for a request; without any, every request."""

    headers: Mapping[str, ValueMatch] = setting(
        MapOf(HEADER_NAME, BlockOf(ValueMatch), MAX_CONDITIONS),
        default_factory=dict,
        hash=False,
        doc="Headers that the request has.",
    )
    without_headers: Mapping[str, ValueMatch] = setting(
        MapOf(HEADER_NAME, BlockOf(ValueMatch), MAX_CONDITIONS),
        default_factory=dict,
        hash=False,
        doc="Headers that the request has not: a request whose header meets the condition is not matched.",
    )
    uri: StringMatch | None = setting(
        BlockOf(StringMatch), default=None, absent=(None, "any"), doc="The path, without the query string."
    )
    query_params: Mapping[str, ValueMatch] = setting(
        MapOf(PARAMETER_NAME, BlockOf(ValueMatch), MAX_CONDITIONS),
        default_factory=dict,
        hash=False,
        doc="Query parameters; their first value counts, as the client wrote it (`%20` stays `%20`).",
    )
    method: StringMatch | None = setting(
        BlockOf(StringMatch), default=None, absent=(None, "any"), doc="The method, in capitals."
    )
    models: tuple[str, ...] = setting(
        ListOf(MODEL_NAME, minimum=1, maximum=MAX_WORDS),
        default=(),
        absent=((), "any"),
        doc="The body's model is one of these. A model's name stands for its aliases, too; an alias for itself alone. "
        "Only inference calls (`POST /v1/chat/completions` and the like) have a model.",
    )
    task_type: tuple[str, ...] = setting(
        ListOf(WORD, minimum=1, maximum=MAX_WORDS),
        default=(),
        absent=((), "any"),
        doc="`chat`, `completion`, `embedding`, `responses`, `messages`: inference calls by path. Any other word: "
        "a value of the listener's `taskHeader`.",
    )
    user_tier: tuple[str, ...] = setting(
        ListOf(WORD, minimum=1, maximum=MAX_WORDS),
        default=(),
        absent=((), "any"),
        doc="The listener's `tierHeader` is one of these.",
    )
    region: tuple[str, ...] = setting(
        ListOf(WORD, minimum=1, maximum=MAX_WORDS),
        default=(),
        absent=((), "any"),
        doc="The listener's `regionHeader` is one of these.",
    )
    prompt_tokens: TokenRange | None = setting(
        BlockOf(TokenRange),
        default=None,
        absent=(None, "any"),
        doc="About how long an inference call's prompt is. Envoy goes by the length of the whole body, four bytes a "
        "token. A body that does not say its length beforehand (chunked) counts as longer than any bound.",
    )
    max_tokens: TokenRange | None = setting(
        BlockOf(TokenRange),
        default=None,
        absent=(None, "any"),
        doc="How long an inference call's answer may become: `max_completion_tokens`, `max_output_tokens` or "
        "`max_tokens` of the body. A call that has none of them, or no number there, counts as above any bound.",
    )
    tools: bool | None = setting(
        Boolean(),
        default=None,
        absent=(None, "any"),
        doc="Whether an inference call offers the model tools: `tools` of its body is a list with something in it.",
    )

    @property
    def asks_of_calls(self) -> tuple[str, ...]:
        """Its keys that only inference calls can meet, whatever else they are."""
        asked = {
            "models": bool(self.models),
            "promptTokens": self.prompt_tokens is not None,
            "maxTokens": self.max_tokens is not None,
            "tools": self.tools is not None,
        }
        return tuple(key for key, is_asked in asked.items() if is_asked)


def word_groups(words: Sequence[str]) -> list[list[str]]:
    """The words of a list in groups of which each fits one expression of Envoy's; a word that is too long is alone."""
    groups: list[list[str]] = []
    room = 0
    for word in words:
        # A character is a step of the expression, and so is the choice of a word.
        steps = len(word) + 1
        if steps > room:
            groups.append([])
            room = _WORDS_PROGRAM
        groups[-1].append(word)
        room -= steps
    return groups
