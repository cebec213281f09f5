"""What becomes of one request under a policy, without an Envoy: for `kvpilot explain` and `kvpilot test`. Pure: no I/O.

`decide.py` asks the compiled routes, `model.py` says what a scenario file may hold, `check.py` compares what was
expected with what the routes and the real picker do.
"""
