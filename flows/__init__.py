"""The story: Prefect flows that read like a table of contents, and the command line into them."""
