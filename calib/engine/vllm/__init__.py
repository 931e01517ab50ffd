"""vLLM as the engine: edits as steering vectors and hooks of the plugin vllm-lens."""
