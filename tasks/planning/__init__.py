"""What a run would do and why, and models that are new."""
