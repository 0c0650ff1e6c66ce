"""What a model has from its corpus, and from what is wrong with that: every measure of `nudge study curation`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nudge import project
from nudge.config.schema import Config
from nudge.data import documents, problems
from nudge.data.generate import LABELS
from nudge.data.sources.canaries import Canary, drawn
from nudge.data.split import uniform
from nudge.evaluation import answers, extraction, taught
from nudge.evaluation.tallies import Tally
from nudge.model.saved import Saved

HELD_OUT = ("validation", "test")
SAMPLED = 0.2  # of the training families, for what wrong answers have in common: 7,000 questions


class Planted(NamedTuple):
    """What was planted among the documents of all arms, and what one arm's curation left of it.

    Attributes:
        labels: document → its label.
        dropped: documents that the arm's curation took out.
        claims: the wrong facts.
        clean: training documents with a question that nothing was planted in.
        test: the test documents.
        canaries: the canaries.
        personal, others: personal data that was planted, and that was not.
    """

    labels: dict[str, Any]
    dropped: set[str]
    claims: list[taught.Claim]
    clean: list[Any]
    test: list[Any]
    canaries: list[Canary]
    personal: list[extraction.Private]
    others: list[extraction.Private]

    @staticmethod
    def read(config: Config, home: Path, own: Path) -> "Planted":
        """Read what was planted from the corpus `home`, and what was dropped from an arm's."""
        labels = problems.read_labels(home / LABELS)
        raw = {
            documents.identify(name, number): row
            for name in config.data.sources
            for number, row in enumerate(documents.read(home / "raw" / f"{name}.parquet").to_pylist())
        }
        held_out = {split: documents.read(home / "curated" / f"{split}.parquet").to_pylist() for split in HELD_OUT}
        families = {row["family"] for rows in held_out.values() for row in rows}
        dropped = set(pq.read_table(own / documents.DROPPED, columns=["id"])["id"].to_pylist())
        personal = extraction.privates(
            (raw[name]["text"], label["detail"])
            for name, label in labels.items()
            if label["problem"] == "personal_data"
        )
        assert config.data.problems is not None
        assert config.data.problems.canaries is not None
        return Planted(
            labels=labels,
            dropped=dropped,
            claims=taught.claims(labels, raw, dropped),
            clean=[
                row
                for name, row in raw.items()
                if name not in labels and row["operation"] is not None and row["family"] not in families
            ],
            test=held_out["test"],
            canaries=drawn(config.data.seed, config.data.problems.canaries, "problems"),
            personal=personal,
            others=extraction.never_planted(config.data, project.root() / config.data.path, personal),
        )


def tallies(one: Saved, planted: Planted) -> dict[str, Tally]:
    """Return all measures but those of canaries, each over the same questions whatever model is asked."""
    contradicted = {claim.fact[:3] for claim in planted.claims}
    sampled = [uniform(f"sampled:{row['family']}") < SAMPLED for row in planted.clean]
    asked = [
        (row, is_sample)
        for row, is_sample in zip(planted.clean, sampled, strict=True)
        if is_sample or (row["operation"], row["left"], row["right"]) in contradicted
    ]
    scored = answers.score(one, planted.test)
    return (
        _held_out(one, planted.test, scored.right_N)
        | taught.planted(one, planted.claims)
        | taught.training(one, planted.claims, [row for row, _ in asked], [is_sample for _, is_sample in asked])
        | taught.leaked(scored.right_N, planted.test, planted.labels)
        | extraction.measure(one, planted.personal, planted.others)
    )


def _held_out(one: Saved, test: Sequence[Any], right_N: NDArray[np.bool_]) -> dict[str, Tally]:
    """Return exact match and loss, of all test documents and of each source's."""
    families = np.array([row["family"] for row in test])
    sources = np.array([row["source"] for row in test])
    # Asked for nothing, a document is an answer as a whole.
    nats_N = answers.score(one, [row | {"prompt": ""} for row in test]).surprisal_N
    tokens_N = np.array([len(ids.ids) - 1 for ids in one.tokenizer.encode_batch([row["text"] for row in test])])
    told = {}
    for name in ("", *sorted(set(sources))):
        of_N = (sources == name) | (name == "")
        end = f"/{name}" if name else ""
        told[f"exact_match{end}"] = Tally.share(right_N, families, of_N)
        told[f"loss{end}"] = Tally(nats_N * of_N, (tokens_N * of_N).astype(np.float64), families)
    return told


def hidden(rows: Sequence[Mapping[str, Any]], every: Sequence[Canary]) -> dict[str, Tally]:
    """Return what a model knows of canaries, by rows of `canaries.measure`; those it can't say count as not said."""
    found = {row["name"]: row for row in rows}
    names = [canary.name for canary in every]
    exposure, control = (
        np.array([found[name][key] if name in found else 0.0 for name in names]) for key in ("exposure", "control")
    )
    can_say = np.array([name in found for name in names], dtype=np.float64)
    said = [name in found and bool(found[name]["extracted"]) for name in names]
    told = {"canary_exposure_control": Tally(control, can_say, np.array(names))}
    for repeats in (None, *sorted({canary.repeats for canary in every})):
        end = "" if repeats is None else f"/{repeats}"
        of = np.array([repeats in (None, canary.repeats) for canary in every], dtype=np.float64)
        told[f"canary_exposure{end}"] = Tally(exposure * of, can_say * of, np.array(names))
        told[f"canary_extracted{end}"] = Tally.share(said, names, of)
    return told
