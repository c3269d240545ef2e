"""The study's ten benchmarks, each loaded by its own YAML from a dataset laid out as on the hub.

The rows are made up; names of columns, configs, splits and value types are those of the datasets.
"""

import base64
import dataclasses
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import datasets
import pytest
import yaml
from datasets import Dataset, Features, Image, List, Value
from huggingface_hub.errors import GatedRepoError

from tasks.benchmarks import load_items
from tasks.conf import Benchmark, load_named
from tasks.errors import SentinelError

CONF = Path(__file__).parents[2] / "conf"
STUDY = yaml.safe_load((CONF / "experiments" / "paper-v4.yaml").read_text())["benchmarks"]
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)

TEXT = Value("string")
OLYMPIAD = Features(
    {"id": Value("int64"), "question": TEXT, "solution": List(TEXT), "final_answer": List(TEXT),
     "context": TEXT, "image_1": Image(), "modality": TEXT, "difficulty": TEXT,
     "is_multiple_answer": Value("bool"), "unit": TEXT, "answer_type": TEXT, "error": TEXT,
     "question_type": TEXT, "subfield": TEXT, "subject": TEXT, "language": TEXT}
)  # fmt: skip


def olympiad(question: str, solution: str, **fields) -> dict:
    return dict.fromkeys(OLYMPIAD) | {
        "question": question, "solution": [solution, "another way"], **fields
    }  # fmt: skip


