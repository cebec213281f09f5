"""`kvpilot schema`: the JSON Schema of policies or of scenario files for editors, or their reference pages."""

import argparse
import json

NAME = "schema"
HELP = "print the JSON Schema of the policy file"

OUTPUTS = ("json", "markdown")
FILES = ("policy", "part", "scenarios")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    parser.add_argument(
        "--of",
        choices=FILES,
        default="policy",
        help="which kind of file; a part is one of several files that make up a policy (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        choices=OUTPUTS,
        default="json",
        help="json: JSON Schema, docs/policy.schema.json; markdown: the reference page, docs/policy_reference.md",
    )


def run(args: argparse.Namespace) -> int:
    """Prints the schema or the page; always 0."""
    from control_plane.policy import json_schema, part_schema, reference_markdown
    from control_plane.scenarios.reference import scenarios_markdown, scenarios_schema

    if args.output == "markdown":
        print(scenarios_markdown() if args.of == "scenarios" else reference_markdown(), end="")
    else:
        schema = {"policy": json_schema, "part": part_schema, "scenarios": scenarios_schema}[args.of]
        print(json.dumps(schema(), indent=2, ensure_ascii=False))
    return 0
