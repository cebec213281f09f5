"""How a pool chooses: one file for each strategy, `table` knows them by the names that a policy uses.

A strategy is a pure function from a view of the pool to an order of preference; it never loops over endpoints.
"""
