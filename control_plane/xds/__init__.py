"""The xDS server: what Envoy subscribes to, what it holds, and what it is sent, over ADS in both protocol variants.

The core is pure: `snapshot` (what there is), `subscription`, `lane` and `session` (what one stream is owed), with
`sotw` and `delta` as two dialects of one model, and `transition` (make before break). `wire` knows protobuf, `server`
knows gRPC.
"""
