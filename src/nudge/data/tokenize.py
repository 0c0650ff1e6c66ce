"""Stage `tokenize`: curated documents → `tokenizer.json` and memory-mapped arrays of token ids."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from nudge.config.schema import TokenizerConfig
from nudge.data import documents, files, tokenizer
from nudge.data.tokens import Tokens
from nudge.errors import UserError


def tokenize(config: TokenizerConfig, curated: Path, tokens: Path) -> dict[str, int]:
    """Learn the tokenizer from the training split, or take a model's, and encode all splits.

    Returns:
        the count of tokens of each split.

    Raises:
        UserError: a curated file is damaged, or a held-out document has a word that training lacks.
    """
    files.check_seal(curated, "curate")
    tables = {name: documents.read(curated / f"{name}.parquet") for name in documents.SPLITS}
    if config.folder is not None:
        learned = tokenizer.load(tokenizer.inherited(config))
    else:
        learned = tokenizer.train(tables["train"]["text"].to_pylist(), config)
    counts = {}
    with files.replacing_folder(tokens) as folder:
        tokenizer.save(learned, folder / "tokenizer.json")
        for name, table in tables.items():
            texts = table["text"].to_pylist()
            try:
                encoded = [encoding.ids for encoding in learned.encode_batch(texts)]
                prompts = [_answer_position(learned, prompt) for prompt in table["prompt"].to_pylist()]
            except Exception as error:  # the library raises bare Exception for a word that it doesn't know
                for text in texts:
                    tokenizer.check_known(learned, text)
                raise UserError(f"{curated / name}.parquet: can't be encoded ({error})") from error
            Tokens.write(folder / name, encoded, prompts)
            counts[name] = int(np.sum([len(ids) for ids in encoded]))
        made_by = json.loads((curated / documents.SETTINGS).read_text(encoding="utf-8"))
        files.write_text(folder / documents.SETTINGS, json.dumps(settings(made_by, config), indent=1) + "\n")
        files.seal(folder)
    return counts


def settings(made_by: dict[str, Any], config: TokenizerConfig) -> dict[str, Any]:
    """Return what `corpus/tokens` says of the configuration that made it, from what `corpus/curated` says."""
    return made_by | {"tokenizer": config.model_dump(mode="json")}


def _answer_position(learned: Tokenizer, prompt: str | None) -> int:
    """Return the position of the first token of the answer; 0 if the document is no question."""
    return 0 if prompt is None else len(tokenizer.prompt_ids(learned, prompt))
