"""What a drill file may hold: a policy, a load, what is broken when, and what that may cost. Read like a policy.

policy: eight.yaml
duration: 20s
load: {rate: 20}
steps:
  - name: a pod dies
    at: 5s
    fault: kill
    pods: ["127.0.0.1:8001"]
    bounds: {leavesWithin: 1s}
bounds: {lostBeforeFirstByte: 0}
"""

from collections.abc import Mapping

from control_plane.notices.kinds import KINDS
from control_plane.policy.blocks import BlockOf
from control_plane.policy.codes import Code
from control_plane.policy.containers import ListOf, MapOf, NamedList
from control_plane.policy.decimals import Decimal
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.names import PLACE
from control_plane.policy.scalars import Boolean, Choice, Integer, Percent, Text
from control_plane.policy.units import Duration

MAX_TEXT = 1024
"""Characters of a name, a file or a URL."""

MAX_PODS = 64
"""Simulated pods are processes of this machine."""

MAX_STEPS = 100
"""Things that are broken in one drill; more are several drills."""

MAX_RATE = 2_000
"""Requests per second: more than one client can be on time with."""

MAX_REQUESTS = 200_000
"""Of one drill: what is remembered of each takes about a kilobyte."""

MAX_TOKENS = 100_000
"""Tokens of a prompt or an answer: minutes of a simulated pod's time."""

MAX_COUNT = 1_000_000
"""Bounds that count requests: beyond what the longest drill sends."""

POD_FAULTS = ("hang", "die", "refuse", "slow", "status", "cut", "failScrape", "lie", "stale", "gpu")
"""What a running pod is told to do; also possible with a staging fleet."""

PROCESS_FAULTS = ("kill", "freeze", "stutter", "restart")
"""What is done to a process, a pod's or kvpilot's own."""

FAULTS = (*POD_FAULTS, *PROCESS_FAULTS, "rollingRestart", "breakPolicy")

PROCESSES = ("kvpilot", "picker", "controlPlane")

_SOME_TEXT = Text("a text without control characters", "[^\\x00-\\x1f\\x7f]+", MAX_TEXT, code=Code.NOT_A_VALUE)
_ADDRESS = Text("an address `ip:port`", "[0-9a-fA-F.:\\[\\]]+", 64, code=Code.BAD_ADDRESS)
_URL = Text("a URL `http://…`", "https?://[^\\x00-\\x20\\x7f]+", MAX_TEXT, code=Code.NOT_A_VALUE)
_NOTICE = Text("a kind of notice, see docs/notifications.md", "|".join(KINDS), 64, code=Code.NOT_A_VALUE)
_TIME = Duration("0ms", "24h")
_SOME_TIME = Duration("1ms", "24h")


@block()
class Load(Block):
    """Requests that come all the time, evenly, whatever becomes of the earlier ones."""

    rate: int = setting(Integer(1, MAX_RATE), default=20, doc="Requests per second.")
    streamed: int = setting(Percent(), default=50, doc="How many of them are streamed.")
    leaving: int = setting(
        Percent(), default=0, doc="How many of the clients leave 0.2 s after asking, answered or not."
    )
    models: tuple[str, ...] = setting(
        ListOf(_SOME_TEXT), default=(), absent=((), "all of the policy"), doc="The models that are asked for, in turn."
    )
    prompt_tokens: int = setting(Integer(1, MAX_TOKENS), default=200, doc="Length of a prompt, about.")
    output_tokens: int = setting(Integer(1, MAX_TOKENS), default=30, doc="Length of an answer.")
    prompts: int = setting(
        Integer(1, MAX_COUNT), default=1000, doc="How many different prompts there are; then they begin again."
    )
    timeout_s: float = setting(
        _SOME_TIME, default=30.0, doc="How long a client waits for the end; what takes longer hangs."
    )


@block()
class Share(Block):
    """How much of the requests the broken pods may get, each in the mean."""

    most: float = setting(Decimal(0, 1000), doc="A factor: 0.15 is 15 % of what each of `of` gets.")
    of: str = setting(
        Choice(("others", "fair")),
        default="others",
        doc="`others`: the mean of the other pods of their pools. `fair`: the mean of all of them.",
    )
    from_s: float = setting(
        _TIME, default=0.0, doc="Counted are requests sent so long after the step began, and later."
    )


