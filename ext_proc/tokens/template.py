"""A model's chat template: messages and tools in, the text of the prompt out. Pure; time is an argument.

    template = ChatTemplate(source)
    text = template.render({"messages": [...], "add_generation_prompt": True}, moment=datetime.now(), clock=monotonic)

Templates are Jinja, rendered as `transformers` does (`apply_chat_template`). They come from model repositories, so they
are strangers' programs, and run in a sandbox with a budget (`ext_proc.tokens.sandbox`).
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from jinja2 import TemplateSyntaxError, nodes

from ext_proc.tokens.errors import TemplateError
from ext_proc.tokens.sandbox import BUDGET, MAX_RENDER_S, Budget, TemplateEnvironment

MAX_SOURCE_CHARS: Final = 64 * 1024
"""Of a template; the longest ones that models come with have some 30,000."""


class ChatTemplate:
    """One template. Immutable; may be rendered by several threads at once."""

    def __init__(self, source: str) -> None:
        """Raises TemplateError for what is no template."""
        if len(source) > MAX_SOURCE_CHARS:
            raise TemplateError(f"the chat template has more than {MAX_SOURCE_CHARS:,} characters")
        environment = TemplateEnvironment()
        try:
            self._template = environment.from_string(source)
            self.takes_parts = _takes_parts(environment.parse(source))
            """Whether it looks into the parts of a message's content, so that contents are to be lists."""
        except TemplateSyntaxError as error:
            raise TemplateError(error.message or "it is no template", error.lineno) from error
        except Exception as error:  # whatever the compiler of a stranger's program trips over
            raise TemplateError(f"it cannot be compiled: {_words(error)}") from error

    def render(self, variables: Mapping[str, Any], *, moment: datetime, clock: Callable[[], float]) -> str:
        """The prompt's text; `moment` is the local time, `clock` gives seconds to measure by. Raises TemplateError."""
        budget = Budget(moment, clock, clock() + MAX_RENDER_S)
        try:
            return self._template.render({**variables, BUDGET: budget})
        except TemplateError:
            raise
        except Exception as error:  # a template is a program, and this one does not fit the conversation
            raise TemplateError(_words(error)) from error


def _takes_parts(tree: nodes.Template) -> bool:
    """Whether a loop goes over a message's `content`, directly, by that name, or in a macro that it is given to.

    That is how engines tell templates for lists of parts from those for text (vLLM's `--chat-template-content-format
    auto`, 0.32).
    """
    messages = _messages(tree)
    macros = {macro.name: macro for macro in tree.find_all(nodes.Macro)}
    if any(_is_content(_source(loop), messages) for loop in tree.find_all(nodes.For)):
        return True
    if any(_loops_over(macros[name], given) for name, given in _given(tree, macros, messages)):
        return True
    within = {id(loop) for macro in macros.values() for loop in macro.find_all(nodes.For)}
    return any(_is_name(_source(loop), {"content"}) for loop in tree.find_all(nodes.For) if id(loop) not in within)


def _messages(tree: nodes.Template) -> set[str]:
    """What single messages are called."""
    lists = {"messages"}
    assigned = [each for each in tree.find_all(nodes.Assign) if isinstance(each.target, nodes.Name)]
    before = 0
    while len(lists) > before:
        before = len(lists)
        lists |= {str(getattr(each.target, "name", "")) for each in assigned if _is_name(_unwrapped(each.node), lists)}
    loops = (loop for loop in tree.find_all(nodes.For) if _is_name(_source(loop), lists))
    return {loop.target.name for loop in loops if isinstance(loop.target, nodes.Name)}


def _given(
    tree: nodes.Template, macros: Mapping[str, nodes.Macro], messages: set[str]
) -> Iterator[tuple[str, set[str]]]:
    """Macros, with the names of the parameters that a call gives a message's content to."""
    for call in tree.find_all(nodes.Call):
        macro = macros.get(call.node.name) if isinstance(call.node, nodes.Name) else None
        if macro is not None:
            by_place = zip((each.name for each in macro.args), call.args, strict=False)
            by_name = ((each.key, each.value) for each in call.kwargs if isinstance(each, nodes.Keyword))
            given = [*by_place, *by_name]
            yield macro.name, {name for name, value in given if _is_content(_unwrapped(value), messages)}


def _loops_over(macro: nodes.Macro, names: set[str]) -> bool:
    return any(_is_name(_source(loop), names) for loop in macro.find_all(nodes.For))


def _is_content(node: nodes.Node, messages: set[str]) -> bool:
    match node:
        case nodes.Getattr(attr="content") | nodes.Getitem(arg=nodes.Const(value="content")):
            return _is_name(node.node, messages)
        case _:
            return False


def _is_name(node: nodes.Node, names: set[str]) -> bool:
    return isinstance(node, nodes.Name) and node.name in names


def _source(loop: nodes.For) -> nodes.Node:
    return _unwrapped(loop.iter)


def _unwrapped(node: nodes.Node) -> nodes.Node:
    """Without filters (among them what `_pay_within` put around), tests and slices."""
    while True:
        match node:
            case nodes.Filter() | nodes.Test() if node.node is not None:
                node = node.node
            case nodes.Getitem(arg=nodes.Slice()):
                node = node.node
            case _:
                return node


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}" if str(error) else type(error).__name__
