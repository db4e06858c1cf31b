"""Wraps the real tokenizer, model or sampler: it computes what it always did, and what it was asked is recorded.

Nouns: recorded model, recorded tokenizer, recorded sampler, recording run. Knows nothing of replay.
"""
