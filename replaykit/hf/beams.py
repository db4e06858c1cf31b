"""What beam search chooses in one step, in few numbers, and what transformers makes of it."""

from __future__ import annotations

from typing import Any

import torch


def beam_choice(chosen: Any, kwargs: dict[str, Any]) -> tuple[torch.Tensor, ...]:
    """What beam search chose in one step: log-probabilities, beams and tokens, each of shape (B, beams to keep)."""
    log_probs, sequences, beams = chosen
    beam = beams[:, :, kwargs["cur_len"] - kwargs["decoder_prompt_len"]] % kwargs["num_beams"]
    return log_probs, beam.long(), sequences[:, :, kwargs["cur_len"]]


def continuations(chosen: Any, kwargs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The inverse of `beam_choice`: the sequences and beam indices that `GenerationMixin._get_top_k_continuations`
    (generation/utils.py, transformers 5.23) builds from the same choice."""
    log_probs, beam, tokens = chosen
    at, prompt = kwargs["cur_len"], kwargs["decoder_prompt_len"]
    rows = beam[:, :, None]
    beam_indices = torch.take_along_dim(kwargs["running_beam_indices"], rows, dim=1)
    sequences = torch.take_along_dim(kwargs["running_sequences"], rows, dim=1)
    sequences[:, :, at] = tokens
    offset = torch.arange(kwargs["batch_size"], device=tokens.device).view(-1, 1) * kwargs["num_beams"]
    beam_indices[:, :, at - prompt] = (beam + offset).to(beam_indices.dtype)
    return log_probs, sequences, beam_indices
