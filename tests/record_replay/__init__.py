"""Programs over a small model, each run three ways: unrecorded, recorded, and replayed in another process."""
