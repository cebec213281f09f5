"""Jinja's sandbox as chat templates get it: with what `transformers` adds, and on a budget. Pure.

The sandbox keeps a template from everything but its data; the budget, which Jinja has not, bounds its steps (turns of
loops, calls), the characters that it makes, and its time. Everything whose cost depends on data is compiled to go
through something that pays for it. Filters and methods that real templates have no use for are not there.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

from jinja2 import Undefined, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ext_proc.tokens.errors import BudgetExceededError, TemplateRefusedError

MAX_STEPS: Final = 100_000
"""Turns of loops and calls: a thousand messages with a hundred each."""

MAX_CHARS: Final = 64 << 20
"""Made on the way and in the end, in all: sixteen times the largest body that is tokenised."""

MAX_RENDER_S: Final = 0.1
"""Real templates take well under a millisecond for a message; a slow one would hold up other picks."""

LOOK_EVERY: Final = 16
"""Payments for one look at the clock, which takes as long as several of them."""

MUCH_CHARS: Final = 16_384
"""Whoever pays for so much at once is looked at in any case: that takes its time."""

MAX_NUMBER_BITS: Final = 63
"""Templates count messages."""

MAX_INDENT: Final = 64
"""Spaces of `indent` and of `tojson(indent=…)`."""

BUDGET: Final = "\0budget"
"""The variable that has it; no template can write this name."""

# Names of filters that no template can write.
_TURNS: Final = "kvpilot turns"
_STEP: Final = "kvpilot step"
_JOINED: Final = "kvpilot joined"

_STRING_METHODS: Final = frozenset(
    {
        "capitalize", "count", "endswith", "find", "format", "index", "isalnum", "isalpha", "isdigit", "islower",
        "isnumeric", "isspace", "isupper", "join", "lower", "lstrip", "partition", "removeprefix", "removesuffix",
        "replace", "rfind", "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "title",
        "upper",
    }
)  # fmt: skip
_LIST_METHODS: Final = frozenset({"count", "index"})
_DICT_METHODS: Final = frozenset({"get", "items", "keys", "values"})
_FILTERS: Final = (
    "abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "groupby", "int",
    "items", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "round", "safe",
    "select", "selectattr", "sort", "string", "sum", "title", "trim", "unique", "upper",
)  # fmt: skip
_GLOBALS: Final = ("dict", "namespace", "range")


@dataclass(slots=True)
class Budget:
    """What is left for one rendering. Mutable; written by its own methods. `until` is by `clock`, in seconds."""

    moment: datetime
    clock: Callable[[], float]
    until: float
    steps: int = MAX_STEPS
    chars: int = MAX_CHARS
    payments: int = 0

    def spend(self, *, steps: int = 0, chars: int = 0) -> None:
        self.steps -= steps
        self.chars -= chars
        self.payments += 1
        if self.steps < 0:
            raise BudgetExceededError(f"the chat template takes more than {MAX_STEPS:,} steps")
        if self.chars < 0:
            raise BudgetExceededError(f"the chat template makes more than {MAX_CHARS:,} characters")
        if (self.payments % LOOK_EVERY == 0 or chars > MUCH_CHARS) and self.clock() > self.until:
            raise BudgetExceededError(f"the chat template takes longer than {MAX_RENDER_S:g} s")


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks what the model has said, which is of no meaning here."""

    tags = {"generation"}  # noqa: RUF012 - declared so by jinja2

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox with a budget. What it compiles is the template with everything that costs going through it."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        self.data_chars = 0
        """Of the template's own text in its largest macro: what a call makes by itself, at most."""
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, loopcontrols],
            finalize=_said,
            autoescape=False,
            cache_size=0,
        )
        self.filters = {
            **{name: _charged(self.filters[name]) for name in _FILTERS},
            "format": _format,
            "indent": _indent,
            "join": _join,
            "replace": _replace,
            "tojson": _tojson,
            _TURNS: _turns,
            _STEP: _step,
            _JOINED: _joined,
        }
        self.globals = {name: self.globals[name] for name in _GLOBALS}
        self.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        macros = tree.find_all((nodes.Macro, nodes.CallBlock))
        self.data_chars = max((_data_chars(macro) for macro in macros), default=0)
        _pay_within(tree)
        tree.set_environment(self)
        return tree

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str):
            return attr in _STRING_METHODS
        if isinstance(obj, list | tuple):
            return attr in _LIST_METHODS
        if isinstance(obj, dict):
            return attr in _DICT_METHODS
        if isinstance(obj, int | float | bytes | type | range):
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Any:
        made = super().wrap_str_format(value)
        if made is not None and re.search(r"\{[^}]*[:{]", getattr(value, "__self__", "")):
            raise SecurityError("chat templates may not format to a width")
        return made

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as in the base
        budget: Budget = __context[BUDGET]
        budget.spend(steps=1)
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str):
            budget.spend(chars=_grown(owner, name, args))
        if isinstance(__obj, Macro):
            budget.spend(chars=__self.data_chars)
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        budget: Budget = context[BUDGET]
        sizes = [len(value) for value in (left, right) if isinstance(value, str | list | tuple)]
        if not sizes:
            return self._number(operator, left, right)
        if operator == "+":
            budget.spend(chars=sum(sizes))
        elif operator == "*":
            times = right if isinstance(right, int) else left
            budget.spend(chars=sizes[0] * max(0, times) if isinstance(times, int) else 0)
        else:
            raise SecurityError(f"chat templates may not use {operator!r} on text")
        return super().call_binop(context, operator, left, right)

    def _number(self, operator: str, left: Any, right: Any) -> Any:
        bits = [value.bit_length() for value in (left, right) if isinstance(value, int)]
        if operator == "**" and (not isinstance(right, int) or right > MAX_NUMBER_BITS):
            raise SecurityError("chat templates may not use large powers")
        if max(bits, default=0) > MAX_NUMBER_BITS:
            raise SecurityError("chat templates may not use large numbers")
        return self.binop_table[operator](left, right)


