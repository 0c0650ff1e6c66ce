"""Questions for the policy to answer: which stand in which iteration is a pure function of seed and step."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from nudge import project
from nudge.config.data import ChatSource, WorkedSource
from nudge.config.posttraining import RolloutConfig
from nudge.config.schema import Config
from nudge.config.stages import RlhfStage
from nudge.data import documents, files, tokenizer
from nudge.data.arithmetic import Fact
from nudge.data.chat import Assistant
from nudge.data.tokenizer import END_ID
from nudge.data.tokens import Tokens
from nudge.errors import UserError
from nudge.training import given
from nudge.training.batches import Order, loader
from nudge.training.rewards import Answered, is_worked_out

LARGEST = 198  # answer of the calculator


class Turn(TypedDict):
    """One micro-batch of an optimiser step on an iteration's answers.

    Attributes:
        iteration: counted from 0.
        prompts: documents whose questions this iteration asks, [prompts].
        step_rows: the answers that the whole optimiser step learns from, [batch].
        rows: those of them that this micro-batch does; answer a is to prompt a // group.
        documents: the question of each of `rows`, for messages.
    """

    iteration: int
    prompts: Tensor
    step_rows: Tensor
    rows: Tensor
    documents: Tensor


class Questions:
    """The questions of a split, with their right answers; not those whose document is cut before its answer.

    Args:
        folder: a corpus.
        split: its name.
        sources: whose questions; None: all.
    """

    def __init__(self, folder: Path, split: str, sources: set[str] | None = None) -> None:
        tokens = Tokens.open(folder / "tokens" / split)
        rows = documents.read(folder / "curated" / f"{split}.parquet").to_pylist()
        asked = [
            place
            for place, row in enumerate(rows)
            if row["prompt"] is not None and not row["cut"] and (sources is None or row["source"] in sources)
        ]
        if not asked:
            raise UserError(
                f"{folder / 'curated' / split}.parquet: asks no question; data=chat and data=worked have some"
            )
        self.prompts: list[list[int]] = [
            tokens.ids[tokens.starts[place] : tokens.starts[place] + tokens.answers[place]].tolist() for place in asked
        ]
        self.expected: list[int | None] = [rows[place]["answer"] for place in asked]
        self.facts: list[Fact | None] = [
            None
            if rows[place]["operation"] is None
            else Fact(*(rows[place][key] for key in ("operation", "left", "right", "answer")))
            for place in asked
        ]

    @staticmethod
    def given(asked: Sequence[tuple[list[int], int]]) -> "Questions":
        """Return questions that stand in no corpus, with their right answers."""
        questions = Questions.__new__(Questions)
        questions.prompts = [prompt for prompt, _ in asked]
        questions.expected = [answer for _, answer in asked]
        questions.facts = [None] * len(asked)
        return questions

    def __len__(self) -> int:
        """Count the questions."""
        return len(self.prompts)


class Turns(IterableDataset[Turn]):
    """Endless iterations: their questions in a new random order each epoch, their answers in one each pass.

    Args:
        questions: how many there are.
        config: the algorithm.
        batch_size: answers per optimiser step.
        accumulate: micro-batches per optimiser step.
        seed: chooses the orders.
        first_step: optimiser step that the first batch belongs to, counted from 0.
    """

    def __init__(
        self, questions: int, config: RolloutConfig, batch_size: int, accumulate: int, seed: int, first_step: int = 0
    ) -> None:
        self._order = Order(np.arange(questions), config.prompts_per_iteration, seed)
        self._config, self._batch_size, self._accumulate, self._seed = config, batch_size, accumulate, seed
        self._first_step = first_step

    def turn(self, step: int, part: int) -> Turn:
        """Return micro-batch `part` of optimiser step `step`."""
        per_epoch = self._config.answers // self._batch_size
        iteration, within = divmod(step, per_epoch * self._config.epochs)
        epoch, place = divmod(within, per_epoch)
        order = np.random.default_rng((self._seed, iteration, epoch)).permutation(self._config.answers)
        step_rows = torch.from_numpy(order[place * self._batch_size : (place + 1) * self._batch_size].copy())
        rows = step_rows[part :: self._accumulate]
        prompts = torch.from_numpy(self._order.of_step(iteration))
        return {
            "iteration": iteration,
            "prompts": prompts,
            "step_rows": step_rows,
            "rows": rows,
            "documents": prompts[rows // self._config.group],
        }

    def __iter__(self) -> Iterator[Turn]:
        worker = get_worker_info()
        first, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        micro = self._first_step * self._accumulate + first
        while True:
            yield self.turn(*divmod(micro, self._accumulate))
            micro += stride


class Asked(IterableDataset[Tensor]):
    """The questions of a validation, all in one batch."""

    def __init__(self, places: Sequence[int]) -> None:
        self._places = torch.tensor(places)

    def __iter__(self) -> Iterator[Tensor]:
        yield self._places


class Prompts(LightningDataModule):
    """Questions from a corpus of chats, or of worked documents.

    Attributes:
        assistant: how answers are said and judged; None for those that are worked out.

    Args:
        config: the run; its algorithm learns from rollouts.
        corpus: the folder that the data stages wrote.

    Raises:
        UserError: the corpus is missing or damaged, holds neither, or a question leaves no room for an answer.
    """

    def __init__(self, config: Config, corpus: Path) -> None:
        super().__init__()
        assert isinstance(config.algorithm, RolloutConfig)
        files.check_seal(corpus / "tokens", "tokenize")
        self._config, self._algorithm = config, config.algorithm
        self.tokenizer = tokenizer.load(corpus / "tokens" / "tokenizer.json")
        self.assistant = _assistant(config)
        self.train, self.validation = _questions(config, corpus, self.tokenizer)
        longest = max(len(prompt) for prompt in (*self.train.prompts, *self.validation.prompts))
        if longest > config.model.context:
            raise UserError(
                f"model.context={config.model.context}: a question has {longest} tokens, which leaves no room for an "
                "answer; start from a model with more context, or leave such questions out"
            )
        chosen = np.random.default_rng(config.seed).permutation(len(self.validation))
        self.validated = sorted(chosen[: self._algorithm.validation_prompts].tolist())

    def is_right(self, one: Answered) -> bool:
        """Say whether an answer ended and states the right number, in any form, or refuses where that is right."""
        if self.assistant is None:
            return is_worked_out(one)
        if one.expected is None:
            return one.ended and self.assistant.is_refusal(one.text)
        return one.ended and self.assistant.extract(one.text, one.question) == one.expected

    def enumerable(self, place: int) -> bool:
        """Say whether all answers to a question of validation can be listed: if it asks for a fact, at once."""
        return self.assistant is not None and self.validation.facts[place] is not None

    def every_answer(self, place: int) -> list[list[int]]:
        """Return all that the assistant may say to a question of validation: each form with each number, or that it
        doesn't know; token ids with their end token.
        """
        fact = self.validation.facts[place]
        assert fact is not None
        assert self.assistant is not None
        said = [form for answer in range(LARGEST + 1) for form in self.assistant.forms(fact, answer).values()]
        known = set(self.tokenizer.get_vocab())
        texts = [text for text in dict.fromkeys([*said, self.assistant.refusal]) if known.issuperset(text.split())]
        return [[*one.ids, END_ID] for one in self.tokenizer.encode_batch(texts, add_special_tokens=False)]

    def train_dataloader(self) -> Any:
        """Return endless iterations."""
        settings = self._config.trainer
        first_step = self.trainer.global_step if self.trainer else 0
        turns = Turns(
            len(self.train), self._algorithm, settings.batch_size, settings.accumulate, self._config.seed, first_step
        )
        return loader(turns, settings.num_workers, pin=False)  # type: ignore[arg-type]

    def val_dataloader(self) -> Any:
        """Return the questions of a validation."""
        return loader(Asked(self.validated), 0, pin=False)  # type: ignore[arg-type]


def _questions(config: Config, corpus: Path, words: Tokenizer) -> tuple[Questions, Questions]:
    if isinstance(config.stage, RlhfStage) and config.stage.questions is not None:
        asked = given.questions(config.stage.questions, words, corpus / "curated")
        return Questions.given(asked["train"]), Questions.given(asked["validation"])
    worked = {name for name, source in config.data.sources.items() if isinstance(source, WorkedSource)} or None
    return Questions(corpus, "train", worked), Questions(corpus, "validation", worked)


def _assistant(config: Config) -> Assistant | None:
    sources = config.data.sources.values()
    for source in sources:
        if isinstance(source, ChatSource):
            return Assistant.read(project.root() / config.data.path / source.file)
    if any(isinstance(source, WorkedSource) for source in sources):
        return None
    raise UserError(
        "data.sources: stage=rlhf needs a source of kind chat or worked; data=chat and data=worked have one"
    )
