"""The page and the schema of drill files, from the declarations that they are read by."""

from control_plane.drills.model import Drill
from control_plane.policy.kinds import Json
from control_plane.policy.reference import blocks_markdown
from control_plane.policy.schema import json_schema

_INTRODUCTION = """\
# Drill files

Generated from the declarations in `control_plane/drills/model.py` by `kvpilot schema --of drills --output markdown`;
do not edit.

A drill breaks something on purpose, under load, and holds what that costs against bounds. `kvpilot drill FILE` starts
a simulated pod for each endpoint of a policy, kvpilot and a real Envoy, all on free ports of this machine; it sends
requests evenly, whatever becomes of the earlier ones, and does each step at its time. In the end it prints what was
lost, for how long, what was degraded, and each bound with what was found; a bound that does not hold is told with
`file:line:column`, and the exit status is 1. `docs/reliability.md` has the results of the drills in `examples/drills/`.

```yaml
# yaml-language-server: $schema=drills.schema.json
policy: policies/eight.yaml
duration: 45s
load: {rate: 30}
steps:
  - name: pod dies
    at: 6s
    for: 9s
    fault: kill
    pods: ["127.0.0.1:8001"]
    bounds: {leavesWithin: 0s, recoversWithin: 15s}
bounds: {lostBeforeFirstByte: 0, unended: 0}
```

## Against a staging fleet
`kvpilot drill FILE --target http://staging:8080 --target-admin http://staging:9909` sends the load there and starts
nothing. `policy` is then the one that the fleet runs. Only what pods can be told is possible, and only with pods that
the file allows, each with a URL that takes `POST {"kind": "hang"}` and `DELETE`:

```yaml
allow: {"10.0.0.7:8000": "http://10.0.0.7:9100/fault"}
```

Whatever ends the drill, faults are taken back; a drill that is killed cannot do that.
"""


def drills_markdown() -> str:
    """The page, the same on every call."""
    return "\n".join([_INTRODUCTION, blocks_markdown(Drill)])


def drills_schema() -> Json:
    """The JSON Schema, the same on every call."""
    return json_schema(Drill, "kvpilot drills")
