"""Drills (`kvpilot drill`): something is broken on purpose, under load, and what that costs is held against bounds.

`model`, `reading`, `facts`, `judge` and `report` are pure; `stage`, `target`, `clients` and `play` do what they say.
"""
