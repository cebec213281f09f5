"""Simulated inference pods: a pure engine model with an explicit clock, and live HTTP servers around it.

`engine`, `events`, `blocks`, `profile`, `tokens`, `bodies`, `shapes`, `metrics` and `faults` are pure: values in,
values out, time is an argument. `driver`, `listener`, `api`, `pod` and `fleet` run them in real time behind HTTP.

`traces` are requests to replay, `virtual` replays them over a fleet in virtual time (`kvpilot replay`), and `baselines`
are other systems' routing rules to compare with.
"""
