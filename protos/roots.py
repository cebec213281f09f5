"""What the derived descriptor set must contain: full names of messages, by area.

Everything that a root refers to by a field comes along by itself. What is only ever carried inside a
`google.protobuf.Any` (filters, policies, loggers, extensions) is reachable by nobody, so each such type is a root.
"""

XDS = (
    "envoy.service.discovery.v3.DiscoveryRequest",
    "envoy.service.discovery.v3.DiscoveryResponse",
    "envoy.service.discovery.v3.DeltaDiscoveryRequest",
    "envoy.service.discovery.v3.DeltaDiscoveryResponse",
    "envoy.service.discovery.v3.Resource",
    "envoy.config.cluster.v3.Cluster",
    "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "envoy.config.endpoint.v3.LbEndpoint",
    "envoy.config.listener.v3.Listener",
    "envoy.config.route.v3.RouteConfiguration",
    "envoy.config.route.v3.ScopedRouteConfiguration",
    "envoy.config.route.v3.VirtualHost",
    "envoy.config.core.v3.TypedExtensionConfig",
    "envoy.extensions.transport_sockets.tls.v3.Secret",
    "envoy.service.runtime.v3.Runtime",
)
"""Discovery and the resources it carries."""

BOOTSTRAP = ("envoy.config.bootstrap.v3.Bootstrap",)
"""The file an Envoy starts from."""

HTTP_CONNECTION = (
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
    "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
    "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig",
    "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
)
"""The connection manager, what stands before it, and what plugs into it."""

HTTP_FILTERS = (
    "envoy.config.route.v3.FilterConfig",
    "envoy.extensions.filters.http.router.v3.Router",
    "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
    "envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute",
    "envoy.extensions.filters.http.buffer.v3.Buffer",
    "envoy.extensions.filters.http.buffer.v3.BufferPerRoute",
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
    "envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata",
    "envoy.extensions.filters.http.sse_to_metadata.v3.SseToMetadata",
    "envoy.extensions.content_parsers.json.v3.JsonContentParser",
    "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
    "envoy.extensions.filters.http.fault.v3.HTTPFault",
    "envoy.extensions.filters.http.rbac.v3.RBAC",
    "envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
    "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
    "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig",
    "envoy.extensions.filters.http.health_check.v3.HealthCheck",
    "envoy.extensions.filters.http.cors.v3.Cors",
    "envoy.extensions.filters.http.cors.v3.CorsPolicy",
    "envoy.extensions.filters.http.set_metadata.v3.Config",
    "envoy.extensions.filters.http.ai_protocol_manager.v3.AiProtocolManager",
    "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
    "envoy.extensions.filters.http.lua.v3.Lua",
    "envoy.extensions.filters.http.lua.v3.LuaPerRoute",
    "envoy.extensions.filters.http.header_to_metadata.v3.Config",
    "envoy.extensions.filters.http.set_filter_state.v3.Config",
)
"""HTTP filters and their settings per route."""

UPSTREAM = (
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
    "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
    "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig",
    "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
    "envoy.extensions.clusters.dns.v3.DnsCluster",
    "envoy.extensions.clusters.aggregate.v3.ClusterConfig",
    "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
    "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
    "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate",
    "envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig",
    "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
    "envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink",
)
"""Towards the pods: protocols, TLS, cluster types, retry plug-ins."""

LOAD_BALANCING = (
    "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost",
    "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
    "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin",
    "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash",
    "envoy.extensions.load_balancing_policies.maglev.v3.Maglev",
    "envoy.extensions.load_balancing_policies.random.v3.Random",
    "envoy.extensions.load_balancing_policies.pick_first.v3.PickFirst",
    "envoy.extensions.load_balancing_policies.subset.v3.Subset",
    "envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality",
    "envoy.extensions.load_balancing_policies.load_aware_locality.v3.LoadAwareLocality",
    "envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided",
    "envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin",
)
"""Load-balancing policies."""

MATCHING = (
    "envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
    "envoy.type.matcher.v3.HttpResponseHeaderMatchInput",
    "envoy.type.matcher.v3.HttpRequestQueryParamMatchInput",
    "envoy.type.matcher.v3.MetadataMatcher",
    "envoy.type.matcher.v3.PathMatcher",
    "envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput",
    "envoy.extensions.matching.input_matchers.metadata.v3.Metadata",
    "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
    "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig",
    "xds.type.matcher.v3.Matcher",
)
"""Matchers and their inputs."""

PICKER_API = (
    "envoy.service.ext_proc.v3.ProcessingRequest",
    "envoy.service.ext_proc.v3.ProcessingResponse",
)
"""What Envoy and the picker say to each other."""

OBSERVATION = (
    "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
    "envoy.extensions.access_loggers.file.v3.FileAccessLog",
    "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
    "envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
    "envoy.extensions.formatter.metadata.v3.Metadata",
    "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery",
    "envoy.service.accesslog.v3.StreamAccessLogsMessage",
    "envoy.service.accesslog.v3.StreamAccessLogsResponse",
    "envoy.data.accesslog.v3.HTTPAccessLogEntry",
    "envoy.data.cluster.v3.OutlierDetectionEvent",
    "envoy.data.core.v3.HealthCheckEvent",
    "envoy.service.load_stats.v3.LoadStatsRequest",
    "envoy.service.load_stats.v3.LoadStatsResponse",
    "envoy.service.status.v3.ClientStatusRequest",
    "envoy.service.status.v3.ClientStatusResponse",
    "google.rpc.Status",
)
"""Logs, load reports, client status."""

ROOTS = (
    *XDS,
    *BOOTSTRAP,
    *HTTP_CONNECTION,
    *HTTP_FILTERS,
    *UPSTREAM,
    *LOAD_BALANCING,
    *MATCHING,
    *PICKER_API,
    *OBSERVATION,
)
"""All roots; the set holds these, what they refer to, and `protos.handwritten`."""
