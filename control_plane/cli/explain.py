"""`kvpilot explain`: which rule, route and pools a request gets under a policy, and why; or a decision of a sidecar."""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from control_plane.cli.admin_client import AdminError, add_admin, ask_for
from control_plane.cli.argument_types import number
from control_plane.cli.compiling import add_place, compiled_for, envoy_version

if TYPE_CHECKING:
    from control_plane.compile import Compiled
    from control_plane.compile.evaluate import Request
    from control_plane.policy import Document
    from control_plane.policy.model import Policy
    from control_plane.scenarios.decide import Decided

NAME = "explain"
HELP = "which rule, route and pool a request gets under POLICY, and why; or one decision of a running sidecar"

OUTPUTS = ("text", "json")

GATES = {
    "jwt_authn": "access tokens",
    "kvpilot.deny": "authorization",
    "kvpilot.allow": "authorization",
    "local_ratelimit": "rate limits",
    "filters.http.fault": "faults",
}
"""Part of a filter's name → what may end a request before its route does; these are not judged here."""

_TOKENS = number(1, 1_000_000)
"""Of a prompt or an answer: more than any engine's context."""

_DECISION = re.compile("[0-9a-f]{16}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The request, and the Envoy that it comes through."""
    parser.add_argument("what", metavar="POLICY|DECISION_ID", help="a policy, or the value of x-kvpilot-decision")
    parser.add_argument("--model", default="", help="the model that the body asks for")
    parser.add_argument("--stream", action="store_true", help="the answer is to be streamed")
    parser.add_argument(
        "--prompt-tokens",
        type=_TOKENS,
        default=1,
        metavar="N",
        help="about how long the prompt is (default: one token)",
    )
    parser.add_argument(
        "--max-tokens", type=_TOKENS, metavar="N", help="how long the answer may become (default: no bound)"
    )
    parser.add_argument("--tools", action="store_true", help="the body offers the model a tool")
    parser.add_argument("--body", type=Path, metavar="FILE", help="the whole body, in place of all that is above")
    parser.add_argument(
        "--header", action="append", default=[], type=_header, metavar="NAME=VALUE", help="a header; several times"
    )
    parser.add_argument("--path", default="/v1/chat/completions", help="path and query (default: %(default)s)")
    parser.add_argument("--method", default="", help="its method (default: POST with a body, else GET)")
    parser.add_argument("--host", default="localhost", help="its Host header (default: %(default)s)")
    parser.add_argument("--listener", default="", help="the listener that it comes to (default: the first)")
    parser.add_argument("--envoy-version", type=envoy_version, metavar="X.Y", help="through an older Envoy")
    add_place(parser)
    parser.add_argument("--output", choices=OUTPUTS, default="text", help="form of the answer (default: text)")
    add_admin(parser)


def _header(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name.strip().lower(), value.strip()


def run(args: argparse.Namespace) -> int:
    """Prints the explanation; 1 when there is none, and standard error says why."""
    if _DECISION.fullmatch(args.what) and not Path(args.what).exists():
        return _explain_decision(args)
    return _explain_policy(args)


# --- a request under a policy ---


def _explain_policy(args: argparse.Namespace) -> int:
    from control_plane.cli.policy_file import read_policy
    from control_plane.compile.evaluate import UnknownMatcherError
    from control_plane.fleet.model import static_fleet
    from control_plane.scenarios.decide import decide, listener_of
    from control_plane.sidecar.picker_settings import picker_settings

    document = read_policy(Path(args.what), args.group)
    if document is None:
        return 1
    listener = listener_of(document.policy, args.listener)
    compiled = compiled_for(document, version=args.envoy_version, region=args.region, zone=args.zone, group=args.group)
    if listener is None or listener.name not in compiled.listeners:
        print(f"there is no listener {listener.name if listener else args.listener} for this Envoy", file=sys.stderr)
        return 1
    settings = picker_settings(document.policy, static_fleet(document.policy), document.version, args.region, args.zone)
    try:
        request = _request(args)
        decided = decide(document, compiled, settings, request, listener)
    except OSError as error:
        print(f"{args.body}: {error.strerror}", file=sys.stderr)
        return 1
    except UnknownMatcherError as error:
        print(f"this cannot be judged without an Envoy: {error}", file=sys.stderr)
        return 1
    found = _explanation(document, compiled, decided)
    if args.output == "json":
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _print_text(found, request)
    return 0


def _request(args: argparse.Namespace) -> "Request":
    from control_plane.compile.evaluate import Request
    from control_plane.scenarios.model import AskedRequest
    from control_plane.scenarios.put import made_up

    asked = AskedRequest(
        model=args.model,
        path=args.path,
        prompt_tokens=args.prompt_tokens,
        max_tokens=args.max_tokens,
        tools=args.tools,
        stream=args.stream,
        listener=args.listener,
        body="",
        to_pool="",
    )
    body = args.body.read_bytes() if args.body else made_up(asked)
    method = args.method.upper() or ("POST" if body else "GET")
    headers = dict(args.header)
    return Request(path=args.path, method=method, authority=headers.pop("host", args.host), headers=headers, body=body)


def _explanation(document: "Document", compiled: "Compiled", decided: "Decided") -> dict[str, Any]:
    from control_plane.compile.filters import PICKER_FILTER

    mark = document.mark(decided.declared)
    evaluation = decided.evaluation
    return {
        "listener": decided.listener,
        "virtual_host": evaluation.virtual_host,
        "route": decided.route,
        "rule": decided.rule,
        "policy": f"{mark.file}:{mark.line}" if mark else "",
        "status": decided.status,
        "pools": [{"pool": name, "weight": weight} for name, weight in decided.pools],
        "model": decided.model,
        "engine_model": decided.engine_model,
        "picker": decided.is_picked,
        "timeouts": {key: decided.action[key] for key in ("timeout", "idleTimeout") if key in decided.action},
        "retries": _retries(compiled, decided),
        "mirrors": _mirrors(decided.action),
        "fallback": _fallback(document.policy, decided) if decided.is_picked else [],
        "filters": list(evaluation.filters),
        "passed": [{"route": passed.name, "why": passed.why} for passed in evaluation.passed],
        "without_picker": _without_picker(document, decided, PICKER_FILTER in evaluation.filters),
    }


def _retries(compiled: "Compiled", decided: "Decided") -> str:
    """The route's own retry policy, else that of the first pool's cluster."""
    from control_plane.compile.names import cluster_name

    policy: Any = decided.action.get("retryPolicy")
    if policy is None and decided.pools:
        cluster: Any = compiled.clusters.get(cluster_name(decided.pools[0][0]), {})
        for options in cluster.get("typedExtensionProtocolOptions", {}).values():
            policy = policy or options.get("retryPolicy")
    if not policy:
        return "none"
    codes = ", ".join(str(code) for code in policy.get("retriableStatusCodes", ()))
    return f"{policy.get('numRetries', 1)} on {policy.get('retryOn', '')}" + (f" ({codes})" if codes else "")


def _mirrors(action: Mapping[str, Any]) -> list[str]:
    found = []
    for mirror in action.get("requestMirrorPolicies", ()):
        share = mirror.get("runtimeFraction", {}).get("defaultValue", {})
        divisor = {"HUNDRED": 1, "TEN_THOUSAND": 100, "MILLION": 10_000}.get(share.get("denominator", "HUNDRED"), 1)
        percent = f"{share['numerator'] / divisor:g} %" if "numerator" in share else "all"
        found.append(f"{percent} to {mirror.get('cluster', '').removeprefix('pool/')}")
    return found


def _fallback(policy: "Policy", decided: "Decided") -> list[dict[str, Any]]:
    """Where else it may go, in order, and what it loses there; the last one may be an answer of the policy's own."""
    from control_plane.policy.degradation import TOOLS_KEPT
    from control_plane.policy.ways import ways_of, ways_of_rule

    model = policy.model(decided.model)
    if model is None or not model.degrades:
        return []
    rule = next((each for each in policy.rules if each.name == decided.rule), None)
    ways = None if rule is None else ways_of_rule(rule, model, policy)
    own = {name for name, weight in decided.pools if weight}
    found: list[dict[str, Any]] = [
        {
            "pool": way.pool,
            "model": way.model,
            "tools": way.features.tools != TOOLS_KEPT and way.features.tools,
            "max_tokens": way.features.max_tokens,
        }
        for way in (ways_of(model, policy) if ways is None else ways)
        if own != {way.pool}
    ]
    if model.degradation is not None and model.degradation.answer is not None:
        found.append({"answer": int(model.degradation.answer.status)})
    return found


def _without_picker(document: "Document", decided: "Decided", is_asked: bool) -> str:
    """What is different for the client while the picker does not answer."""
    if not decided.pools:
        return "the same answer"
    if not is_asked:
        return "the same: the picker is not asked here"
    where = " or ".join(name for name, weight in decided.pools if weight)
    lines = [f"the same route; Envoy's own load balancing chooses the pod in {where}"]
    if decided.engine_model != decided.model:
        rewrites = any("lua" in name for name in decided.evaluation.filters)
        lines.append(
            f"Envoy itself rewrites the model to {decided.engine_model}"
            if rewrites
            else f"the engine is asked for {decided.model}, so it should know that name"
        )
    return "; ".join(lines)


def _print_text(found: Mapping[str, Any], request: "Request") -> None:
    print(f"{request.method} {request.authority}{request.path} at listener {found['listener']}")
    for line in _passed(found):
        print(line)
    place = f" ({found['policy']})" if found["policy"] else ""
    print(
        f"route {found['route'] or 'none'}{place}"
        + (f", virtual host {found['virtual_host']}" if found["route"] else "")
    )
    if found["status"] is not None:
        print(f"  answer: {found['status']}, by Envoy itself")
        return
    total = sum(pool["weight"] for pool in found["pools"])
    for pool in found["pools"]:
        share = "" if len(found["pools"]) == 1 else f", weight {pool['weight']} ({100 * pool['weight'] / total:.3g} %)"
        print(f"  pool {pool['pool']}{share}")
    for mirror in found["mirrors"]:
        print(f"  a copy of {mirror}")
    for after, way in enumerate(found["fallback"]):
        print(f"  {'then' if after else 'where that cannot serve it'}: {_way(way)}")
    if found["model"] != found["engine_model"]:
        print(f"  the engine is asked for {found['engine_model']}")
    times = {"timeout": "whole request", "idleTimeout": "between two chunks"}
    for key, value in found["timeouts"].items():
        print(f"  {times[key]}: {'no limit' if value == '0s' else value}")
    print(f"  retries: {found['retries']}")
    print(f"  picker: {'names the pod' if found['picker'] else 'not asked'}")
    print(f"  without the picker: {found['without_picker']}")
    gates = [words for part, words in GATES.items() if any(part in name for name in found["filters"])]
    if gates:
        print(f"  not judged here, and may say no: {', '.join(dict.fromkeys(gates))}")


def _way(way: Mapping[str, Any]) -> str:
    if "answer" in way:
        return f"an answer of the policy's own, {way['answer']}"
    lost = {"off": ", without tools", "skip": ", unless it offers tools"}.get(way["tools"], "")
    lost += f", at most {way['max_tokens']} tokens" if way["max_tokens"] else ""
    return f"{way['model']} in pool {way['pool']}{lost}"


def _passed(found: Mapping[str, Any]) -> list[str]:
    """Why rules and models before it did not match: each once, without the further routes of the one that did."""
    own = tuple(f"{prefix}/" for prefix in ("rule", "model"))
    return list(
        dict.fromkeys(
            f"  not {passed['route']}: {passed['why']}"
            for passed in found["passed"]
            if passed["route"].startswith(own) and passed["route"] != found["route"]
        )
    )


# --- a decision of a running sidecar ---


def _explain_decision(args: argparse.Namespace) -> int:
    try:
        found = ask_for(args.admin, "GET", f"/decisions/{args.what}")
    except AdminError as error:
        print(error, file=sys.stderr)
        return 1
    if args.output == "json":
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _print_decision(found)
    return 0


def _print_decision(found: Mapping[str, Any]) -> None:
    head = f"decision {found['id']}: model {found['model']}, pool {found['pool']}, strategy {found['strategy']}"
    print(_printable(head))
    for line in (*_asked(found), *_named(found), *_others(found), *_became(found)):
        print(f"  {_printable(line)}")


def _printable(line: str) -> str:
    """Where the policy takes any model, its name is a client's words, and they would reach a terminal."""
    return line if line.isprintable() else "".join(each if each.isprintable() else "?" for each in line)


def _asked(found: Mapping[str, Any]) -> Iterator[str]:
    """The request, as far as it is kept: no word of its prompt."""
    request = found.get("request") or {}
    if request.get("kind"):
        counted = request.get("counted_by", "text")
        about, why = ("" if counted == "tokens" else "about "), counted.partition(": ")[2]
        words = [f"{request['kind']} of {about}{_number(request['tokens'])} tokens"]
        if why:
            words.append(f"by its text, for {why}")
        if request["max_tokens"] is not None:
            words.append(f"at most {_number(request['max_tokens'])} to answer")
        if request["has_session"]:
            words.append("of a session")
        if request["engine_model"] != found["model"]:
            words.append(f"the engine is asked for {request['engine_model']}")
        yield ", ".join(words)
    if degraded := found.get("degraded"):
        lost = f", without {', '.join(degraded['features'])}" if degraded["features"] else ""
        yield f"degraded: {degraded['level']} {degraded['to']}".rstrip() + f"{lost}: {degraded['why']}"
    if found.get("waited_ms"):
        yield f"waited {_number(found['waited_ms'])} ms for a place"


def _named(found: Mapping[str, Any]) -> Iterator[str]:
    first, *others = found["endpoints"]
    yield f"{first} was named" + (f", then {', '.join(others)}" if others else "") + f": {found['reason']}"
    predicted = found.get("predicted") or {}
    words = [
        f"{text} {_number(predicted[key])}{unit}"
        for key, text, unit in (
            ("cached_tokens", "cached tokens", ""),
            ("wait_ms", "wait", " ms"),
            ("ttft_ms", "first token after", " ms"),
        )
        if predicted.get(key) is not None
    ]
    if words:
        yield f"predicted: {', '.join(words)}"


def _others(found: Mapping[str, Any]) -> Iterator[str]:
    """All candidates, those who were none, and what another strategy would have done."""
    for candidate in found["candidates"]:
        terms = ", ".join(f"{name} {_number(value)}" for name, value in candidate["terms"].items())
        yield f"{candidate['address']}: cost {_number(candidate['cost'])}" + (f" ({terms})" if terms else "")
    left_out = found.get("left_out") or ()
    for each in left_out:
        yield f"not {each['address']}: {each['why']}"
    further = found.get("left_out_count", 0) - len(left_out)
    if further > 0:
        yield f"nor {further} others"
    shadow = found.get("shadow")
    if shadow and shadow["address"] == found["endpoints"][0]:
        yield f"shadow {shadow['strategy']}: the same"
    elif shadow:
        yield (
            f"shadow {shadow['strategy']}: {shadow['address']}, which costs {_number(shadow['regret'])} more by "
            f"{found['strategy']}; by itself, what was taken costs {_number(shadow['live_regret'])} more"
        )


def _became(found: Mapping[str, Any]) -> Iterator[str]:
    outcome, first = found["outcome"], found["endpoints"][0]
    for each in outcome.get("tries", ()):
        if each["why"]:
            yield f"{each['address']} failed it after {each['ended_ms']:,.0f} ms: {each['why']}"
    if outcome.get("status") is None:
        yield "no outcome so far"
        return
    cached = f", {outcome['cached_tokens']} tokens cached" if outcome.get("cached_tokens") is not None else ""
    ttft = f", first token after {outcome['ttft_ms']:.0f} ms" if outcome.get("ttft_ms") is not None else ""
    served = outcome.get("served") or "nobody"
    yield f"answered {outcome['status']} by {served} in {outcome['attempts']} tries{ttft}{cached}"
    if outcome.get("served") and outcome["served"] != first:
        yield f"it was not {first}: Envoy went on to the next after a failed try"
    elif (outcome.get("ttft_ms") is not None) and (found.get("predicted") or {}).get("ttft_ms") is not None:
        # What it waited for a place before the pick is no part of the prediction.
        late = outcome["ttft_ms"] - found.get("waited_ms", 0.0) - found["predicted"]["ttft_ms"]
        yield f"the first token came {abs(late):,.0f} ms {'later' if late > 0 else 'sooner'} than predicted"


def _number(value: Any) -> str:
    return f"{value:,.6g}" if isinstance(value, int | float) else str(value)
