"""How bytes of streams come and go; what they mean is decided elsewhere."""
