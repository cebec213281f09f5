"""The page and the schema of scenario files, from the declarations that they are read by."""

from control_plane.policy.kinds import Json
from control_plane.policy.reference import blocks_markdown
from control_plane.policy.schema import json_schema
from control_plane.scenarios.model import Scenarios

_INTRODUCTION = """\
# Scenario files

Generated from the declarations in `control_plane/scenarios/model.py` by `kvpilot schema --of scenarios --output
markdown`; do not edit.

A scenario file says what a policy is expected to do with a request, given how the fleet is. `kvpilot test FILE` asks
the compiled routes, judged as Envoy judges them, and the real picker; there is no Envoy and no network in it. What
does not hold is printed with `file:line:column` and with what happens instead. Files are read like policies: types by
key, unknown keys are errors.

```yaml
# yaml-language-server: $schema=scenarios.schema.json
policy: two-zones.yaml
scenarios:
  - name: a warm cache wins
    request: {model: llama-3-70b, promptTokens: 4000}
    envoy: {zone: zone-a}
    fleet: {"127.0.0.1:8002": {cachedTokens: 3000}}
    expect: {pool: chat, pick: "127.0.0.1:8002"}
```

`examples/scenarios/` has files that run. Each scenario starts from a fresh picker and the policy's own endpoints;
those that a running kvpilot would discover are not known. TLS, tokens, authorization, rate limits and faults are not
looked at: they decide whether a request passes, not where it goes.
"""


def scenarios_markdown() -> str:
    """The page, the same on every call."""
    return "\n".join([_INTRODUCTION, blocks_markdown(Scenarios)])


def scenarios_schema() -> Json:
    """The JSON Schema, the same on every call."""
    return json_schema(Scenarios, "kvpilot scenarios")
