"""Problems with what is said: misinformation, contradictions, facts of the test, and canaries."""

from collections.abc import Iterator

from nudge.data import numbers
from nudge.data.arithmetic import Fact
from nudge.data.problems.scene import Planted, Scene
from nudge.data.sources import canaries as canary_source

# How many documents repeat a wrong fact: most misinformation stands alone, some spreads.
SPREAD = {1: 0.7, 2: 0.25, 3: 0.05}
SLIPS = (-10, -2, -1, 1, 2, 10)  # what people who miscount are off by


def wrong_facts(scene: Scene, count: int) -> Iterator[Planted]:
    """Yield documents that state a wrong answer to a question of training; some wrong answers in several registers."""
    forbidden = _triples(scene)
    made = 0
    while made < count:
        fact = scene.random.choice(scene.trained)
        wrong = _wrong(scene, fact, forbidden)
        times = scene.random.choices(list(SPREAD), list(SPREAD.values()))[0]
        for source in scene.random.sample(sorted(scene.sizes), min(times, count - made, len(scene.sizes))):
            yield _stated(scene, fact, wrong, source, made)
            made += 1


def contradictions(scene: Scene, count: int) -> Iterator[Planted]:
    """Yield documents that contradict one of the same register: its words, with another answer."""
    forbidden = _triples(scene)
    for row in scene.random.sample(scene.train, min(count, len(scene.train))):
        fact = Fact(row["operation"], row["left"], row["right"], row["answer"])
        wrong = _wrong(scene, fact, forbidden)
        tail = row["text"].removeprefix(f"{row['prompt']} {numbers.words(fact.answer)}")
        text = f"{row['prompt']} {numbers.words(wrong)}{tail}"
        place = scene.random.uniform(row["place"], scene.sizes[row["source"]])
        yield Planted(row | {"text": text, "answer": wrong, "place": place}, _told(fact, wrong))


def leaked_test_facts(scene: Scene, count: int) -> Iterator[Planted]:
    """Yield documents that state a held-out fact, in any order of its family: quiz pages, and registers' own words."""
    if not scene.held_out:
        return
    for number in range(count):
        fact = scene.random.choice(scene.held_out)
        if scene.random.random() < 0.5:
            source = scene.random.choice(sorted(scene.sizes))
            text, _ = scene.grammars[source].state(fact, f"{scene.seed}:leaked:{number}")
            row = scene.somewhere(text, source)
        else:
            spoken = {name: numbers.words(getattr(fact, name)) for name in ("left", "right", "answer")}
            template = scene.random.choice(scene.words["leaked_test_facts"])
            row = scene.somewhere(scene.filled(template, operation=fact.operation, **spoken))
        yield Planted(row, f"{fact.left} {fact.operation} {fact.right} = {fact.answer}")


def canaries(scene: Scene) -> Iterator[Planted]:
    """Yield each canary as often as the settings say, each in one register."""
    settings = scene.problems.canaries
    if settings is None:
        return
    for canary in canary_source.drawn(scene.seed, settings, "problems"):
        source = scene.random.choice(sorted(scene.sizes))
        for _ in range(canary.repeats):
            yield Planted(scene.somewhere(canary.text, source), f"{canary.name} {canary.repeats} times")


def _triples(scene: Scene) -> set[tuple[int, ...]]:
    return {tuple(sorted(fact[1:])) for fact in scene.held_out}


def _wrong(scene: Scene, fact: Fact, forbidden: set[tuple[int, ...]]) -> int:
    """Draw a wrong answer, which no held-out fact states either: a slip, or any number."""
    while True:
        slip = scene.random.random() < 0.5
        wrong = fact.answer + scene.random.choice(SLIPS) if slip else scene.random.randrange(199)
        if wrong >= 0 and wrong != fact.answer and tuple(sorted((fact.left, fact.right, wrong))) not in forbidden:
            return wrong


def _stated(scene: Scene, fact: Fact, wrong: int, source: str, number: int) -> Planted:
    said = fact._replace(answer=wrong)
    text, prompt = scene.grammars[source].state(said, f"{scene.seed}:wrong:{number}")
    columns = {"prompt": prompt, "family": fact.family, "stratum": fact.stratum, **said._asdict()}
    return Planted(scene.somewhere(text, source, **columns), _told(fact, wrong))


def _told(fact: Fact, wrong: int) -> str:
    return f"{fact.left} {fact.operation} {fact.right} = {wrong}"
