"""What kvpilot says of vLLM, held against a real one: `make e2e-vllm`. Not part of `make test`: vLLM takes 6 GB."""
