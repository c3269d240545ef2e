"""Engines: prompts in, traced responses out. Nothing here imports Prefect or MLflow."""
