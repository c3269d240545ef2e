"""From traces to the statistics of a response, and those joined with labels."""
