"""What a replay needs to know of the real model or tokenizer: the outcome of a load."""

from __future__ import annotations

import json
from typing import Any

from transformers import PreTrainedModel

from ..calls import Outcome
from ..codec import Object
from ..hf.fingerprint import model_identity
from ..hf.models import original_class
from ..hf.provenance import model_provenance, tokenizer_provenance
from ..hf.tensors import NAMES
from ..hf.tokenizers import tokenizer_attributes, tokenizer_backend, tokenizer_identity, tokenizer_state
from ..hf.values import class_path


def describe(what: str, real: Any) -> tuple[Outcome, Object, Object]:
    """What a replay needs to know of the real thing, its identity, and where that was found out."""
    identity = identity_of(what, real)
    files: list[Object]
    if what == "model":
        facts, files, provenance = _model_facts(real), [], model_provenance(real)
    else:
        backend = tokenizer_backend(real)
        facts, files, provenance = _tokenizer_facts(real, backend), [backend] if backend else [], tokenizer_provenance()
    facts |= {"identity": identity.digest, "written": None}
    return Outcome(facts, files=(identity, *files)), identity, provenance


def identity_of(what: str, real: Any) -> Object:
    """The identity of a real model or tokenizer."""
    return model_identity(real) if what == "model" else tokenizer_identity(real, tokenizer_backend(real))


def _model_facts(model: PreTrainedModel) -> dict[str, Any]:
    attributes = {
        name: value
        for name, value in model.__dict__.items()
        if not name.startswith("_") and type(value) in (bool, int, float, str, type(None))
    }
    for machine in ("name_or_path", "training"):
        attributes.pop(machine, None)
    generation_config = model.generation_config if model.can_generate() else None
    return {
        "class": class_path(original_class(type(model))),
        "config": [class_path(type(model.config)), _config_text(model.config)],
        "generation_config": None if generation_config is None else _config_text(generation_config),
        "attention": model.config._attn_implementation,
        "dtype": NAMES[model.dtype],
        "parameters": [
            model.num_parameters(only_trainable=trainable, exclude_embeddings=exclude)
            for trainable in (False, True)
            for exclude in (False, True)
        ],
        "training": model.training,
        "attributes": attributes,
    }


def _config_text(config: Any) -> str:
    """A config as JSON text, which keeps the order of its keys."""
    values = json.loads(config.to_json_string(use_diff=False))
    values.pop("_name_or_path", None)
    return json.dumps(values)


def _tokenizer_facts(tokenizer: Any, backend: Any) -> dict[str, Any]:
    tokens = tokenizer.all_special_tokens
    return {
        "class": class_path(original_class(type(tokenizer))),
        "attributes": tokenizer_attributes(tokenizer),
        "state": tokenizer_state(tokenizer),
        "special_ids": dict(zip(tokens, tokenizer.convert_tokens_to_ids(tokens), strict=True)),
        "length": len(tokenizer),
        "vocab_size": tokenizer.vocab_size,
        "backend": None if backend is None else backend.digest,
    }
