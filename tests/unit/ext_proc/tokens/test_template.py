"""Chat templates: the shapes of well-known ones, and programs that mean no good."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from ext_proc.tokens.errors import BudgetExceededError, TemplateError, TemplateRefusedError
from ext_proc.tokens.sandbox import MAX_RENDER_S
from ext_proc.tokens.template import MAX_SOURCE_CHARS, ChatTemplate

NOON = datetime(2026, 7, 4, 12, tzinfo=UTC)

LLAMA = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday: " + date_string + "\\n" }}
{%- if tools is not none %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}<|eot_id|>
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

MISTRAL = """{{ bos_token }}
{%- set ns = namespace(index=0) %}
{%- for message in messages %}
    {%- if (message.role == "user") != (ns.index % 2 == 0) %}
        {{- raise_exception("roles must alternate user/assistant") }}
    {%- endif %}
    {%- set ns.index = ns.index + 1 %}
    {%- if message.role == "user" %}
        {%- if tools and loop.last %}{{ "[AVAILABLE_TOOLS]" ~ (tools | tojson) ~ "[/AVAILABLE_TOOLS]" }}{% endif %}
        {{- "[INST] " + message.content + "[/INST]" }}
    {%- else %}
        {%- generation %}{{ " " + message.content + eos_token }}{% endgeneration %}
    {%- endif %}
{%- endfor %}"""


SHOWS = "{% macro show(said, count) %}{% for part in said %}{{ part.text }}{% endfor %}{% endmacro %}"


def rendered(source: str, **variables: Any) -> str:
    """The text of a template."""
    return ChatTemplate(source).render(variables, moment=NOON, clock=time.monotonic)


def said(*contents: str) -> list[dict[str, str]]:
    """A conversation that begins with the user."""
    return [{"role": "user" if at % 2 == 0 else "assistant", "content": text} for at, text in enumerate(contents)]


def test_llama() -> None:
    """A date, white space control, slices, a nested tool with indentation and characters beyond ASCII."""
    system = {"role": "system", "content": " be brief "}
    found = rendered(
        LLAMA,
        messages=[system, *said(" hi ")],
        tools=[{"name": "größe"}],
        bos_token="<|b|>",
        add_generation_prompt=True,
    )
    assert found == (
        '<|b|><|start_header_id|>system<|end_header_id|>\n\nToday: 04 Jul 2026\n{\n    "name": "größe"\n}\nbe brief'
        "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_mistral() -> None:
    """Counters in a namespace, `~`, the loop's own variables, the tag of training data."""
    found = rendered(MISTRAL, messages=said("a", "b", "c"), tools=[{"f": "<x>"}], bos_token="<s>", eos_token="</s>")
    assert found == '<s>[INST] a[/INST] b</s>[AVAILABLE_TOOLS][{"f": "<x>"}][/AVAILABLE_TOOLS][INST] c[/INST]'


def test_its_own_refusal() -> None:
    """A conversation that the template does not take is no bug of it."""
    with pytest.raises(TemplateRefusedError, match="roles must alternate"):
        rendered(MISTRAL, messages=[{"role": "assistant", "content": ""}], bos_token="")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{% for x in it %}{{ x }}{% if x == 2 %}{% break %}{% endif %}{% endfor %}", "12"),
        ("{% for x in it if x > 1 %}{{ loop.index }}/{{ loop.length }} {% else %}none{% endfor %}", "1/2 2/2 "),
        ("{% for x in it[::-1] %}{{ x }}{{ loop.previtem is defined }}{% endfor %}", "3False2True1True"),
        ("{{ nothing }}{{ nothing is defined }}{{ nothing | default('x') }}", "Falsex"),
        ("{{ it | map('string') | join('-') }}{{ it | length }}{{ it | first }}{{ it[-1] }}", "1-2-331" + "3"),
        ("{{ 'a,b'.split(',')[-1] }}{{ ' x '.strip() }}{{ 'abc'.startswith('ab') }}{{ 'x' in 'xyz' }}", "bxTrueTrue"),
        ("{{ 'a\nb' | indent(2) }}{{ 'aXa'.replace('a', 'b') }}{{ 'aXa' | replace('X', 'Y') }}", "a\n  bbXbaYa"),
        ("{{ one | items | list }}{{ one | tojson }}{{ one.a }}{{ one['a'] }}", "[('a', 1)]{\"a\": 1}11"),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(1) ~ m(none) }}{{ 2 * 3 + 1 }}", "<1><None>7"),
        ("{% set q %}in{{ it[0] }}{% endset %}{{ q }}{{ [1] + [2] }}{{ ('a', 'b') | join }}", "in1[1, 2]ab"),
    ],
)
def test_what_templates_do(source: str, expected: str) -> None:
    """Paying for it changes nothing about what comes of it."""
    assert rendered(source, it=[1, 2, 3], one={"a": 1}) == expected


