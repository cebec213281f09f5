"""The pure core of the picker: no I/O, clock, randomness, logging or global state; `now` and `rng` are arguments."""
