"""Stage `tokenize`: curated documents → `tokenizer.json` and memory-mapped arrays of token ids."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from nudge.config.schema import TokenizerConfig
from nudge.data import documents, files, tokenizer
from nudge.data.text import tokenizing
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
    made_by = json.loads((curated / documents.SETTINGS).read_text(encoding="utf-8"))
    if any(source["kind"] == "text" for source in made_by["data"]["sources"].values()):
        return tokenizing.tokenize(config, curated, tokens, settings(made_by, config))
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
            _check_known(learned, texts, curated / f"{name}.parquet")
            cut = table["cut"].to_pylist()  # no end token: what was cut off is still to come
            encoded = [
                encoding.ids[:-1] if short else encoding.ids
                for encoding, short in zip(learned.encode_batch(texts), cut, strict=True)
            ]
            prompts = table["prompt"].to_pylist()
            asked = learned.encode_batch([prompt or "" for prompt in prompts], add_special_tokens=False)
            # After the begin token and the question; 0 in a document that is none.
            answers = [0 if prompt is None else 1 + len(ids) for prompt, ids in zip(prompts, asked, strict=True)]
            Tokens.write(folder / name, encoded, answers, table["source"].to_pylist())
            counts[name] = int(np.sum([len(ids) for ids in encoded]))
        files.write_text(folder / documents.SETTINGS, json.dumps(settings(made_by, config), indent=1) + "\n")
        files.seal(folder)
    return counts


def settings(made_by: dict[str, Any], config: TokenizerConfig) -> dict[str, Any]:
    """Return what `corpus/tokens` says of the configuration that made it, from what `corpus/curated` says."""
    return made_by | {"tokenizer": config.model_dump(mode="json")}


def _check_known(learned: Tokenizer, texts: list[str], where: Path) -> None:
    known = set(learned.get_vocab())
    for text in texts:
        if unknown := [word for word in text.split() if word not in known]:
            raise UserError(
                f"{where}: '{unknown[0]}' in {text!r} is not in the vocabulary; write it in a training document too"
            )
