"""Traces of requests: what to replay, where it comes from, and what it says about itself.

`trace` holds the values; `mooncake`, `azure` and `recording` are the file formats over the rules of `rows`; `read`
opens files; `generate` makes traces from a seed, with the loads of `chats`, `singles` and `agents`; `summary` counts.
Only `read` touches the disk and only `generate` makes a random generator; all else is pure.
"""