def _data_chars(node: nodes.Node) -> int:
    """Of the template's own text."""
    return sum(len(data.data) for data in node.find_all(nodes.TemplateData))


def _pay_within(node: nodes.Node) -> None:
    """Puts a filter that pays before everything below `node` whose cost depends on data."""
    for name, value in node.iter_fields():
        if isinstance(value, list):
            setattr(node, name, [_paying(each) for each in value])
        else:
            setattr(node, name, _paying(value))


def _paying(value: Any) -> Any:
    if not isinstance(value, nodes.Node):
        return value
    if isinstance(value, nodes.For):
        size = _data_chars(value)
        _pay_within(value)
        value.iter = _through(_TURNS, value.iter, nodes.Const(size, lineno=value.lineno))
        return value
    _pay_within(value)
    match value:
        case nodes.Concat():
            return _through(_JOINED, nodes.List(value.nodes, lineno=value.lineno))
        case nodes.Getitem(arg=nodes.Slice()):
            value.node = _through(_STEP, value.node)
        case nodes.Compare():
            value.expr = _through(_STEP, value.expr)
        case nodes.Test():
            value.node = _through(_STEP, value.node)
        case _:
            pass
    return value


def _through(name: str, node: nodes.Node, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(cast("nodes.Expr", node), name, list(args), [], None, None, lineno=node.lineno)


def _grown(text: str, method: str, args: tuple[Any, ...]) -> int:
    """About how many characters a method of a string makes, from above."""
    if method == "replace" and len(args) > 1:
        return _replaced(text, args[0], args[1])
    if method == "join" and args:
        items = args[0]
        count = len(items) if hasattr(items, "__len__") else 0
        return sum(len(item) for item in items if isinstance(item, str)) + count * len(text) if count else 0
    return len(text)


def _replaced(text: str, old: Any, new: Any) -> int:
    old, new = str(old), str(new)
    count = text.count(old) if old else len(text) + 1
    return len(text) + count * len(new)


def _charged(filter_: Callable[..., Any]) -> Callable[..., Any]:
    """A filter of Jinja's that pays for what it is given and for what it makes."""
    kind = getattr(filter_, "jinja_pass_arg", None)
    takes = kind.name if kind is not None else ""

    @pass_context
    def charged(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        budget: Budget = context[BUDGET]
        budget.spend(steps=1, chars=_size(value))
        first = {"context": (context,), "environment": (context.environment,), "eval_context": (context.eval_ctx,)}
        made = filter_(*first.get(takes, ()), value, *args, **kwargs)
        budget.spend(chars=_size(made))
        return made

    return charged


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str | list | tuple | dict) else 0


@pass_context
def _said(context: Context, value: Any) -> Any:
    """Every expression whose value becomes part of the text."""
    if isinstance(value, Undefined):
        return value
    text = value if isinstance(value, str) else str(value)
    context[BUDGET].spend(chars=len(text))
    return text


class _Turns:
    """What a loop goes over. Its turns are paid for before it begins; each looks at the time."""

    def __init__(self, items: Any, budget: Budget) -> None:
        self._items = items
        self._budget = budget

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            self._budget.spend()
            yield item


@pass_context
def _turns(context: Context, value: Any, size: int) -> Any:
    """A loop, each turn of which has `size` characters of the template's own."""
    if isinstance(value, Undefined):
        return value
    items = value if hasattr(value, "__len__") else list(value)
    budget: Budget = context[BUDGET]
    budget.spend(steps=len(items), chars=len(items) * size)
    return _Turns(items, budget)


@pass_context
def _step(context: Context, value: Any) -> Any:
    """Something that may take its time with a long text."""
    context[BUDGET].spend(steps=1)
    return value


@pass_context
def _joined(context: Context, value: list[Any]) -> str:
    texts = [str(each) for each in value]
    context[BUDGET].spend(steps=1, chars=sum(map(len, texts)))
    return "".join(texts)


@pass_context
def _join(context: Context, value: Any, d: str = "", attribute: str | int | None = None) -> str:
    items = list(value)
    if attribute is not None:
        items = [context.environment.getitem(item, attribute) for item in items]
    return _joined_by(context, [str(item) for item in items], str(d))


def _joined_by(context: Context, texts: list[str], between: str) -> str:
    context[BUDGET].spend(steps=len(texts), chars=sum(map(len, texts)) + len(texts) * len(between))
    return between.join(texts)


@pass_context
def _replace(context: Context, value: Any, old: Any, new: Any, count: int | None = None) -> str:
    text = str(value)
    context[BUDGET].spend(steps=1, chars=_replaced(text, old, new))
    return text.replace(str(old), str(new), -1 if count is None else count)


@pass_context
def _format(context: Context, value: Any, *args: Any) -> str:
    """`"%s" | format(…)`, as Llama 4's templates write it: without widths, which make any length of nothing."""
    text, texts = str(value), tuple(map(str, args))
    if re.search("%[^s%]|%$", text.replace("%%", "")):
        raise SecurityError("chat templates may format with `%s` only")
    context[BUDGET].spend(steps=1, chars=len(text) + sum(map(len, texts)))
    return text % texts


@pass_context
def _indent(context: Context, value: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    """As Jinja's own."""
    before = width if isinstance(width, str) else " " * _indent_width(width)
    text = str(value)
    context[BUDGET].spend(steps=1, chars=len(text) + (text.count("\n") + 1) * len(before))
    lines = (text + "\n").splitlines() if not blank else text.splitlines()
    made = lines[:1] + [before + line if line or blank else line for line in lines[1:]]
    return (before if first else "") + "\n".join(made)


def _indent_width(width: int | None) -> int:
    if width is None or not 0 <= width <= MAX_INDENT:
        raise SecurityError(f"chat templates may not indent by more than {MAX_INDENT}")
    return width


@pass_context
def _tojson(
    context: Context,
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    width = None if indent is None else _indent_width(indent)
    made = json.dumps(value, ensure_ascii=ensure_ascii, indent=width, separators=separators, sort_keys=sort_keys)
    context[BUDGET].spend(steps=1, chars=len(made))
    return made


def _raise_exception(message: object) -> str:
    raise TemplateRefusedError(f"the chat template refuses it: {str(message)[:200]}")


@pass_context
def _strftime_now(context: Context, layout: str) -> str:
    moment: datetime = context[BUDGET].moment
    return moment.strftime(str(layout)[:100])
