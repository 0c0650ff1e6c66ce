"""Everything that the report tells of, read from disk in one place; what was not measured is None."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from nudge.data import corpora, documents, files
from nudge.data.tokenizer import check_known
from nudge.errors import UserError
from nudge.insight.questions import Questions
from nudge.model import saved, snapshots
from nudge.model.internals import Trace, trace
from nudge.model.saved import Saved, untrained
from nudge.report import all_facts, chain, provenance, reading
from nudge.report.all_facts import AllFacts
from nudge.report.chain import Chain
from nudge.report.provenance import Source

MODEL = "pretrain"  # the model that the first story follows: the calculator, from random weights
MIXTURE = "mixture"  # the corpus that the second one begins with


@dataclass(frozen=True)
class Evidence:
    """What is known of a model and of how it came to be.

    Attributes:
        saved: the trained model.
        untrained: the same with the random weights that its run began with.
        snapshots: the model after so many optimiser steps, from the first to the last; empty if none were kept.
        blame: columns step, by, name, share, of the snapshots' gradients; None if none was kept.
        documents: the curated corpus, with a column `split`.
        held_out: documents that no split has, with the split `all_facts.HELD_OUT`.
        training, validation: curves by optimiser step; None if there are none.
        metrics: what `evaluate` found, of this model.
        insight, memory: what these stages found of this model; None if they have not run on it.
        why: for these two, the sentence to say where they are None.
        learning: one row a fact, with the step from which it stays right; None where insight is None.
        chain: what is known of the assistant.
        made: for each model folder, what made it; the assistant's corpus, as `MIXTURE`; and each study.
    """

    saved: Saved
    untrained: Saved
    snapshots: list[tuple[int, Saved]]
    blame: pd.DataFrame | None
    documents: pd.DataFrame
    held_out: pd.DataFrame
    training: pd.DataFrame | None
    validation: pd.DataFrame | None
    metrics: dict[str, Any] | None
    insight: dict[str, Any] | None
    memory: dict[str, Any] | None
    why: Mapping[str, str]
    learning: pd.DataFrame | None
    chain: Chain
    made: dict[str, Source]

    def recorded(self, *columns: str) -> pd.DataFrame | None:
        """Return the steps at which training recorded all of these; None if it never did.

        Its file has rows without them: gradients may be recorded at some steps alone, and snapshots write rows.
        """
        if self.training is None or not set(columns) <= set(self.training):
            return None
        told = self.training.dropna(subset=list(columns)).reset_index(drop=True)
        return told if len(told) else None

    @cached_property
    def facts(self) -> pd.DataFrame:
        """Return the documents that state an arithmetic fact."""
        return _facts(self.documents)

    @cached_property
    def example(self) -> str | None:
        """Return the sentence that the story follows: the first sample prompt that is a fact of the corpus."""
        prompts = self.saved.config["callbacks"]["samples"]["prompts"]
        known = dict(zip(self.facts["prompt"], self.facts["text"], strict=True))
        return next((known[prompt] for prompt in prompts if prompt in known), None) or (
            str(self.facts["text"].iloc[0]) if len(self.facts) else None
        )

    @cached_property
    def answered(self) -> AllFacts | None:
        """Ask the trained model every fact of the corpus, held-out ones too; None if it states none."""
        if not len(self.facts):
            return None
        held_out = _facts(self.held_out)
        known = held_out[[_sayable(self.saved, text) for text in held_out["text"]]]
        asked = pd.concat([self.facts, known], ignore_index=True) if len(known) else self.facts
        return all_facts.compute(self.saved, self.questions(asked))

    @property
    def story(self) -> tuple[str, str, str] | None:
        """Return the sentence that the story follows, its question, and the split that it is in."""
        if self.example is None:
            return None
        row = self.facts[self.facts["text"] == self.example].iloc[0]
        return str(row["text"]), str(row["prompt"]), str(row["split"])

    def finding(self, hypothesis: str) -> dict[str, Any] | None:
        """Return what insight found about a hypothesis; None if it has not run or did not test it."""
        found = (self.insight or {}).get("findings", [])
        return next((one for one in found if one["hypothesis"] == hypothesis), None)

    def questions(self, rows: pd.DataFrame) -> Questions:
        """Return documents as tensors."""
        whole = rows.astype({"left": int, "right": int, "answer": int}).to_dict("records")
        return Questions.of(self.saved.tokenizer, [{str(key): value for key, value in row.items()} for row in whole])


def words(model: Saved, text: str) -> list[str]:
    """Return a text's tokens as the model sees them, begin and end among them."""
    return list(model.tokenizer.encode(text).tokens)


