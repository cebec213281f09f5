"""What an operator looks at: health, status, metrics and decisions over HTTP. It reads, it decides nothing."""