@block()
class AddedDelay(Block):
    """How much later first tokens may come than before the first step."""

    most_s: float = setting(_TIME, doc="The difference of the two percentiles.")
    percentile: int = setting(Integer(1, 100), default=99, doc="Which one; 100 is the slowest request.")
    of: str = setting(
        Choice(("all", "others")),
        default="all",
        doc="`others`: only of requests that none of the broken pods answered.",
    )
    from_s: float = setting(_TIME, default=0.0, doc="Of requests sent so long after the step began, and later.")


@block()
class Afterwards(Block):
    """What part of all answers its pods may have, together, in some time after the step."""

    from_s: float = setting(_TIME, default=0.0, doc="Counted are requests sent so long after its end, and later,")
    to_s: float = setting(_SOME_TIME, doc="and earlier than so long after it.")
    most: int = setting(Percent(), default=100, doc="Their share of the answers, at most: a way back that is gradual.")
    least: int = setting(Percent(), default=0, doc="The same, at least: a way back that comes to its end.")


@block()
class StepBounds(Block):
    """What a step may cost; what is not given is not looked at."""

    leaves_within_s: float | None = setting(
        _TIME,
        default=None,
        absent=(None, "not looked at"),
        doc="How long after its begin a request may still be sent that the pods answer.",
    )
    named_after_failures: int | None = setting(
        Integer(1, 1000),
        default=None,
        absent=(None, "not looked at"),
        doc="After so many failures of one of its pods were told to the picker, no decision names that pod.",
    )
    ejected_within_s: float | None = setting(
        _TIME,
        default=None,
        absent=(None, "not looked at"),
        doc="How long after its begin the picker may still hold one of its pods for healthy.",
    )
    share: tuple[Share, ...] = setting(ListOf(BlockOf(Share)), default=(), doc="What its pods may get.")
    added_delay: tuple[AddedDelay, ...] = setting(
        ListOf(BlockOf(AddedDelay)), default=(), doc="By how much first tokens may be later."
    )
    recovers_within_s: float | None = setting(
        _TIME,
        default=None,
        absent=(None, "not looked at"),
        doc="How long after its end each of its pods answers requests again, or the picker picks.",
    )
    afterwards: tuple[Afterwards, ...] = setting(
        ListOf(BlockOf(Afterwards)), default=(), doc="How fast its pods have their part again, and how slowly."
    )
    labelled: int | None = setting(
        Percent(),
        default=None,
        absent=(None, "not looked at"),
        doc="How many of the answers while it lasts must say that they are degraded (`x-kvpilot-degraded`), at least.",
    )


