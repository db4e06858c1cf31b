"""transformers' types and replaykit's plain data, turned into each other.

Nouns: tensors, values (outputs, encodings, arguments), cache states, steps in normal form, runs of `generate()`,
choices, fingerprints, provenance, sources. What recording and replaying share lives here; neither of them does.
"""
