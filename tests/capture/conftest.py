from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.engines.capture.rows import FIELDS, WIDTH

MODEL = Path(__file__).resolve().parents[2] / ".models" / "SmolLM2-135M-Instruct"


@pytest.fixture(scope="session")
def model_folder() -> str:
    if not (MODEL / "config.json").exists():
        pytest.skip(f"the embedded model is not at {MODEL}; `make setup` fetches it")
    return str(MODEL)


def words_of(values: np.ndarray, tokens: list[int]) -> np.ndarray:
    """Rows as they travel: float32 fields, then the token."""
    words = np.empty((len(tokens), WIDTH), dtype=np.int32)
    words[:, :-1] = np.asarray(values, dtype=np.float32).reshape(-1, len(FIELDS)).view(np.int32)
    words[:, -1] = tokens
    return words


def fields_of(words: torch.Tensor) -> np.ndarray:
    """Float fields of rows, shape (rows, 5)."""
    return words[:, :-1].view(torch.float32).numpy()
