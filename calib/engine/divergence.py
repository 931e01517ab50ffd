"""How far an edit moves a model's next token."""

import torch


def divergence(edited: torch.Tensor, unedited: torch.Tensor) -> torch.Tensor:
    """KL(edited || unedited) in nats from logits, per row. # [..., vocabulary] -> [...] float64"""
    # Float64: small divergences are differences of nearly equal numbers.
    p, q = edited.double().log_softmax(-1), unedited.double().log_softmax(-1)
    # A token that both rule out has 0 x (-inf + inf).
    return (p.exp() * (p - q)).nan_to_num(0.0).sum(-1).clamp(min=0.0)
