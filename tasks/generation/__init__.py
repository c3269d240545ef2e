"""Generation: a model's responses to a benchmark, batch by batch, shared with other runs."""
