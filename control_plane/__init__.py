"""The slow loop: one YAML policy, compiled and pushed to Envoy over xDS.

It may import `ext_proc` and `protos`, never the other way round (`tests/unit/test_architecture.py` holds that).
"""
