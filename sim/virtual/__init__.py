"""Replay in virtual time: a fleet of model engines, routers in front of it, and what came of every request.

Pure: time is an event queue, chance is a seed. `fleet.run` plays one trace; `router.Router` is what it asks.
"""
