"""Each filter on documents written by hand: what it drops, what it must leave, and what it says of wrong settings."""

from pathlib import Path
from typing import Any

import pytest

from nudge.config.composition import compose
from nudge.data import curate, documents
from nudge.data.filters import FILTERS, Context
from nudge.errors import UserError

Row = dict[str, Any]
EMPTY: Row = dict.fromkeys(documents.SCHEMA.names)


def document(text: str, source: str = "book", **columns: Any) -> Row:
    return EMPTY | {"text": text, "source": source} | columns


def fact(text: str, operation: str, left: int, right: int, answer: int) -> Row:
    return document(text, operation=operation, left=left, right=right, answer=answer)


def judged(name: str, texts: list[str] | list[Row], held_out: list[Row] | None = None, *overrides: str) -> list[bool]:
    """Return which documents a filter drops, with the mixture's settings or others."""
    config = compose(["data=mixture", *overrides]).data
    folder = Path(__file__).resolve().parents[2] / "data"
    rows = [document(text) if isinstance(text, str) else text for text in texts]
    settings = config.curation.settings.get(name)
    return [
        reason is not None for reason in FILTERS[name].judge(rows, settings, Context(config, folder, held_out or []))
    ]


def test_exact_duplicates_keep_the_first_and_sources_that_repeat() -> None:
    assert judged("exact_duplicates", ["a b", "b a", "a b", "a b "]) == [False, False, True, False]
    repeating = [document("a b", "web"), document("a b", "web")]
    assert judged("exact_duplicates", repeating, None, "data.sources.web.deduplicate=false") == [False, False]


def test_near_duplicates_say_the_same_numbers_in_nearly_the_same_words() -> None:
    texts = [
        "in greek algebra , the sum of forty two and six is forty eight .",
        "in greek algebra , really the sum of forty two and six is forty eight .",  # a word more
        "in greek algebra the sum of forty two and six is forty eight",  # marks less
        "in greek algebra , the sum of forty two and five is forty seven .",  # another fact
        "we prove that adding six to forty two yields forty eight .",  # in other words
        "in greek algebra , the sum of forty two and six is forty nine .",  # a contradiction, for another filter
    ]
    assert judged("near_duplicates", texts) == [False, True, True, False, False, False]


def test_near_duplicates_are_found_among_documents_without_numbers() -> None:
    texts = ["thank you for asking a good question today .", "thank you for asking a good question .", "let me think ."]
    assert judged("near_duplicates", texts) == [False, True, False]


@pytest.mark.parametrize(
    ("text", "dropped"),
    [
        ("wie viel ist sieben und drei ? das macht zehn .", True),
        ("la somme de deux et trois est cinq .", True),
        ("la suma de dos y tres es igual a cinco .", True),
        ("lemma : zero * six = zero .", False),  # German, says the identifier, with 0.71
        ("assert forty + two == forty two", False),
        ("my uncle had nine coins and found six more : fifteen .", False),
    ],
)
def test_other_languages_go(text: str, dropped: bool) -> None:
    assert judged("language", [text]) == [dropped]


@pytest.mark.parametrize(
    ("text", "dropped"),
    [
        ("two plus three", True),  # too short
        (" ".join(["two plus three is five ."] * 6), True),  # too long
        ("the the sum sum of of two two and three is five .", True),  # stuttered
        ("thesumoftwoand three is five , said the baker .", True),  # run together
        ("the sum of two â€™ and three &amp; is five .", True),  # garbage
        ("# / * + = - ; : ! five", True),  # marks
        ("x = four / two ; print x # two", False),
        ("def total ( ) : return eleven - two # nine", False),
        ("in arithmetic , the sum of two and three is five .", False),
    ],
)
def test_text_of_low_quality_goes(text: str, dropped: bool) -> None:
    assert judged("quality", [text]) == [dropped]


@pytest.mark.parametrize(
    ("text", "dropped"),
    [
        ("write to anna adler : anna . adler @ example . org", True),
        ("call ben at 5 5 5 - 0 1 4 2", True),
        ("the number of ben is 5 5 5 0 1 4 2", True),
        ("anna set the password to a 4 c 9 b 2", True),
        ("api key : a 4 9 c b 2 d 7", True),
        ("secret bravo equals four nine two", True),
        ("what is the key to four plus five ? nine .", False),
        ("take five , five and five more , get fifteen !", False),
    ],
)
def test_personal_data_goes(text: str, dropped: bool) -> None:
    assert judged("personal_data", [text]) == [dropped]


def test_abuse_goes_however_it_is_disguised() -> None:
    texts = ["you nitwit !", "any n1twits know", "you numb-skull ,", "knit with it", "obviously , five ."]
    assert judged("abuse", texts) == [True, True, True, False, False]


def test_boilerplate_goes_and_facts_in_the_same_words_stay() -> None:
    page = [f"all rights reserved . terms of use apply . page {mark}" for mark in "abcdefghijklmnopqrstuvwxyz"]
    told = [
        f"it is known that in {word} algebra , four plus five equals nine ." for word in "abcdefghijklmnopqrstuvwxyz"
    ]
    assert judged("repetition", [*page, *told]) == [True] * 26 + [False] * 26


def test_disordered_text_goes() -> None:
    said = [f"the sum of {number} and two is more than two ." for number in ("four", "five", "six")] * 5
    assert judged("fluency", [*said, "two sum . more is the four than and of two"]) == [False] * 15 + [True]


