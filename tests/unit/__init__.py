"""Tests of one module each; what reads like `tests/unit/X/test_Y.py` tests `X/Y.py`."""
