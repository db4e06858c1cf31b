"""A tokenizer, a model and a sampler without weights, which answer from a recording.

Nouns: replayed model, replayed tokenizer, replayed sampler, replaying run. Knows nothing of recording: where a mode
lets a new call go to the real thing, `load` hands in the way to get it.
"""
