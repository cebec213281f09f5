"""`kvpilot schema`: the JSON Schema of the policy for editors, or its reference page."""

import argparse
import json

NAME = "schema"
HELP = "print the JSON Schema of the policy file"

OUTPUTS = ("json", "markdown")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    parser.add_argument(
        "--output",
        choices=OUTPUTS,
        default="json",
        help="json: JSON Schema, docs/policy.schema.json; markdown: the reference page, docs/policy_reference.md",
    )


def run(args: argparse.Namespace) -> int:
    """Prints the schema or the page; always 0."""
    from control_plane.policy import json_schema, reference_markdown

    if args.output == "markdown":
        print(reference_markdown(), end="")
    else:
        print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
    return 0