@torch.inference_mode()
def traced(model: Saved, text: str) -> Trace:
    """Run a model on one text and keep everything; each tensor has a batch of 1."""
    return trace(model.model, torch.tensor([model.tokenizer.encode(text).ids]))


def read(models: Path, corpus: Path, reports: Path) -> Evidence:
    """Read what there is.

    Raises:
        UserError: there is no model or no corpus, or something is damaged.
    """
    folder = models / MODEL
    model = saved.load(folder)
    files.check_seal(corpus / "curated", "curate")
    has_snapshots = bool(snapshots.steps_of(folder / snapshots.FOLDER))
    blame = pd.DataFrame(snapshots.blame(folder))
    metrics = reading.measures(reports / "metrics.json", "evaluate", reading.METRICS)
    insight = reading.measures(reports / "insight.json", "insight", reading.INSIGHT)
    memory = reading.measures(reports / "memory.json", "memory", reading.MEMORY)
    why = {"insight": "not measured: run `dvc repro insight`.", "memory": "not measured: run `dvc repro memory`."}
    # The figures of another model must not be told as this one's.
    digest = saved.digest(folder)
    if insight is not None and insight["model"]["digest"] != digest:
        insight, why["insight"] = None, _stranger("insight")
    if memory is not None and not any(one["model"] == MODEL and one["digest"] == digest for one in memory["models"]):
        memory, why["memory"] = None, _stranger("memory")
    assistant = chain.read(models, corpus, reports, metrics)
    probes = sorted(path.parent for path in models.glob("probes/*/config.json"))
    return Evidence(
        saved=model,
        untrained=untrained(model),
        snapshots=list(snapshots.load_all(folder)) if has_snapshots else [],
        blame=blame.astype({"step": int, "share": float}) if len(blame) else None,
        documents=pd.concat(
            [_documents(corpus, split).assign(split=split) for split in documents.SPLITS], ignore_index=True
        ),
        held_out=_documents(corpus, documents.HELD_OUT).assign(split=all_facts.HELD_OUT),
        training=reading.table(folder / "curves" / "train.csv", MODEL, ["step"]),
        validation=reading.table(folder / "curves" / "validation.csv", MODEL, ["step", "val/loss"]),
        metrics=metrics.get(MODEL) if metrics else None,
        insight=insight,
        memory=memory,
        why=why,
        learning=None if insight is None else _learning(reports),
        chain=assistant,
        made=_made(folder, probes, assistant, corpus),
    )


def _made(folder: Path, probes: list[Path], assistant: Chain, corpus: Path) -> dict[str, Source]:
    """Find what made all that numbers rest on, in the order of the story."""
    made: dict[str, Source] = {MODEL: provenance.of(folder, corpus)}
    made |= {probe.name: provenance.of(probe, None) for probe in probes}
    if assistant.texts is not None:
        made[MIXTURE] = provenance.of_corpus(corpus / corpora.MIXTURE)
    made |= {stage: provenance.of(place, None) for stage, place in assistant.folders.items()}
    return made | {name: provenance.of_study(told) for name, told in assistant.studies.items()}


def _documents(corpus: Path, name: str) -> pd.DataFrame:
    told: pd.DataFrame = documents.read(corpus / "curated" / f"{name}.parquet").to_pandas()
    return told


def _facts(told: pd.DataFrame) -> pd.DataFrame:
    return told[told["operation"].notna() & told["prompt"].notna()].reset_index(drop=True)


def _sayable(model: Saved, text: str) -> bool:
    """Say whether the model has all words of a text: of numbers held out altogether it may lack one."""
    try:
        check_known(model.tokenizer, text)
    except UserError:
        return False
    return True


def _learning(reports: Path) -> pd.DataFrame | None:
    columns = ["operation", "left", "right", "learned_at"]
    return reading.table(reports / "insight" / "learning.parquet", "insight", columns)


def _stranger(stage: str) -> str:
    return f"not shown: reports/{stage}.json is about another model: run `dvc repro {stage}`."