@block()
class Step(Block):
    """Something that is broken for a time."""

    name: str = setting(_SOME_TEXT, doc="Its name in the report.")
    at_s: float = setting(_TIME, doc="When it begins, after the first request.")
    for_s: float | None = setting(
        _SOME_TIME, default=None, absent=(None, "to the end of the drill"), doc="How long it is so."
    )
    fault: str = setting(
        Choice(FAULTS),
        doc="`kill`: SIGKILL; a new process comes when the step ends. `freeze`: SIGSTOP: connections are taken, but "
        "nothing is answered, as behind a network that drops packets. `stutter`: frozen for `pause`, running for 0.1 "
        "s, and so on: everything is answered, most of it late. `restart`: SIGTERM and a new process, `count` "
        "times over the step. `rollingRestart`: each pod in turn is drained, restarted and put back. `breakPolicy`: "
        "the policy file is overwritten with one that has errors. The others are told to pods: `hang`: requests are "
        "taken and never answered. `die`: connections are reset before an answer. `refuse`: nothing listens. `slow`: "
        "every step of the engine takes `factor` times as long. `status`: the answer is `code`. `cut`: answers break "
        "off after `afterChunks` events. `failScrape`: metrics answer 500. `lie`: metrics tell of no load. `stale`: "
        "metrics stay as they are. `gpu`: the pages about hardware (`/gpu-status`, `/gpu-metrics`) tell of the error "
        "`xid`, and the pod serves on.",
    )
    pods: tuple[str, ...] = setting(
        ListOf(_ADDRESS, 1), default=(), doc="Whose fault it is, by their addresses in the policy."
    )
    zone: str = setting(PLACE, default="", absent=("", "none"), doc="All pods of this zone.")
    pool: str = setting(_SOME_TEXT, default="", absent=("", "none"), doc="All pods of this pool.")
    process: str = setting(
        Choice(PROCESSES),
        default="",
        absent=("", "none"),
        doc="A process of kvpilot instead of pods, for `kill`, `freeze`, `stutter` and `restart`. `picker` and "
        "`controlPlane` are processes of their own with `apart`.",
    )
    factor: float = setting(Decimal(0, 10_000), default=10.0, doc="How much slower `slow` is.")
    code: int = setting(Integer(400, 599), default=500, doc="What `status` answers.")
    after_chunks: int = setting(Integer(0, MAX_COUNT), default=3, doc="When `cut` cuts.")
    xid: int = setting(Integer(1, 999), default=79, doc="The error that `gpu` tells of; 79 is a GPU off the bus.")
    everything: bool = setting(
        Boolean(),
        default=False,
        doc="`hang`, `die` and `status` are also of health checks and metrics, as of a whole process that is broken.",
    )
    pause_s: float = setting(Duration("10ms", "60s"), default=0.4, doc="How long `stutter` freezes at a time.")
    count: int = setting(Integer(1, 1000), default=1, doc="How often `restart` restarts, evenly over the step.")
    bounds: StepBounds = setting(BlockOf(StepBounds), default=StepBounds(), doc="What it may cost.")


@block()
class Bounds(Block):
    """What the whole drill may cost; what is not given is not looked at."""

    lost_before_first_byte: int | None = setting(
        Integer(0, MAX_COUNT),
        default=None,
        absent=(None, "not looked at"),
        doc="Requests that end without any byte of an answer, or with an error.",
    )
    cut: int | None = setting(
        Integer(0, MAX_COUNT),
        default=None,
        absent=(None, "not looked at"),
        doc="Answers that began and broke off: nobody may repeat them.",
    )
    unended: int = setting(Integer(0, MAX_COUNT), default=0, doc="Requests without an end after `load.timeout`.")
    notices: Mapping[str, int] = setting(
        MapOf(_NOTICE, Integer(0, 1000), len(KINDS)),
        default_factory=dict,
        hash=False,
        doc="How many troubles of a kind are told of while the drill lasts: so many, no more and no fewer. Kinds that "
        "are not here are not looked at.",
    )
    added_delay: tuple[AddedDelay, ...] = setting(
        ListOf(BlockOf(AddedDelay)), default=(), doc="As of a step; counted from the first step."
    )


@block()
class Drill(Block):
    """A whole file."""

    policy: str = setting(
        _SOME_TEXT,
        doc="The policy, a file relative to this one. For each of its endpoints there is a simulated pod; its "
        "addresses, those of listeners too, stand for free ports of this machine.",
    )
    envoy_zone: str = setting(PLACE, default="", absent=("", "none"), doc="The zone that Envoy is in.")
    apart: bool = setting(
        Boolean(), default=False, doc="Whether the picker and the control plane are processes of their own."
    )
    profile: str = setting(_SOME_TEXT, default="demo", doc="What the pods' engines are, as for `kvpilot pods`.")
    duration_s: float = setting(Duration("1s", "24h"), doc="How long requests are sent.")
    load: Load = setting(BlockOf(Load), default=Load(), doc="The requests.")
    steps: tuple[Step, ...] = setting(
        NamedList("steps", BlockOf(Step), maximum=MAX_STEPS), default=(), doc="What is broken, each at its time."
    )
    bounds: Bounds = setting(BlockOf(Bounds), default=Bounds(), doc="What all of it may cost.")
    allow: Mapping[str, str] = setting(
        MapOf(_ADDRESS, _URL, MAX_PODS * 16),
        default_factory=dict,
        hash=False,
        doc="With `--target`: the pods of the staging fleet that may be broken, and the URL of each that takes "
        '`POST {"kind": …}` and `DELETE`, as `/fault` of simulated pods does. No other pod is touched.',
    )
