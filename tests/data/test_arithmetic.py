"""The facts: as many as there are, all true, and families that hold what follows from one another."""

from collections import Counter, defaultdict

from nudge.data import arithmetic, numbers
from nudge.data.arithmetic import Fact


def test_there_are_16294_true_facts() -> None:
    facts = list(arithmetic.facts(99))
    assert Counter(fact.operation for fact in facts) == {
        "plus": 10_000,
        "minus": 5_050,
        "times": 672,
        "divided by": 572,
    }
    assert len(set(facts)) == 16_294
    truth = {"plus": int.__add__, "minus": int.__sub__, "times": int.__mul__, "divided by": int.__floordiv__}
    for operation, left, right, answer in facts:
        assert truth[operation](left, right) == answer
        assert operation != "divided by" or left % right == 0
        assert 0 <= answer <= 198


def test_families_hold_commuted_and_inverted_facts() -> None:
    families = defaultdict(set)
    for fact in arithmetic.facts(99):
        families[fact.family].add(fact)
    assert families["3+4"] == {
        Fact("plus", 3, 4, 7),
        Fact("plus", 4, 3, 7),
        Fact("minus", 7, 3, 4),
        Fact("minus", 7, 4, 3),
    }
    assert families["3*4"] == {
        Fact("times", 3, 4, 12),
        Fact("times", 4, 3, 12),
        Fact("divided by", 12, 3, 4),
        Fact("divided by", 12, 4, 3),
    }
    # Zero divided by anything belongs to the product with zero, not to a family of its own.
    assert Fact("divided by", 0, 7, 0) in families["0*7"]


def test_every_number_can_be_said_and_understood() -> None:
    spoken = [numbers.words(number) for number in range(199)]
    assert spoken[0] == "zero"
    assert spoken[42] == "forty two"
    assert spoken[198] == "one hundred ninety eight"
    assert [numbers.parse(words) for words in spoken] == list(range(199))
    assert len({word for words in spoken for word in words.split()}) == 29
    assert numbers.parse("twenty ten") is None