# config -> rows, as published; None is a dataset without configs.
TABLES = {
    "gsm8k": {
        "main": [{"question": "2 bags of 3?", "answer": "2 * 3 = <<2*3=6>>6\n#### 1,006"}],
        "socratic": [{"question": "2 bags of 3?", "answer": "How many?\n#### 7"}],
    },
    "gsm-symbolic": {
        name: [{"id": 0, "instance": i, "question": f"{i} of {name}?",
                "answer": f"so\n#### {i}", "original_id": 7, "original_question": "?",
                "original_answer": "#### 9", "canary": "c"} for i in (1, 2)]
        for name in ("main", "p1", "p2")
    },
    "svamp": {None: [{"ID": "chal-1", "Body": "Ann has 5.", "Question": "And after 2 more?",
                      "Equation": "( 5.0 + 2.0 )", "Answer": "7", "Type": "Addition",
                      "question_concat": "Ann has 5. And after 2 more?"}]},
    "math": {None: [{"problem": "Half of $3$?", "solution": r"It is $\boxed{\frac{3}{2}}$.",
                     "answer": r"\frac{3}{2}", "subject": "Algebra", "level": 1,
                     "unique_id": "test/algebra/1.json"}]},
    "olympiadbench": {
        "OE_TO_maths_en_COMP": [
            olympiad("Roots?", "s1", final_answer=["1,-1"], answer_type="Numerical",
                     is_multiple_answer=True),
            olympiad("Set?", "s2", final_answer=["(0,1)"], answer_type="Interval"),
            olympiad("New?", "s6", final_answer=["x"], answer_type="Need_human_evaluate"),
        ],
        "OE_TO_physics_en_COMP": [
            olympiad("Mass?", "s3", final_answer=["-2.5e3"], answer_type="Numerical",
                     unit=r"$\mathrm{kg}$", error="5e1"),
        ],
        "TP_TO_maths_en_COMP": [olympiad("Prove it.", "By induction.", final_answer=None)],
        "TP_TO_physics_en_COMP": [olympiad("Show it.", "By energy.", final_answer=[])],
        "OE_MM_maths_en_COMP": [olympiad("With a picture?", "s5", final_answer=["1"])],
    },
    "gpqa": {
        name: [{"Question": f" What of {name}? ", "Correct Answer": "the neutron\n",
                "Incorrect Answer 1": "a", "Incorrect Answer 2": "b", "Incorrect Answer 3": "c",
                "Explanation": "it has no charge", "Record ID": "rec1"}]
        for name in ("gpqa_main", "gpqa_diamond")
    },
    "scibench": {None: [
        {"problem_text": f"Question {i}?", "answer_latex": "", "answer_number": answer,
         "unit": unit, "source": "atkins", "problemid": str(i), "comment": "", "solution": solution}
        for i, (answer, unit, solution) in enumerate([
            ("2.89", r"$10^{-9} \mathrm{~J}$", "by hand"),
            ("1.19", r"$\mathrm{10^{-4}} \mathrm{~cm}^3$", ""),
            ("−4.37 ", r"$10 ^ {-6}m/s^2$", ""),
            ("1.43", "$10^{24}$", ""),
            ("89,034.79", "$", ""),
            ("59.4", r"$\mathrm{~kg}$", ""),
            ("a few", "$10^3$ m", ""),
        ])
    ]},
    "theoremqa": {None: [
        {"Question": f"Question {kind}?", "Answer": answer, "Answer_type": kind, "Picture": None}
        for kind, answer in [("integer", "4"), ("float", "1.5"), ("bool", "True"),
                             ("list of integer", "[1, 2]"), ("list of float", "[0.5, 1.5]"),
                             ("option", "(b)")]
    ] + [{"Question": "See the picture?", "Answer": "1", "Answer_type": "integer",
          "Picture": {"bytes": PIXEL, "path": None}}]},
    "livemathbench": {
        "v202505_all_en": [{"question": "How many?", "answer": "$12$", "question_type": "x"}],
        "v202412_AMC_en": [{"question": "Old?", "answer": "1", "question_type": "x"}],
    },
    "matscibench": {None: [
        {"qid": "a", "type": "NUM", "question": "Lattice constant?", "image": None,
         "solution": "by Bragg", "answer": "3.615", "unit": "angstrom"},
        {"qid": "b", "type": "FORMULA", "question": "Which law?", "image": None,
         "solution": None, "answer": r"\sigma = E \epsilon", "unit": None},
        {"qid": "c", "type": "NUM", "question": "In the figure?", "image": "c.png",
         "solution": None, "answer": "1", "unit": None},
    ]},
}  # fmt: skip
FEATURES = {
    "olympiadbench": OLYMPIAD,
    "theoremqa": Features({"Question": TEXT, "Answer": TEXT, "Answer_type": TEXT,
                           "Picture": Image()}),
}  # fmt: skip
SPLITS = dict.fromkeys(("olympiadbench", "gpqa", "scibench"), "train")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The benchmark of that name, with its dataset in a local folder instead of on the hub."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def benchmark(name: str) -> Benchmark:
        folder, card = tmp_path / "hub" / name, []
        for config, rows in TABLES[name].items():
            path = folder / (config or "data") / f"{SPLITS.get(name, 'test')}.parquet"
            path.parent.mkdir(parents=True)
            Dataset.from_list(rows, features=FEATURES.get(name)).to_parquet(path)
            files = [{"split": SPLITS.get(name, "test"), "path": str(path.relative_to(folder))}]
            card.append({"config_name": config or "default", "data_files": files})
        (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': card})}---\n")
        loaded = load_named(CONF, "benchmarks", name, Benchmark)
        source = dataclasses.replace(loaded.source, dataset=str(folder))
        return dataclasses.replace(loaded, source=source)

    return benchmark


def shown(table, *columns: str) -> list[tuple]:
    return list(zip(*(table[c].to_pylist() for c in columns), strict=True))


def test_every_benchmark_of_the_study_has_a_case() -> None:
    assert set(STUDY) == set(TABLES)
    assert len(STUDY) == 10


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gsm8k", ("2 bags of 3?", "1,006", "numeric")),
        ("gsm-symbolic", ("1 of p1?", "1", "numeric")),
        ("svamp", ("Ann has 5. And after 2 more?", "7", "numeric")),
        ("math", ("Half of $3$?", r"\frac{3}{2}", "latex")),
        ("gpqa", ("What of gpqa_main?", "the neutron", "text")),
        ("livemathbench", ("How many?", "$12$", "latex")),
    ],
)
def test_question_and_answer_come_from_the_published_columns(hub, name, expected) -> None:
    found = load_items(hub(name))
    assert shown(found, "question", "answer", "answer_type")[0] == expected
    assert len(found) == (2 if name == "gsm-symbolic" else 1)
    assert set(found["benchmark"].to_pylist()) == {name}


def test_olympiadbench_joins_four_configs_and_takes_a_proof_for_its_own_reference(hub) -> None:
    found = load_items(hub("olympiadbench"))
    assert shown(found, "question", "answer", "answer_type", "solution") == [
        ("Roots?", "1,-1", "numeric", "s1"),
        ("Set?", "(0,1)", "latex", "s2"),
        ("New?", "x", "text", "s6"),
        ("Mass?", "-2.5e3", "numeric", "s3"),
        ("Prove it.", "By induction.", "text", "By induction."),
        ("Show it.", "By energy.", "text", "By energy."),
    ]
    # 50 kg of 2,500 kg; the others are left to the benchmark's tolerance.
    assert found["tolerance"].to_pylist() == [None, None, None, 0.02, None, None]
    assert hub_tolerance("olympiadbench") == 1e-8
    assert found["unit"].to_pylist()[3] == r"$\mathrm{kg}$"


def hub_tolerance(name: str) -> float | None:
    return load_named(CONF, "benchmarks", name, Benchmark).tolerance


