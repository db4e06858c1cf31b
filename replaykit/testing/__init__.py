"""The shipped test kit: hypothesis strategies of what replaykit's own tests ask, for whoever extends it.

Nouns: strategies of values, tensors, calls and outcomes. Needs `hypothesis`. Knows neither torch nor the store.
"""
