"""The xDS server: what Envoy subscribes to, what it holds, and what it is sent, over ADS in both protocol variants.

The core is pure: `snapshot` (what there is), `subscription`, `lane` and `session` (what one stream is owed), with
`sotw` and `delta` as two dialects of one model, `transition` (make before break) and `past` (what was served before,
for clients that come back). `admission` bounds who may come and how fast, `observer` is told how clients take it.
`wire` knows protobuf, `server` and `stream` know gRPC.
"""
