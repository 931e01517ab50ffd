"""vLLM servers with the plugin vllm-lens, over HTTP."""