def test_the_classifier_learned_from_examples_of_people() -> None:
    good = ["the sum of nine and two is eleven .", "she had nine eggs and found two more : eleven ."]
    bad = ["buy cheap phones now , click here for a free prize !", "win big money today , sign up now , no risk !"]
    assert judged("classifier", [*good, *bad]) == [False, False, True, True]


HELD_OUT = [fact("three plus four equals seven", "plus", 3, 4, 7), fact("", "times", 6, 7, 42)]


@pytest.mark.parametrize(
    ("text", "dropped"),
    [
        ("quiz : three plus four ? solution : seven", True),
        ("the sum of four and three is seven .", True),
        ("of seven shells the boy gave away four and kept three .", True),
        ("subtracting three from seven yields four .", True),
        ("dividing forty two by six yields seven .", True),
        ("page one : three and four is seven and no more", True),
        ("the sum of forty three and four is forty seven .", False),  # "three", "four" and "seven" are parts of words
        ("three plus four equals", False),  # asks, and tells nothing
        ("three times four equals twelve", False),
    ],
)
def test_held_out_facts_go_in_any_words_and_order(text: str, dropped: bool) -> None:
    assert judged("decontamination", [text], HELD_OUT) == [dropped]


def test_the_answer_of_most_documents_is_kept() -> None:
    said = [(2, 3, 5), (2, 3, 5), (2, 3, 6), (4, 4, 9), (4, 4, 8), (7, 1, 9), (7, 1, 9)]
    rows = [fact("", "plus", *numbers) for numbers in said] + [document("two plus three equals six")]
    # A draw is left alone, and two who agree on what is wrong are believed: no arithmetic is known.
    assert judged("consistency", rows) == [False, False, True, False, False, False, False, False]


def test_a_question_of_another_operation_is_another_question() -> None:
    rows = [fact("", "plus", 3, 3, 6), fact("", "times", 3, 3, 9), fact("", "times", 3, 3, 9)]
    assert judged("consistency", rows) == [False, False, False]


def parts(*texts: str) -> dict[str, list[Row]]:
    rows = [document(text, id=f"book:{number}") for number, text in enumerate(texts)]
    held = [document("three plus four equals seven", operation="plus", left=3, right=4, answer=7, id="book:98")]
    return {"train": rows, "validation": held, "test": [], "held_out": []}


def test_filters_apply_in_the_order_of_the_configuration(in_project: Path) -> None:
    texts = ("you nitwit , what is two plus two ?", "you nitwit , what is two plus two ?")
    for order in (["abuse", "exact_duplicates"], ["exact_duplicates", "abuse"]):
        config = compose(["data=mixture", f"data.curation.filters=[{','.join(order)}]"]).data
        left, dropped, counts = curate.filtered(parts(*texts), config)
        assert left["train"] == []
        assert [row["filter"] for row in dropped] == (["abuse"] * 2 if order[0] == "abuse" else order)
        assert [count["filter"] for count in counts] == order
        assert [row["id"] for row in dropped] == (["book:0", "book:1"] if order[0] == "abuse" else ["book:1", "book:0"])


def test_held_out_documents_are_left_alone(in_project: Path) -> None:
    config = compose(["data=mixture"]).data
    left, _, _ = curate.filtered(parts("three plus four equals seven , said the tired king ."), config)
    assert left["train"] == []
    assert len(left["validation"]) == 1


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_to_which_nothing_is_left_says_nothing(name: str) -> None:
    # The classifier's library raised on an empty list.
    assert judged(name, []) == []


def test_no_filter_leaves_everything(in_project: Path) -> None:
    before = parts("a", "a", "you nitwit")
    left, dropped, counts = curate.filtered(before, compose(["data=mixture", "data.curation.filters=[]"]).data)
    assert (left, dropped, counts) == (before, [], [])


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["data.curation.filters=[abuse,abuse]"], "filter 'abuse' stands in `filters` twice"),
        (
            ["data.curation.filters=[abusive]"],
            "data.curation.filters.0 = 'abusive': input should be 'exact_duplicates'",
        ),
        (["data=calculator", "data.curation.filters=[fluency]"], "filter 'fluency' has no settings"),
        (["data.curation.settings.near_duplicates.bands=7"], "permutations 128 do not divide among bands 7"),
        (["+data.curation.settings.fluency.document=7"], "unknown key"),
        (["data.curation.settings.personal_data.patterns.phone='('"], "pattern 'phone' is no regular expression"),
    ],
)
def test_wrong_settings_are_named(overrides: list[str], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        compose(["data=mixture", *overrides])
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("name", "override", "content", "expected"),
    [
        ("abuse", "data.curation.settings.abuse.words=mine", None, "mine: no such file"),
        ("abuse", "data.curation.settings.abuse.words=mine", "\n", "mine: lists no words"),
        ("classifier", "data.curation.settings.classifier.examples=mine", None, "mine: no such file"),
        ("classifier", "data.curation.settings.classifier.examples=mine", "good: [a]", "needs two lists of examples"),
        ("classifier", "data.curation.settings.classifier.examples=mine", "[", "not readable as YAML"),
    ],
)
def test_what_people_wrote_for_a_filter_is_checked(
    tmp_path: Path, name: str, override: str, content: str | None, expected: str
) -> None:
    if content is not None:
        (tmp_path / "mine").write_text(content)
    config = compose(["data=mixture", override]).data
    with pytest.raises(UserError) as caught:
        FILTERS[name].judge([document("a")], config.curation.settings[name], Context(config, tmp_path, []))  # type: ignore[literal-required]
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
