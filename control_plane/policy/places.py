"""Places as `distribute` names them: `region/zone`, `region/*`, a zone alone where there is no region, or `*`."""


def covers(pattern: str, place: str) -> bool:
    """Whether `pattern` means `place`: `*` is every place, `us-east` and `us-east/*` are all zones of the region.

    A place may be a pattern itself: then the question is whether all that it means is meant.

    >>> covers("us-east/*", "us-east/us-east-1a"), covers("us-east", "us-east-1a")
    (True, False)
    """
    stem = _stem(pattern)
    place = _stem(place)
    return stem == "*" or place == stem or place.startswith(f"{stem}/")


def path_of(region: str, zone: str) -> str:
    """The place of something that is in `region` and `zone`, either of which may be empty."""
    return "/".join(part for part in (region, zone) if part)


def _stem(pattern: str) -> str:
    while pattern.endswith("/*"):
        pattern = pattern.removesuffix("/*")
    return pattern
