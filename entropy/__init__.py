"""Token log-probabilities to numbers a response: arrays only, no files, orchestrator or engine."""
