from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.judging.numbers import Letters, close, only_number, parse_quantity
from tasks.judging.units import convert, parse_unit

integers = st.integers(-(10**30), 10**30)


def value(text: str) -> Fraction | None:
    quantity = parse_quantity(text)
    return quantity.value if quantity else None


@given(integers)
def test_integers_survive_every_way_of_printing_them(number: int) -> None:
    grouped = f"{number:,}"
    for text in (
        str(number), grouped, grouped.replace(",", "{,}"), rf"${number}$", f"x = {number}",
        rf"\text{{{number}}}", f"{number}.0", f"{number} apples", f"({number})",
    ):  # fmt: skip
        assert value(text) == number


@given(st.integers(-(10**6), 10**6), st.integers(1, 999))
def test_fractions_survive(above: int, below: int) -> None:
    sign, size = "-" * (above < 0), abs(above)
    for text in (f"{above}/{below}", rf"{sign}\frac{{{size}}}{{{below}}}",
                 rf"\dfrac{{{above}}}{{{below}}}"):  # fmt: skip
        assert value(text) == Fraction(above, below)


@given(st.integers(-999, 999), st.integers(-300, 300))
def test_powers_of_ten_survive(mantissa: int, exponent: int) -> None:
    for text in (
        f"{mantissa}e{exponent}",
        rf"{mantissa} \times 10^{{{exponent}}}",
        f"{mantissa}×10^{exponent}",
        f"{mantissa} * 10**({exponent})",
    ):
        assert value(text) == mantissa * Fraction(10) ** exponent


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_survive_python_printing(number: float) -> None:
    assert value(repr(number)) == Fraction(repr(number))


@pytest.mark.parametrize(
    "text", ["1, 2", "5x", "2RC", "3n", r"\sqrt{2}", r"3\sqrt{2}", "2+3", "1/0", "", "abc", "5 - x",
             "1e9999", r"2\pi", "12:30", "3 and 4", "5^2", "2,3", r"2 \cdot x", "5(x)", "9" * 300],
)  # fmt: skip
def test_what_is_not_one_number(text: str) -> None:
    assert parse_quantity(text) is None


def test_a_letter_is_a_unit_only_where_the_caller_says_so() -> None:
    assert parse_quantity("5m", Letters.SPACE) is None
    assert parse_quantity("5 m", Letters.FONT) is None
    for text, letters in (("5m", Letters.ANY), ("5 m", Letters.SPACE)):
        assert parse_quantity(text, letters) == (5, False, "m")
    assert parse_quantity(r"5\,\mathrm{m}", Letters.FONT) == (5, False, "m")


def test_close_is_relative_exact_for_integers_and_absolute_only_at_zero() -> None:
    assert close(Fraction(105), Fraction(100), 0.05)
    assert not close(Fraction(10501, 100), Fraction(100), 0.05)
    assert not close(Fraction("0.33"), Fraction("0.333"), None)
    assert close(Fraction("0.33"), Fraction("0.333"), 0.01)
    assert not close(Fraction(10**18 + 1), Fraction(10**18), None)
    assert not close(Fraction(10**18 + 1), Fraction(10**18), 0.0)
    assert close(Fraction("1e-12"), Fraction(0), None)
    assert not close(Fraction(0), Fraction("1e-30"), 0.05)


@given(integers, st.floats(0, 1), st.floats(0, 1))
def test_a_wider_tolerance_never_turns_right_into_wrong(gold: int, a: float, b: float) -> None:
    answer = Fraction(gold) * Fraction("1.02")
    low, high = sorted((a, b))
    assert not close(answer, Fraction(gold), low) or close(answer, Fraction(gold), high)


def test_only_number_wants_words_and_exactly_one_number() -> None:
    assert only_number("she has 5 apples left") == (5, False, "")
    assert only_number("from 4 to 5 apples") is None
    assert only_number("5x + y") is None


@pytest.mark.parametrize(
    ("number", "unit", "target", "expected"),
    [
        ("500", "cm", "m", "5"), ("5", "km", "m", "5000"), ("5", "s", "m", None),
        ("5", "", "m", "5"), ("5", "apples", "m", "5"), ("5", "m", "", "5"),
        ("27", r"^{\circ}C", "K", "300.15"), ("36", "km/h", r"$\mathrm{m} / \mathrm{s}$", "10"),
        ("1", r"kJ mol^{-1}", r"\mathrm{~J} \mathrm{~mol}^{-1}", "1000"),
        ("1", "g/cm^3", r"$\frac{\mathrm{kg}}{\mathrm{m}^{3}}$", "1000"),
        ("3", r"^{\circ}", "°C", "3"), ("2", r"\mu m", "nm", "2000"),
    ],
)  # fmt: skip
def test_units(number: str, unit: str, target: str, expected: str | None) -> None:
    assert convert(Fraction(number), unit, target) == (expected and Fraction(expected))


@given(st.text(max_size=80))
@example("m(")
@example("5 m)/(s")
@example("m**")
def test_no_text_is_too_odd_for_the_readers(text: str) -> None:
    for read in (parse_quantity, only_number):
        quantity = read(text)
        assert quantity is None or isinstance(quantity.value, Fraction)
    unit = parse_unit(text)
    assert unit is None or hasattr(unit, "dimensionality")
