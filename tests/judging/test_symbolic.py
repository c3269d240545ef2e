import contextlib
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tasks.judging import symbolic
from tasks.judging.guard import MAX_CHARS, objection
from tasks.judging.symbolic import Outcome, SymbolicPool, SymPyUnavailableError

#: Short, harmless to look at, and beyond SymPy for hours.
ENDLESS = r"\prod_{n=1}^{99999} (1+\frac{1}{n^2})"
ROOT = Path(__file__).parents[2]


def children() -> set[int]:
    found = set()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "tasks.judging.sympy_child" in " ".join(child.cmdline()):
                found.add(child.pid)
    return found


def test_an_endless_comparison_is_killed_and_the_pool_goes_on(monkeypatch) -> None:
    # Only the kernel's limit of CPU time can end it before the test runs out of time.
    monkeypatch.setattr(symbolic, "WALL_FACTOR", 1e5)
    before = children()
    with SymbolicPool(1, deadline_s=3.0) as pool:
        assert pool("1", "1").outcome is Outcome.EQUAL
        (victim,) = children() - before
        assert pool("1", ENDLESS).outcome is Outcome.TIMEOUT
        assert pool.kills == 1
        assert not psutil.pid_exists(victim)
        assert pool("x+1", "1+x").outcome is Outcome.EQUAL
        (successor,) = children() - before
        assert successor != victim
    assert children() == before


def test_a_killed_child_is_replaced() -> None:
    before = children()
    with SymbolicPool(1) as pool:
        assert pool("1", "1").outcome is Outcome.EQUAL
        (victim,) = children() - before
        os.kill(victim, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(victim)] if psutil.pid_exists(victim) else [], timeout=5)
        assert pool("2", "2").outcome is Outcome.EQUAL


def test_any_thread_may_ask() -> None:
    with SymbolicPool(2) as pool, ThreadPoolExecutor(4) as threads:
        asked = [(f"{n}+x", f"x+{n % 7}") for n in range(40)]
        outcomes = list(threads.map(lambda pair: pool(*pair).outcome, asked))
    assert outcomes == [Outcome.EQUAL if n < 7 else Outcome.DIFFERENT for n in range(40)]


@pytest.mark.parametrize("work", ["1", ENDLESS])
def test_children_do_not_outlive_a_killed_parent(work: str) -> None:
    script = (
        "import threading, time\n"
        "from tasks.judging.symbolic import SymbolicPool\n"
        "pool = SymbolicPool(1, deadline_s=1.0)\n"
        "pool('1', '1')\n"
        f"threading.Thread(target=pool, args=('1', {work!r}), daemon=True).start()\n"
        "time.sleep(0.2)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    assert parent.stdout.readline().strip() == "ready"
    orphans = psutil.Process(parent.pid).children(recursive=True)
    assert orphans
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(orphans, timeout=120)
    assert not alive


def test_verdicts_do_not_need_the_main_script_to_be_importable() -> None:
    script = (
        "from tasks.judging.symbolic import SymbolicPool\n"
        "import sys\n"
        "sys.stdout.write(SymbolicPool(1)('1', '1').outcome)\n"
    )
    done = subprocess.run(
        [sys.executable, "-"], input=script, cwd=ROOT, text=True, capture_output=True, timeout=300
    )
    assert done.stdout == "equal", done.stderr


@pytest.mark.parametrize(
    "latex", ["x" * (MAX_CHARS + 1), "(" * 50 + "x" + ")" * 50, "10^{10^{10^{10}}}", "2^{9999999}",
              "99999!", "9!!!", "9^{9^{9999}}"],
)  # fmt: skip
def test_the_guard_refuses(latex: str, pool: SymbolicPool) -> None:
    assert objection(latex)
    assert pool("1", latex).outcome is Outcome.TIMEOUT
    assert pool(latex, "1").outcome is Outcome.GOLD_UNPARSABLE


@pytest.mark.parametrize(
    "latex", [r"10^{2^n-n-1}", "2^{2^{10}}", r"\frac{100!}{2^{50}}", "e^{-x^2}"]
)
def test_the_guard_lets_pass(latex: str) -> None:
    assert objection(latex) is None


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="workers"):
        SymbolicPool(0)
    with pytest.raises(ValueError, match="deadline_s"):
        SymbolicPool(1, deadline_s=float("nan"))


def test_a_child_that_cannot_start_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "math_verify.py").write_text("raise ModuleNotFoundError('No module named x')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with SymbolicPool(1) as pool, pytest.raises(SymPyUnavailableError, match="No module named"):
        pool("1", "1")


def test_relations_and_sets_are_compared_by_meaning(pool: SymbolicPool) -> None:
    assert pool(r"k \geq 2", r"2 \leq k").outcome is Outcome.EQUAL
    assert pool(r"k \geq 2", r"[2, \infty)").outcome is Outcome.EQUAL
    assert pool(r"k \geq 2", r"(2, \infty)").outcome is Outcome.DIFFERENT


def test_tolerance_widens_constants_only(pool: SymbolicPool) -> None:
    assert pool(r"\pi", "3.14").outcome is Outcome.DIFFERENT
    assert pool(r"\pi", "3.14", 0.01).outcome is Outcome.EQUAL
    assert pool(r"\pi x", "3.14x", 0.01).outcome is Outcome.DIFFERENT


def test_a_closed_pool_says_so() -> None:
    closed = SymbolicPool(1)
    closed.close()
    with pytest.raises(RuntimeError, match="closed"):
        closed("1", "1")
