"""Prompts as the token ids that engines see: by a tokenizer file and a chat template, or asked of an engine."""
