"""A trace sent to a real endpoint: its prompts as text, the times at which they go out, and what came of them."""
