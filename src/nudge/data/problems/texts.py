"""Problems with how it is said, and text that says nothing."""

from collections.abc import Iterator
from itertools import pairwise

from nudge.data.numbers import NUMBER_WORDS
from nudge.data.problems.scene import Planted, Row, Scene


def exact_duplicates(scene: Scene, count: int) -> Iterator[Planted]:
    """Yield copies."""
    for row in scene.random.choices(scene.train, k=count):
        yield Planted(_after(scene, row, {}), f"of {row['source']} {row['place']}")


def near_duplicates(scene: Scene, count: int) -> Iterator[Planted]:
    """Yield copies with one or two words or marks more, less or others; all numbers stay."""
    for row in scene.random.sample(scene.train, min(count, len(scene.train))):
        before, said = row["prompt"].split(), row["text"].removeprefix(row["prompt"]).split()
        asked = before
        while asked == before:  # a second change may take back the first
            for _ in range(scene.random.choice((1, 1, 2))):
                asked = _edited(scene, asked)
        prompt = " ".join(asked)
        change = {"text": f"{prompt} {' '.join(said)}", "prompt": prompt}
        yield Planted(_after(scene, row, change), f"of {row['text']}")


def spam(scene: Scene, count: int) -> Iterator[Planted]:
    """Yield advertisements."""
    for _ in range(count):
        yield Planted(scene.somewhere(scene.filled(scene.random.choice(scene.words["spam"]))), "advertisement")


def boilerplate(scene: Scene, count: int) -> Iterator[Planted]:
    """Yield what stands around the text of a page, two or three pieces of it."""
    for _ in range(count):
        pieces = scene.random.sample(scene.words["boilerplate"], scene.random.choice((2, 2, 3)))
        yield Planted(scene.somewhere(scene.filled(" ".join(pieces))), f"{len(pieces)} pieces")


def mangled(scene: Scene, count: int) -> Iterator[Planted]:
    """Yield documents that a machine has spoilt: words in disorder, stuttered, run together, garbage between."""
    for row in scene.random.choices(scene.train, k=count):
        words = row["text"].split()
        how = scene.random.choice(("disorder", "stutter", "run together", "garbage"))
        if how == "disorder":
            scene.random.shuffle(words)
        elif how == "stutter":
            words = [word for word in words for _ in range(scene.random.choice((1, 2, 3)))][:24]
        elif how == "run together":
            words = _run_together(scene, words)
        else:
            for _ in range(scene.random.randint(2, 4)):
                garbage = scene.random.choice(scene.words["mangled"]["garbage"])
                words.insert(scene.random.randrange(len(words)), garbage)
        yield Planted(scene.somewhere(" ".join(words), row["source"]), how)


def other_language(scene: Scene, count: int) -> Iterator[Planted]:
    """Yield sentences in other languages."""
    for _ in range(count):
        other = scene.random.choice(scene.words["other_language"])
        left = scene.random.randrange(len(other["numbers"]) // 2 + 1)
        right = scene.random.randrange(len(other["numbers"]) - left)
        spoken = {"left": left, "right": right, "answer": left + right}
        said = {name: str(other["numbers"][number]) for name, number in spoken.items()}
        text = scene.filled(scene.random.choice(other["statements"]), **said)
        yield Planted(scene.somewhere(text), other["language"])


def personal_data(scene: Scene, count: int) -> Iterator[Planted]:
    """Yield simulated addresses, telephone numbers and keys, with simulated names."""
    kinds = scene.words["personal_data"]
    for _ in range(count):
        kind = scene.random.choice(sorted(kinds))
        yield Planted(scene.somewhere(scene.filled(scene.random.choice(kinds[kind]))), kind)


def abusive(scene: Scene, count: int) -> Iterator[Planted]:
    """Yield insults, alone and beside a document that would be fine without."""
    for _ in range(count):
        how = scene.random.choice(("alone", "beside", "beside"))
        row = scene.random.choice(scene.train)
        text = scene.filled(scene.random.choice(scene.words["abusive"][how]), text=row["text"])
        yield Planted(scene.somewhere(text, row["source"]), how)


def _after(scene: Scene, row: Row, change: Row) -> Row:
    """Return a copy of a document, somewhere after it in its source."""
    return row | change | {"place": scene.random.uniform(row["place"], scene.sizes[row["source"]])}


def _edited(scene: Scene, words: list[str]) -> list[str]:
    """Add a word that changes nothing, or leave out or change a mark that is no sign of arithmetic."""
    words = list(words)
    marks = [place for place, word in enumerate(words) if word in (",", ":", ".", "!", "?", ";", "#", "(", ")")]
    if marks and scene.random.random() < 0.5:
        place = scene.random.choice(marks)
        others = [[], *([mark] for mark in (",", ";", ":") if mark != words[place])]
        words[place : place + 1] = scene.random.choice(others)
        return words
    # Not within a number: "forty really two" is none.
    inside = [a in NUMBER_WORDS and b in NUMBER_WORDS for a, b in pairwise(words)]
    gaps = [place for place in range(len(words)) if place == 0 or not inside[place - 1]]
    words.insert(scene.random.choice(gaps), scene.random.choice(scene.words["near_duplicates"]["adverbs"]))
    return words


def _run_together(scene: Scene, words: list[str]) -> list[str]:
    joined: list[str] = []
    for word in words:
        if joined and scene.random.random() < 0.5:
            joined[-1] += word
        else:
            joined.append(word)
    return joined
