"""`kvpilot status [NODE]`: what a running sidecar serves, which Envoy has what, and how each endpoint is."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from control_plane.cli.admin_client import AdminError, add_admin, ask, finding_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

NAME = "status"
HELP = "what a running sidecar serves, to which Envoys, and how each endpoint is"

OUTPUTS = ("text", "json")

BAD_POLICY = ("rejected", "refused", "rolled-back")
"""States of the policy that mean: what the file says is not what is served."""

PLAIN_WIDTH = 200
"""Columns when no terminal says how many it has: a log takes long lines, and a wrapped address cannot be searched."""

MIN_HISTORY = 2
"""With one version there is nothing to go back to."""
MAX_HISTORY = 5
"""Versions that are listed; `--output json` has all."""

_HEALTH = {
    "unhealthy": "bold red", "ejected": "bold red",
    "degraded": "yellow", "half-open": "yellow", "warming": "yellow", "draining": "yellow", "unavailable": "yellow",
}  # fmt: skip
_STYLES = {"SYNCED": "green", "NOT_SENT": "dim", "STALE": "yellow", "ERROR": "bold red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which Envoy, and which sidecar."""
    parser.add_argument("node", nargs="?", default="", metavar="NODE", help="only this Envoy (its node id)")
    parser.add_argument("--output", choices=OUTPUTS, default="text", help="form of the status (default: text)")
    add_admin(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the status; 1 when an Envoy refuses something, the file is not what is served, or nobody answers."""
    try:
        code, status = ask(args.admin, "GET", "/status")
    except AdminError as error:
        print(error, file=sys.stderr)
        return 1
    if code != 200 or not isinstance(status, dict) or "envoys" not in status:
        print(f"what answers at {args.admin} is no kvpilot: status {code}", file=sys.stderr)
        return 1
    if args.node:
        status = {**status, "envoys": [envoy for envoy in status["envoys"] if envoy["node"] == args.node]}
        if not status["envoys"]:
            print(f"no Envoy {args.node} was seen", file=sys.stderr)
            return 1
    if args.output == "json":
        print(json.dumps(status, indent=2, ensure_ascii=False))
    else:
        _show(status)
    return int(has_errors(status))


def has_errors(status: "dict[str, Any]") -> bool:
    """Whether anything is not as the policy wants it."""
    kinds = (kind for envoy in status["envoys"] for kind in envoy["types"].values())
    return (
        status["policy"]["state"] in BAD_POLICY
        or bool(status["policy"].get("file_error") or status["policy"].get("fleet_error"))
        or bool(status.get("quarantine"))
        or any(kind["state"] == "ERROR" for kind in kinds)
    )


def _show(status: "dict[str, Any]") -> None:
    from control_plane.cli.console import ReportConsole

    console = ReportConsole(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console = ReportConsole(highlight=False, width=PLAIN_WIDTH)
    _show_policy(console, status)
    console.print(_envoys(status["envoys"]))
    _show_errors(console, status)
    if status.get("groups"):
        console.print(_groups(status["groups"]))
    console.print(_endpoints(status["pools"]))
    _show_health(console, status)
    _show_zones(console, status)
    _show_degraded(console, status)
    _show_drains(console, status)
    _show_weights(console, status)
    _show_admissions(console, status["pools"])
    _show_shadows(console, status["pools"])
    _show_predictions(console, status["pools"])
    _show_files(console, status)
    _show_notices(console, status)
    _show_history(console, status)


def _show_policy(console: "Console", status: "dict[str, Any]") -> None:
    policy = status["policy"]
    style = "bold red" if policy["state"] in BAD_POLICY else "green" if policy["state"] == "applied" else "yellow"
    source = f" (from {policy['source']})" if policy.get("source", "file") != "file" else ""
    console.print(f"kvpilot {status['version']}, policy {policy['version']}{source}: ", end="", markup=False)
    console.print(policy["state"], style=style)
    for one in policy["diagnostics"]:
        console.print(f"  {finding_line(one)}", markup=False)
    for error in ("error", "file_error", "fleet_error", "history_error"):
        if policy.get(error):
            console.print(f"  {policy[error]}", style="red", markup=False)


def _table(title: str, *columns: str, right: tuple[str, ...] = ()) -> "Table":
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def _envoys(envoys: "list[dict[str, Any]]") -> "Table":
    from rich.text import Text

    kinds = list(dict.fromkeys(kind for envoy in envoys for kind in envoy["types"]))
    table = _table("Envoys" if envoys else "Envoys: none so far", "node", "group", "version", "connected", *kinds)
    for envoy in envoys:
        states = (envoy["types"].get(kind, {}).get("state", "") for kind in kinds)
        table.add_row(
            Text(envoy["node"]),
            Text(envoy.get("group") or ""),
            Text(str(envoy.get("version") or "")),
            "yes" if envoy["connected"] else "no",
            *(Text(state, style=_STYLES.get(state, "")) for state in states),
        )
    return table


def _show_errors(console: "Console", status: "dict[str, Any]") -> None:
    """The words of every Envoy that refused something, with the operator's own line."""
    for envoy in status["envoys"]:
        for kind, cell in envoy["types"].items():
            if cell["state"] == "ERROR":
                places = ", ".join(cell.get("policy", ())) or "no line of the policy"
                console.print(f"{envoy['node']} refuses {kind} ({places}): {cell['error']}", style="red", markup=False)
        for line in envoy.get("left_out") or ():
            console.print(f"{envoy['node']} does not get: {line}", style="dim", markup=False)
    for one in status.get("quarantine", ()):
        what = f"{one['type']} {one['resource']} ({one['policy'] or 'no line of the policy'})"
        console.print(f"in quarantine: {what}, instead: {one['instead']}", style="red", markup=False)
        console.print(f"  {one['error']}", style="red", markup=False)


def _groups(groups: "dict[str, dict[str, Any]]") -> "Table":
    table = _table("Groups", "group", "rollout", "policy", "envoys", "state", right=("envoys",))
    for name, group in groups.items():
        cells = (group.get(key, "") for key in ("rollout", "policy_version", "envoys", "state"))
        table.add_row(name, *(str(cell if not isinstance(cell, list) else len(cell)) for cell in cells))
    return table


def _endpoints(pools: "dict[str, dict[str, Any]]") -> "Table":
    from rich.text import Text

    numbers = ("in flight", "waiting", "running", "queued tokens", "cached blocks", "load told")
    has_zones = any(endpoint.get("zone") for pool in pools.values() for endpoint in pool["endpoints"])
    places = ("zone",) if has_zones else ()
    table = _table("Endpoints", "pool", "endpoint", *places, "health", *numbers, right=numbers)
    for name, pool in pools.items():
        for endpoint in pool["endpoints"]:
            cells = (
                endpoint.get(key, "") for key in ("in_flight", "waiting", "running", "queued_tokens", "index_blocks")
            )
            told = _last_told(endpoint)
            place = (Text(endpoint.get("zone", "")),) if has_zones else ()
            health = Text(endpoint["health"], style=_HEALTH.get(endpoint["health"], ""))
            table.add_row(name, endpoint["address"], *place, health, *(str(cell) for cell in cells), told)
    return table


def _last_told(endpoint: "dict[str, Any]") -> str:
    """When an engine last told of its queue, and how."""
    told = endpoint.get("told", {})
    number = told.get("waiting") or told.get("running")
    if number is not None:
        return f"{number['age_s']:.1f} s ago ({number['source']})"
    age = endpoint.get("scrape_age_s")  # all that an older sidecar says
    return "never" if age is None else f"{age:.1f} s ago"


def _show_health(console: "Console", status: "dict[str, Any]") -> None:
    """What is found of endpoints, and whom Envoys are told to avoid."""
    from rich.text import Text

    told = {(row["pool"], row["address"]): row["state"] for row in status.get("mirrored", ())}
    unread = status.get("scrapes_failing", {})
    table = _table("Not well", "pool", "endpoint", "health", "Envoys are told", "why")
    for name, pool in status["pools"].items():
        for endpoint in pool["endpoints"]:
            address = endpoint["address"]
            state, why = told.get((name, address), ""), endpoint.get("why", "")
            if not why and address in unread:  # no evidence before they could be read once, but worth knowing
                why = f"its metrics cannot be read: {unread[address]}"
            if state or why:
                table.add_row(name, address, endpoint["health"], state, Text(why))
    if table.row_count:
        console.print(table)


def _show_zones(console: "Console", status: "dict[str, Any]") -> None:
    """Regions and zones whose requests go elsewhere, all or some of them."""
    from rich.text import Text

    table = _table(
        "Places", "pool", "seen from", "place", "state", "share", "healthy", "why", right=("share", "healthy")
    )
    for row in status.get("zones", ()):
        if row["state"] != "active":
            healthy = f"{row['healthy']} of {row['endpoints']}"
            texts = (Text(row[key]) for key in ("pool", "from", "place", "state"))
            table.add_row(*texts, f"{row['share']}%", healthy, Text(row["why"]))
    if table.row_count:
        console.print(table)


def _show_degraded(console: "Console", status: "dict[str, Any]") -> None:
    """Models whose requests are answered otherwise than they were asked."""
    for row in status.get("degraded", ()):
        text = f"model {row['model']}: pool {row['pool']} cannot serve all; {row['label']}, {row['requests']} requests"
        console.print(f"{text}: {row['why']}" if row["why"] else text, style="yellow", markup=False)


def _show_drains(console: "Console", status: "dict[str, Any]") -> None:
    """Who gets nothing new, by whose word, and what still runs there."""
    table = _table("Drains", "pool", "endpoint", "state", "by", "requests", right=("requests",))
    for drain in status.get("drains", ()):
        running = drain.get("running")
        by = "operator" if drain["by"] == "operator" else f"pod ({drain['why']})"
        table.add_row(drain["pool"], drain["address"], drain["state"], by, "" if running is None else str(running))
    if table.row_count:
        console.print(table)


def _show_weights(console: "Console", status: "dict[str, Any]") -> None:
    """Endpoints that weigh otherwise than configured, by what they turned out to serve."""
    table = _table("Weights", "pool", "endpoint", "configured", "weight", "why", right=("configured", "weight"))
    for row in status.get("weights", ()):
        if row["weight"] != row["configured"]:
            weight = f"{row['weight']:g}"
            table.add_row(row["pool"], row["address"], str(row["configured"]), weight, row["why"])
    if table.row_count:
        console.print(table)


def _show_admissions(console: "Console", pools: "dict[str, dict[str, Any]]") -> None:
    """Who waits for a place, by priority, and what became of others."""
    numbers = ("waiting", "tokens", "let in per s", "refused", "left")
    table = _table("Admission", "pool", "priorities", *numbers, right=numbers)
    for name, pool in pools.items():
        door = pool.get("admission")
        if door is None:
            continue
        waiting = sum(door["waiting"].values())
        refused = sum(door["rejected"].values())
        priorities = ", ".join(f"{priority} {number}" for priority, number in door["waiting"].items())
        cells = (waiting, door["waiting_tokens"], door["admitted_per_s"], refused, door["left"])
        table.add_row(name, priorities, *(f"{cell:,}" for cell in cells))
    if table.row_count:
        console.print(table)


def _show_shadows(console: "Console", pools: "dict[str, dict[str, Any]]") -> None:
    """How often strategies agree with those that only look on, and what the other choice would cost for each pick."""
    numbers = ("picks", "agree", "shadow costs", "live costs", "failed")
    table = _table("Shadows", "pool", "live", "shadow", *numbers, right=numbers)
    for name, pool in pools.items():
        shadow = pool.get("shadow")
        if shadow is None:
            continue
        picks = shadow["agreed"] + shadow["differed"]
        share = f"{shadow['agreed'] / picks:.1%}" if picks else ""
        means = (f"+{shadow[key] / picks:,.4g}" if picks else "" for key in ("regret", "live_regret"))
        table.add_row(name, pool["strategy"], shadow["strategy"], f"{picks:,}", share, *means, str(shadow["failed"]))
    if table.row_count:
        console.print(table)


def _show_predictions(console: "Console", pools: "dict[str, dict[str, Any]]") -> None:
    """Only predictions that engines refute: of pools, and of single endpoints."""
    for name, pool in pools.items():
        found = pool.get("prediction", {})
        rows = {f"pool {name}": found, **{f"pool {name}, {a}": row for a, row in found.get("endpoints", {}).items()}}
        for whose, row in rows.items():
            if row.get("verdict") == "over":
                then = f"it counts {row['trust']:.0%}" if found["is_acting"] else "checkPredictions is false"
                console.print(f"{whose}: {row['why']}; {then}", style="yellow", markup=False)


def _show_files(console: "Console", status: "dict[str, Any]") -> None:
    """Discovery and certificates: only what is not as it should be."""
    for source in status.get("sources", ()):
        if source["state"] != "fresh":
            text = f"pool {source['pool']}, {source['kind']} {source['target']}: {source['state']}; {source['error']}"
            console.print(text, style="yellow", markup=False)
    for exporter, why in status.get("gpus_failing", {}).items():
        console.print(f"GPU numbers of {exporter}: {why}", style="yellow", markup=False)
    for certificate in status.get("certificates", ()):
        if certificate.get("error"):
            files = ", ".join(certificate["files"])
            text = f"{certificate['policy']} ({files}): {certificate['state']}; {certificate['error']}"
            console.print(text, style="yellow", markup=False)
    for tokenizer in status.get("tokenizers", ()):
        if tokenizer["error"]:
            text = f"tokenizer of {tokenizer['model']}: {tokenizer['state']}; {tokenizer['error']}"
            console.print(text, style="yellow", markup=False)


def _show_notices(console: "Console", status: "dict[str, Any]") -> None:
    """What operators are told of now, and webhooks that do not take it."""
    from datetime import UTC, datetime

    notices = status.get("notices") or {"open": (), "webhooks": ()}
    for notice in notices["open"]:
        since = datetime.fromtimestamp(notice["started_at"], UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        style = {"critical": "bold red", "warning": "yellow"}.get(notice["severity"], "")
        console.print(f"open since {since} [{notice['severity']}] {notice['summary']}", style=style, markup=False)
    for webhook in notices["webhooks"]:
        if webhook["error"]:
            text = f"webhook {webhook['name']}: {webhook['pending']} wait; {webhook['error']}"
            console.print(text, style="yellow", markup=False)


def _show_history(console: "Console", status: "dict[str, Any]") -> None:
    """The versions that `kvpilot rollback` can go back to, newest first."""
    from datetime import UTC, datetime

    versions = sorted(status.get("history", ()), key=lambda each: each["time"], reverse=True)
    if len(versions) < MIN_HISTORY:
        return
    table = _table("Versions", "version", "since", "state")
    for each in versions[:MAX_HISTORY]:
        since = datetime.fromtimestamp(each["time"], UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        table.add_row(each["version"], since, each["state"])
    console.print(table)
