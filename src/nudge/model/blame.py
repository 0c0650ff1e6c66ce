"""Blame: which share of a loss's squared gradient norm falls on each part, layer and head of the network."""

from collections.abc import Mapping

from torch import Tensor

from nudge.config.schema import ModelConfig
from nudge.model.decoder import PARTS, part_of

Shares = dict[str, float]


def by_part(gradients: Mapping[str, Tensor]) -> Shares:
    """Return the shares of `PARTS`; they sum to 1.

    Args:
        gradients: of each weight, by its name in the decoder.
    """
    squared = dict.fromkeys(PARTS, 0.0)
    for name, gradient in gradients.items():
        squared[part_of(name)] += _squared(gradient)
    return _shares(squared)


def by_layer(gradients: Mapping[str, Tensor], config: ModelConfig) -> Shares:
    """Return the shares of "embeddings", "0 attention", "0 mlp", "1 attention", … and "output"; they sum to 1."""
    blocks = [f"{layer} {part}" for layer in range(config.layers) for part in ("attention", "mlp")]
    squared = dict.fromkeys(["embeddings", *blocks, "output"], 0.0)
    for name, gradient in gradients.items():
        layer = _layer_of(name)
        part = part_of(name)
        squared[part if layer is None else f"{layer} {part}"] += _squared(gradient)
    return _shares(squared)


def by_head(gradients: Mapping[str, Tensor], config: ModelConfig) -> Shares:
    """Return the shares of the heads "layer.head", and of "elsewhere": all that belongs to no head; they sum to 1.

    To a head belong its rows of the query matrix, its columns of the output matrix, and its rows of the key and value
    matrices; query heads that share a key/value head share its blame equally.
    """
    names = [f"{layer}.{head}" for layer in range(config.layers) for head in range(config.heads)]
    squared = dict.fromkeys([*names, "elsewhere"], 0.0)
    group = config.heads // config.kv_heads
    width = config.width // config.heads
    for name, gradient in gradients.items():
        matrix = name.split(".self_attn.")[-1].removesuffix(".weight") if ".self_attn." in name else None
        if matrix is None:
            squared["elsewhere"] += _squared(gradient)
            continue
        # Heads lie one after the other: in the columns of the output matrix, in the rows of the three others.
        pieces: tuple[Tensor, ...] = gradient.split(width, dim=1 if matrix == "o_proj" else 0)  # type: ignore[no-untyped-call]
        for number, piece in enumerate(pieces):
            heads = [number] if matrix in ("q_proj", "o_proj") else range(number * group, (number + 1) * group)
            for head in heads:
                squared[f"{_layer_of(name)}.{head}"] += _squared(piece) / len(heads)
    return _shares(squared)


def _layer_of(name: str) -> int | None:
    return int(name.split(".layers.")[1].split(".")[0]) if ".layers." in name else None


def _squared(gradient: Tensor) -> float:
    return float(gradient.double().square().sum())


def _shares(squared: Shares) -> Shares:
    total = sum(squared.values())
    return {name: value / total if total else 0.0 for name, value in squared.items()}
