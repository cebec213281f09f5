"""`kvpilot schema`: the JSON Schema of policies, scenario files or drills for editors, or their reference pages."""

import argparse
import json

NAME = "schema"
HELP = "print the JSON Schema of the policy file"

OUTPUTS = ("json", "markdown")
FILES = ("policy", "part", "scenarios", "drills")


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
    from control_plane.drills.reference import drills_markdown, drills_schema
    from control_plane.policy import json_schema, part_schema, reference_markdown
    from control_plane.scenarios.reference import scenarios_markdown, scenarios_schema

    if args.output == "markdown":
        pages = {"scenarios": scenarios_markdown, "drills": drills_markdown}
        print(pages.get(args.of, reference_markdown)(), end="")
    else:
        schemas = {
            "policy": json_schema,
            "part": part_schema,
            "scenarios": scenarios_schema,
            "drills": drills_schema,
        }
        print(json.dumps(schemas[args.of](), indent=2, ensure_ascii=False))
    return 0
