"""One module per engine: the pages on which it shows its numbers, and how each is read. `table` has all of them."""