HOSTILE = {
    "nested loops": "{% for i in range(99999) %}{% for j in range(99999) %}{{ i }}{% endfor %}{% endfor %}",
    "silent loops": "{% for i in range(999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "doubling by ~": "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "doubling by +": "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "doubling lists": "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "joining": "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = [n.x, n.x] | join %}{% endfor %}",
    "replacing": "{% set n = namespace(x='aa') %}{% for i in [1] * 9 %}{% set n.x = n.x.replace('a', n.x) %}"
    "{% endfor %}",
    "multiplying": "{{ 'a' * 10 ** 9 }}",
    "multiplying at once": "{{ 'a' * 1000000000 }}",
    "its own text": "{% for i in range(90000) %}" + "x" * 5_000 + "{% endfor %}",
    "repeating": "{% set x = 'a' * 9999 %}{% for i in range(9999) %}{{ x }}{% endfor %}",
    "macros": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
    "long macros": "{% macro f() %}" + "x" * 9_999 + "{% endmacro %}{% for i in range(9999) %}{{ f() }}{% endfor %}",
    "endless macro": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "numbers": "{% set n = namespace(x=3) %}{% for i in range(9999) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "powers": "{{ 2 ** 1000000000 }}",
    "formats": "{{ '{:>1000000000}'.format(1) }}",
    "nested formats": "{{ '{:{}}'.format(1, 1000000000) }}",
    "old formats": "{{ '%1000000000d' % 1 }}",
    "widths": "{{ 'a'.center(1000000000) }}",
    "indents": "{{ 'a\nb' | indent(1000000000) }}",
    "deep json": "{{ [[1]] | tojson(indent=1000000000) }}",
    "bytes": "{{ (1).to_bytes(1000000000) }}",
    "classes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ raise_exception.__globals__['x'] }}",
    "the context": "{{ self._TemplateReference__context.environment.filters }}",
    "other files": "{% include '/etc/passwd' %}",
    "slices": "{% for i in range(90000) %}{% set y = long[1:] %}{% endfor %}",
    "comparisons": "{% for i in range(90000) %}{% set y = long == same %}{% endfor %}",
    "searches": "{% for i in range(90000) %}{% set y = 'b' in long %}{% endfor %}",
    "tests": "{% for i in range(90000) %}{% set y = long is eq(same) %}{% endfor %}",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_programs_end_soon(what: str) -> None:
    """They are stopped, or make nothing; none takes longer than it may, but for the last step."""
    long, same = "a" * 4_000_000, "a" * 2_000_000 + "a" * 2_000_000
    template = ChatTemplate(HOSTILE[what])
    started = time.monotonic()
    with pytest.raises(TemplateError):
        template.render({"long": long, "same": same}, moment=NOON, clock=time.monotonic)
    assert time.monotonic() - started < 20 * MAX_RENDER_S


def test_format() -> None:
    """As Llama 4's templates write arguments of tools."""
    assert rendered("{{ '%s=\"%s\" 100%%' | format(name, value) }}", name="a", value=[1]) == 'a="[1]" 100%'
    for layout in ("%9999999s", "%d", "%(a)s", "%", "%%%", "%%%5s"):
        with pytest.raises(TemplateError):
            rendered("{{ layout | format(1) }}", layout=layout)


def test_time_is_up() -> None:
    """The clock that it is given counts."""
    ticks = iter(range(1_000_000))
    with pytest.raises(BudgetExceededError, match="longer than"):
        ChatTemplate("{% for i in range(99) %}{% endfor %}").render({}, moment=NOON, clock=lambda: next(ticks))


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("a\n{% for %}", 2),
        ("{{ x | center }}", 1),
        ("{% if %}", 1),
        ("{{" + "(" * 9_999 + "}}", 0),
        ("\n\n{{ 'a }}", 3),
    ],
)
def test_no_template(source: str, line: int) -> None:
    """It says in which line."""
    with pytest.raises(TemplateError) as raised:
        ChatTemplate(source)
    assert raised.value.line in (line, 1)
    with pytest.raises(TemplateError, match="more than"):
        ChatTemplate("x" * (MAX_SOURCE_CHARS + 1))


def test_a_bug_of_the_template() -> None:
    """Something that it takes for granted is not there."""
    with pytest.raises(TemplateError, match="UndefinedError"):
        rendered("{{ messages[0].nothing.more }}", messages=[{}])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", False),
        ("{% for m in messages %}{% for part in m.content %}{% endfor %}{% endfor %}", True),
        ("{% for m in messages %}{% for part in m['content'] | list %}{% endfor %}{% endfor %}", True),
        ("{% set content = m['content'] %}{% for part in content %}{% endfor %}", True),
        ("{% set c = m['content'] %}{% for part in c %}{% endfor %}", False),
        ("{% set all = messages[1:] %}{% for m in all %}{% for p in m.content %}{% endfor %}{% endfor %}", True),
        ("{% for m in messages %}{% for p in tools.content %}{% endfor %}{% endfor %}", False),
        (SHOWS + "{% for m in messages %}{{ show(m.content, 1) }}{% endfor %}", True),
        (SHOWS + "{% for m in messages %}{{ show(count=1, said=m['content']) }}{% endfor %}", True),
        (SHOWS + "{% for m in messages %}{{ show(m.role, m.content) }}{% endfor %}", False),
        ("{% macro show(content) %}{% for p in content %}{% endfor %}{% endmacro %}{{ show(1) }}", False),
    ],
)
def test_whether_it_takes_parts(source: str, expected: bool) -> None:
    """A loop over a message's content means that it is to be a list."""
    assert ChatTemplate(source).takes_parts is expected
