"""Rules about load balancing, ejections, limits, health checks, retries and timeouts of a pool."""

from collections.abc import Sequence

from control_plane.policy.checks_discovery import are_places_known
from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.health_checks import HealthCheck
from control_plane.policy.limits import HttpSettings, TcpSettings
from control_plane.policy.load_balancing import ConsistentHash, Distribute, LoadBalancer, LocalityLbSetting
from control_plane.policy.model import Pool
from control_plane.policy.outliers import OutlierDetection
from control_plane.policy.places import covers, path_of
from control_plane.policy.reader import BlockRule, Items, ListRule, Reader, names_text
from control_plane.policy.traffic import Retries, Timeouts

WHOLE = 100
"""Percent that the shares of a distribution must add up to (Istio, `LocalityLoadBalancerSetting.Distribute`)."""


def _at_most_one(keys: Sequence[str], path: str, reader: Reader, hint: str) -> None:
    """Complains about the later one of two keys that exclude each other, as far as they are written."""
    written = [(reader.marks[f"{path}.{key}"], key) for key in keys if f"{path}.{key}" in reader.marks]
    written.sort(key=lambda found: (found[0].line, found[0].column))
    if len(written) > 1:
        message = f"`{written[1][1]}` beside `{written[0][1]}`: only one of them can hold"
        reader.report_at(f"{path}.{written[1][1]}", Code.EXCLUSIVE_KEYS, message, hint)


def _exactly_one(given: Sequence[tuple[str, object]], path: str, reader: Reader, example: str) -> None:
    keys = [key for key, value in given if value]
    if not keys:
        names = ", ".join(f"`{key}`" for key, _ in given[:-1])
        reader.report_at(path, Code.MISSING_KEY, f"{names} or `{given[-1][0]}` is missing", f"such as {example}")
    _at_most_one(keys, path, reader, "keep one of them")


def _load_balancer(settings: LoadBalancer, path: str, reader: Reader) -> None:
    keys = ("simple", "consistentHash", "clientSideWeighted")
    _at_most_one(keys, path, reader, "keep the one that is meant")


def _consistent_hash(settings: ConsistentHash, path: str, reader: Reader) -> None:
    given = (
        ("httpHeaderName", settings.http_header_name),
        ("httpCookie", settings.http_cookie),
        ("useSourceIp", settings.use_source_ip),
        ("httpQueryParameterName", settings.http_query_parameter_name),
    )
    _exactly_one(given, path, reader, "httpHeaderName: x-session-id")
    _at_most_one(("ringHash", "maglev"), path, reader, "keep one of them")


def _locality(settings: LocalityLbSetting, path: str, reader: Reader) -> None:
    hint = "nearest first with `failover`, or fixed shares with `distribute`"
    if settings.failover and settings.distribute:
        _at_most_one(("failover", "distribute"), path, reader, hint)
    for key, value in (
        ("distribute", settings.distribute),
        ("overprovisioningFactor", settings.overprovisioning_factor),
    ):
        if value and not settings.enabled:
            _no_effect(f"{path}.{key}", f"`{key}` does nothing while `enabled` is false", reader, "add `enabled: true`")
    if f"{path}.shift" in reader.marks and settings.shifts is None and settings.shift is not None:
        why = "beside `distribute`: places have fixed shares" if settings.enabled else "while `enabled` is false"
        _no_effect(f"{path}.shift", f"`shift` does nothing {why}", reader)


def _distribute(rule: Distribute, path: str, reader: Reader) -> None:
    total = sum(rule.to.values())
    if total != WHOLE:
        message = f"the shares of this distribution add up to {total}"
        reader.report_at(f"{path}.to", Code.SHARE_SUM, message, f"together they must be {WHOLE} percent")
    places = list(rule.to)
    for index, place in enumerate(places):
        for other in places[:index]:
            if covers(other, place) or covers(place, other):
                message = f"the place {quoted(place)} overlaps with {quoted(other)}"
                reader.report_at(f"{path}.to.{place}", Code.CONTRADICTION, message, "a place has one share")
                break


def _shadowed_distribution(items: Items, reader: Reader) -> None:
    """The first rule that names an Envoy's place holds, so one behind a wider one never does."""
    rules = [(path, rule) for path, rule in items.items if isinstance(rule, Distribute)]
    for index, (path, rule) in enumerate(rules):
        for _, earlier in rules[:index]:
            if covers(earlier.from_, rule.from_):
                message = f"this rule never holds: the one for {quoted(earlier.from_)} comes before it"
                _no_effect(f"{path}.from", message, reader, "write the narrower place first")
                break


def _shares_of_nobody(pool: Pool, path: str, reader: Reader) -> None:
    if not are_places_known(pool):
        return
    places = {path_of(item.region, item.zone) for item in pool.endpoints}
    named = places - {""}
    setting_path = f"{path}.trafficPolicy.loadBalancer.localityLbSetting"
    for index, rule in enumerate(pool.traffic_policy.load_balancer.locality_lb_setting.distribute):
        for pattern in rule.to:
            if not any(covers(pattern, place) for place in places):
                message = f"no endpoint of {quoted(pool.name)} is in {quoted(pattern)}"
                reader.report_at(
                    f"{setting_path}.distribute[{index}].to.{pattern}",
                    Code.UNKNOWN_LOCALITY,
                    message,
                    f"its endpoints are in {names_text(sorted(named))}" if named else "they have no region and no zone",
                )


