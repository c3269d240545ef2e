"""What is told of vLLM's failures: the error that its own processes wrote, not who passed it on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pydantic
import pytest

from tasks.engines import causes

FREE = (
    "Free memory on device cuda:0 (5.86/79.11 GiB) on startup is less than desired GPU memory "
    "utilization (0.9, 71.2 GiB). Decrease GPU memory utilization or reduce GPU memory used by "
    "other processes."
)
AT = "(EngineCore pid=71) ERROR 11-22 05:21:00 [core.py:1136]"


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Standard error of this process goes to a file that holds an old error; returns a writer."""
    kept = os.dup(2)
    with (tmp_path / "worker.err").open("wb") as file:
        file.write(b"ValueError: of long ago\n")
        file.flush()
        os.dup2(file.fileno(), 2)
        yield lambda text: os.write(2, text.encode()) and None
    os.dup2(kept, 2)
    os.close(kept)


def test_the_engine_s_own_error_is_found(written: Callable[[str], None]) -> None:
    output = causes.Output()
    written(
        f"{AT} EngineCore failed to start.\n{AT} Traceback (most recent call last):\n"
        f"{AT}   File 'worker.py', line 3, in init_device\n{AT} ValueError: {FREE}\n"
        "RuntimeError: Engine core initialization failed. See root cause above.\n"
    )
    assert output.cause() == f"ValueError: {FREE}"


def test_of_workers_that_fail_together_the_error_is_theirs(
    written: Callable[[str], None],
) -> None:
    output = causes.Output()
    written(
        "(Worker_TP1 pid=9) ERROR torch.OutOfMemoryError: CUDA out of memory. Tried to allocate\n"
        f"{AT} Exception: WorkerProc initialization failed due to an exception in a background "
        "process. See stack trace for root cause.\n"
    )
    assert output.cause() == "OutOfMemoryError: CUDA out of memory. Tried to allocate"


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
def test_a_prompt_that_vllm_logs_is_no_cause(written: Callable[[str], None], level: str) -> None:
    """It asks for requests to be logged only where the conf's `options` say so."""
    output = causes.Output()
    request = "request b/i1: prompt: 'When does Python raise ValueError: a confidential item?'"
    written(f"{AT} ValueError: {FREE}\n(APIServer pid=7) {level} 11-22 05:21:00 [logger.py:64] ")
    written(f"{request}\n")
    assert output.cause() == f"ValueError: {FREE}"


@pytest.mark.parametrize("text", ["", "INFO loading weights took 3 s\n", "0 errors: none\n"])
def test_without_an_error_there_is_no_cause(written: Callable[[str], None], text: str) -> None:
    output = causes.Output()
    written(text)
    assert output.cause() is None


def test_an_output_that_is_no_file_tells_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with capfd.disabled():
        reading, writing = os.pipe()
        kept = os.dup(2)
        os.dup2(writing, 2)
        try:
            output = causes.Output()
            os.write(2, b"ValueError: into a pipe\n")
            assert output.cause() is None
        finally:
            os.dup2(kept, 2)
            for number in (kept, reading, writing):
                os.close(number)


@pytest.mark.parametrize(
    ("text", "of_memory"),
    [
        (FREE, True),
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB", True),
        ("ValueError: No available memory for the cache blocks. Try increasing it", True),
        ("ValueError: To serve one request, 2 GiB KV cache is needed", True),
        ("OSError: org/none is not a local folder", False),
    ],
)
def test_errors_of_memory_are_known(text: str, of_memory: bool) -> None:
    assert causes.of_memory(text) is of_memory


class Options(pydantic.BaseModel):
    """As the classes of vLLM's configuration."""

    dtype: Literal["auto", "half"] = "auto"
    heads: int = 8

    @pydantic.model_validator(mode="after")
    def _divisible(self) -> Options:
        if self.heads % 2:
            raise ValueError(f"{self.heads} heads must be divisible by tensor parallel size (2)")
        return self


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"heads": 9}, "9 heads must be divisible by tensor parallel size (2)"),
        ({"dtype": "foo", "heads": "x"}, "dtype: Input should be 'auto' or 'half'"),
    ],
)
def test_a_refused_option_is_told_and_not_how_many_there_are(
    options: dict[str, object], said: str
) -> None:
    with pytest.raises(pydantic.ValidationError) as refused:
        Options.model_validate(options)
    assert causes.said(refused.value) == said


@pytest.mark.parametrize(
    ("error", "said"),
    [(ValueError("of what\nmore"), "of what"), (RuntimeError(" \n"), "RuntimeError")],
)
def test_of_any_other_exception_the_first_line_is_told(error: Exception, said: str) -> None:
    assert causes.said(error) == said
