"""What a verb that works offline cannot know: endpoints that only a running kvpilot finds."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from control_plane.policy.model import Policy


def say_unknown_endpoints(policy: "Policy") -> None:
    """One line on standard error for each source that is not asked now; its endpoints are missing in what follows."""
    import sys

    for pool in policy.pools:
        for item in pool.discovered:
            what = f"endpoints of {pool.name} from {item.KIND} {item.target}"
            print(f"not known offline: {what}; a running kvpilot finds them", file=sys.stderr)
