import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.judging.extract import extract, last_boxed
from tasks.records import AnswerType, Finish

words = st.text(st.characters(exclude_characters="\\{}$<>", codec="utf-8"), max_size=60)


@given(words, st.integers(), words)
def test_a_box_is_found_in_any_prose(before: str, number: int, after: str) -> None:
    assert last_boxed(f"{before}\\boxed{{{number}}}{after}") == str(number)


@given(st.recursive(st.just("x"), lambda inner: st.builds("{{{}}}".format, inner), max_leaves=20))
def test_nested_braces_stay_whole(content: str) -> None:
    assert last_boxed(rf"so \boxed{{a{content}}} holds") == f"a{content}"


@given(st.text(), st.sampled_from(list(Finish)), st.sampled_from(list(AnswerType)))
@example("The answer is: ** .", Finish.STOP, AnswerType.TEXT)
@example(r"\boxed{ } \boxed", Finish.STOP, AnswerType.TEXT)
def test_no_text_is_too_odd(text: str, finish: str, answer_type: str) -> None:
    found = extract(text, finish, answer_type)
    assert found.how
    assert found.answer is None or found.answer.strip()


@given(st.lists(st.integers(), min_size=1), st.sampled_from(list(AnswerType)))
def test_a_truncated_text_without_a_mark_yields_nothing(numbers: list[int], kind: str) -> None:
    text = "we add " + " and ".join(map(str, numbers))
    assert extract(text, Finish.LENGTH, kind).answer is None


def test_the_way_it_was_found_is_told() -> None:
    assert extract(r"\boxed{1} or so. The answer is 2", "stop", "numeric") == ("1", "boxed")
    assert extract("The answer is 2. There were 3", "stop", "numeric") == ("2", "phrase")
    assert extract("There were 3", "stop", "numeric") == ("3", "last number")
    assert extract("There were 3", "stop", "numeric", last_number=False).answer is None


@pytest.mark.parametrize(
    "piece", ["\\boxed{", "{", "\\", "the answer is ", "1,234,", "$ ", "- ", "<think>", "(A) ", " ",
              "####", "**", "\\boxed ", "1e", "answer:\n", "\\boxed{1}, "],
)  # fmt: skip
def test_time_stays_linear_in_hostile_repetition(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    for kind in AnswerType:
        start = time.process_time()
        extract(text, "stop", kind)
        assert time.process_time() - start < 2