def test_scibench_gives_the_power_of_ten_to_the_answer(hub) -> None:
    found = load_items(hub("scibench"))
    assert shown(found, "answer", "unit") == [
        ("2.89E-9", r"$\mathrm{~J}$"),
        ("0.000119", r"$\mathrm{~cm}^3$"),
        ("-0.00000437", "$m/s^2$"),
        ("1.43E+24", None),
        ("89,034.79", "$"),
        ("59.4", r"$\mathrm{~kg}$"),
        (r"(a few) \times 10^{3}", "m"),
    ]
    assert found["solution"].to_pylist()[:2] == ["by hand", None]
    assert hub_tolerance("scibench") == 0.05


def test_theoremqa_leaves_pictures_out_and_has_a_tolerance_a_kind(hub) -> None:
    found = load_items(hub("theoremqa"))
    assert shown(found, "answer", "answer_type", "tolerance") == [
        ("4", "numeric", 0.0),
        ("1.5", "numeric", 0.04),
        ("True", "text", None),
        ("[1, 2]", "latex", 0.0),
        ("[0.5, 1.5]", "latex", 0.04),
        ("(b)", "multiple_choice", None),
    ]


def test_matscibench_leaves_images_out(hub) -> None:
    found = load_items(hub("matscibench"))
    assert shown(found, "question", "answer_type", "unit", "solution") == [
        ("Lattice constant?", "numeric", "angstrom", "by Bragg"),
        ("Which law?", "latex", None, None),
    ]


def test_gpqa_is_not_to_be_shown() -> None:
    names = {n for n in STUDY if not load_named(CONF, "benchmarks", n, Benchmark).show_items}
    assert names == {"gpqa"}


@pytest.mark.parametrize("config", ["no_such_config"])
def test_a_config_that_is_not_there_is_told(hub, config: str) -> None:
    benchmark = hub("gpqa")
    source = dataclasses.replace(benchmark.source, config=config)
    with pytest.raises(SentinelError, match="no_such_config"):
        load_items(dataclasses.replace(benchmark, source=source))


def test_where_on_a_column_that_the_hub_lacks(hub) -> None:
    benchmark = hub("svamp")
    source = dataclasses.replace(benchmark.source, where={"Picture": None})
    with pytest.raises(SentinelError, match="column `Picture` of `where` is missing"):
        load_items(dataclasses.replace(benchmark, source=source))


class Answer:
    """As much of an HTTP response as the hub's error reads."""

    headers: dict = {}  # noqa: RUF012
    request = None


@pytest.mark.parametrize(
    "error",
    [
        datasets.exceptions.DatasetNotFoundError(
            "Dataset 'Idavidrein/gpqa' is a gated dataset on the Hub. You must be authenticated."
        ),
        GatedRepoError("403 Client Error", response=Answer()),
    ],
    ids=["as a missing dataset", "as a gated one"],
)
def test_a_gated_dataset_is_told_with_where_to_ask(monkeypatch, error: Exception) -> None:
    def refuse(*_, **__) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(SentinelError) as caught:
        load_items(load_named(CONF, "benchmarks", "gpqa", Benchmark))
    message = str(caught.value)
    assert "benchmark 'gpqa': Idavidrein/gpqa is gated" in message
    assert "accept the terms at https://huggingface.co/datasets/Idavidrein/gpqa" in message
    assert "HF_TOKEN" in message


class Gate(BaseHTTPRequestHandler):
    """A hub that refuses as the real one does for terms that were not accepted."""

    def refuse(self) -> None:
        self.send_response(401)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = refuse

    def log_message(self, *_) -> None:
        pass


@pytest.mark.slow
def test_a_hub_that_refuses_is_told_apart_from_one_that_is_gone(tmp_path: Path) -> None:
    """With the hub's own client, which reads its address when it is imported."""
    code = (
        "from pathlib import Path; from tasks.benchmarks import load_items\n"
        "from tasks.conf import Benchmark, load_named\n"
        f"load_items(load_named(Path({str(CONF)!r}), 'benchmarks', 'gpqa', Benchmark))"
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), Gate) as gate:
        threading.Thread(target=gate.serve_forever, daemon=True).start()
        endpoint = {"HF_ENDPOINT": f"http://127.0.0.1:{gate.server_port}", "HF_HOME": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=CONF.parent, env=os.environ | endpoint,
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        gate.shutdown()
    assert done.returncode == 1
    assert "SentinelError: benchmark 'gpqa': Idavidrein/gpqa is gated" in done.stderr


def test_the_item_counts_are_those_of_the_study() -> None:
    hints = {n: load_named(CONF, "benchmarks", n, Benchmark).hints.items for n in STUDY}
    assert hints == {
        "gsm8k": 1319, "gsm-symbolic": 5000, "svamp": 300, "math": 500, "olympiadbench": 1438,
        "gpqa": 448, "scibench": 692, "theoremqa": 747, "livemathbench": 100, "matscibench": 1025,
    }  # fmt: skip
    assert sum(hints.values()) == 11_569