def _outliers(settings: OutlierDetection, path: str, reader: Reader) -> None:
    """Envoy refuses a maximum below the base ("max_ejection_time cannot be smaller than base_ejection_time")."""
    longest = settings.max_ejection_time_s
    if longest is not None and longest < settings.base_ejection_time_s:
        message = "`maxEjectionTime` is shorter than `baseEjectionTime`, the first ejection"
        reader.report_at(f"{path}.maxEjectionTime", Code.CONTRADICTION, message, "make it at least as long")
    if settings.consecutive_local_origin_failures is not None and not settings.split_external_local_origin_errors:
        message = "`consecutiveLocalOriginFailures` does nothing: failed connections are not counted apart"
        key = f"{path}.consecutiveLocalOriginFailures"
        _no_effect(key, message, reader, "remove it, or `splitExternalLocalOriginErrors: false`")


def _http_limits(settings: HttpSettings, path: str, reader: Reader) -> None:
    if settings.retry_budget is not None and f"{path}.maxRetries" in reader.marks:
        _no_effect(f"{path}.maxRetries", "`maxRetries` does nothing beside `retryBudget`", reader, "keep one of them")
    if settings.max_concurrent_streams is not None and not settings.is_http2:
        message = "`maxConcurrentStreams` does nothing over HTTP/1.1"
        _no_effect(f"{path}.maxConcurrentStreams", message, reader, "add `h2UpgradePolicy: UPGRADE`, or remove it")


def _tcp_limits(settings: TcpSettings, path: str, reader: Reader) -> None:
    each = settings.max_connections_per_endpoint
    if each is not None and each > settings.max_connections:
        message = "`maxConnectionsPerEndpoint` does nothing: the whole pool has no more connections (`maxConnections`)"
        _no_effect(f"{path}.maxConnectionsPerEndpoint", message, reader, "make it smaller")


def _health_check(check: HealthCheck, path: str, reader: Reader) -> None:
    # An empty mapping is a check, too.
    given = (("http", check.http is not None), ("grpc", check.grpc is not None), ("tcp", check.tcp is not None))
    _exactly_one(given, path, reader, "http: {path: /health}")
    if check.http is not None and "host" in check.http.headers:
        # Envoy refuses it (":-prefixed or host headers may not be modified").
        message = "`host` is no further header: a check has one already"
        reader.report_at(f"{path}.http.headers.host", Code.CONTRADICTION, message, "set `http.host`")


def _grpc_over_http1(pool: Pool, path: str, reader: Reader) -> None:
    """Envoy refuses it ("cluster must support HTTP/2 for gRPC healthchecking")."""
    check = pool.health_check
    http = pool.traffic_policy.connection_pool.http
    if check is not None and check.grpc is not None and not http.is_http2:
        message = "a gRPC health check needs HTTP/2 towards the pool"
        hint = "set `trafficPolicy.connectionPool.http.h2UpgradePolicy: UPGRADE`, or check by `http` or `tcp`"
        reader.report_at(f"{path}.healthCheck.grpc", Code.CONTRADICTION, message, hint)


def _retries(retries: Retries, path: str, reader: Reader) -> None:
    """Envoy refuses a longest pause below the first one (`RetryPolicy.retry_back_off.max_interval`)."""
    if retries.max_backoff_s is not None and retries.max_backoff_s < retries.backoff_s:
        message = "`maxBackoff` is shorter than `backoff`, the first pause"
        reader.report_at(f"{path}.maxBackoff", Code.CONTRADICTION, message, "make it at least as long")
    if retries.retriable_headers and "retriable-headers" not in retries.retry_on.split(","):
        message = "`retriableHeaders` does nothing without `retriable-headers` in `retryOn`"
        _no_effect(f"{path}.retriableHeaders", message, reader, "add the word to `retryOn`, or remove the key")


def _remote_retries(pool: Pool, path: str, reader: Reader) -> None:
    setting = pool.traffic_policy.load_balancer.locality_lb_setting
    if pool.retries.retry_remote_localities and (not setting.enabled or setting.distribute):
        message = "`retryRemoteLocalities` does nothing: all places of this pool have the same priority"
        hint = "add `enabled: true` to `trafficPolicy.loadBalancer.localityLbSetting`, without `distribute`"
        _no_effect(f"{path}.retries.retryRemoteLocalities", message, reader, hint)


def _long_stream(timeouts: Timeouts, path: str, reader: Reader) -> None:
    longest = timeouts.max_stream_duration_s
    if longest is not None and longest >= timeouts.request_s:
        message = "`maxStreamDuration` does nothing: the whole request has no more time than that (`request`)"
        _no_effect(f"{path}.maxStreamDuration", message, reader, "make it shorter than `request`")


def _no_effect(path: str, message: str, reader: Reader, hint: str = "remove it") -> None:
    reader.report_at(path, Code.NO_EFFECT, message, hint)


TRAFFIC_RULES: dict[type, tuple[BlockRule, ...]] = {
    LoadBalancer: (_load_balancer,),
    ConsistentHash: (_consistent_hash,),
    LocalityLbSetting: (_locality,),
    Distribute: (_distribute,),
    OutlierDetection: (_outliers,),
    HttpSettings: (_http_limits,),
    TcpSettings: (_tcp_limits,),
    HealthCheck: (_health_check,),
    Retries: (_retries,),
    Timeouts: (_long_stream,),
    Pool: (_shares_of_nobody, _grpc_over_http1, _remote_retries),
}
"""Kind of block → rules about one such block."""

TRAFFIC_LIST_RULES: dict[type, tuple[ListRule, ...]] = {Distribute: (_shadowed_distribution,)}
"""Kind of block → rules about a list of such blocks."""
