"""What a run of the engine computed, in exact counts that no clock disturbs."""

from dataclasses import dataclass


@dataclass
class Tally:
    """Counts since the engine was made."""

    rows: int = 0
    """Rows answered."""
    tokens: int = 0
    """Tokens of their responses, the end token included."""
    prefill_token_layers: int = 0
    """Tokens of prompts that passed a decoder block, padding included."""
    decode_row_steps: int = 0
    """Rows of the batches that decoding passed through the model, a token each."""
    retries: int = 0
    """How often a batch was made smaller because memory ran out."""
