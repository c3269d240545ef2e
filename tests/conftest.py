"""What all tests share: one thread a library, an environment of their own, the shared data."""

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

# Before numpy is imported: BLAS and OpenMP read these once, and every test process (with the Ray
# workers it starts) would otherwise take all cores for itself.
for _name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM"):
    os.environ[f"{_name}_NUM_THREADS"] = "1"

# Before Typer is imported: it reads these once, and colours or folds what the tests compare.
for _name in ("GITHUB_ACTIONS", "FORCE_COLOR", "PY_COLORS", "TERMINAL_WIDTH"):
    os.environ.pop(_name, None)

# As the command line does: what the tests import stays, and is not searched for circles.
gc.set_threshold(20_000, 20, 20)

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

# A shared machine is slow now and then; the examples are the same in every run.
settings.register_profile("sentinel", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("sentinel")


def pytest_collection_finish() -> None:
    gc.freeze()


@pytest.fixture(autouse=True)
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """A root and state of the test's own, and nothing of the developer's set-up.

    Slow tests start real servers and choose their own places.
    """
    if request.node.get_closest_marker("slow"):
        yield
        return
    before = dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for name in before:
        if name.startswith(("PREFECT_", "MLFLOW_", "OPENAI_")) or name == "RAY_ADDRESS":
            del os.environ[name]
    os.environ["SENTINEL_ROOT"] = str(tmp_path / "root")
    os.environ["SENTINEL_STATE"] = str(tmp_path / "state")
    yield
    # Commands run in this process set variables and signals; they must not reach the next test.
    os.environ.clear()
    os.environ.update(before)
    for number, handler in handlers.items():
        if handler is not None:  # One that was not set from Python.
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared data; its tests are passed over where there is none."""
    folder = Path(os.environ.get("SENTINEL_SHARED", Path(__file__).parents[2] / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}: set SENTINEL_SHARED to the folder that holds it")
    return folder
