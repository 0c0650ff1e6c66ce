"""Activation patching: one run goes on with what another run had computed at some places.

Shape suffixes as in `model/internals.py`, and N pairs of prompts, P sets of places, X places.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nudge.insight.questions import ROLES, Questions
from nudge.model.decoder import Decoder
from nudge.model.internals import Edit, Trace, trace

ANSWERING = "answering"
ROWS = 4096  # rows of a pass: pairs times sets of places


class Place(NamedTuple):
    """Where something is put in.

    Attributes:
        site: "stream.S", "attention.L", "mlp.L", or a head "head.L.H" (what it gathers, before the output matrix).
        role: positions of which role: one of `ROLES`, or `ANSWERING`: wherever a token of the answer or its end is
            produced, the prompt's last position among them.
        word: which word of the role, counted from 0, or -1 for all words.
    """

    site: str
    role: str
    word: int = -1

    def __str__(self) -> str:
        """Say it for a reader: "head.0.1 at right word 2"."""
        return f"{self.site} at {self.where}"

    @property
    def where(self) -> str:
        """Say the position alone."""
        return self.role + (f" word {self.word + 1}" if self.word >= 0 else "")


def patched(model: Decoder, base: Questions, source: Trace, sets: Sequence[Collection[Place]]) -> Tensor:
    """Run prompts with the states of other prompts put in at each of several sets of places.

    Args:
        model: the network.
        base: N questions, whose roles say which positions the places mean.
        source: the run of N other questions of the same layout.
        sets: P sets of places, each tried by itself.

    Returns:
        logits [P, N, T, V].
    """
    at_once = max(1, ROWS // max(1, len(base)))
    chunks = [sets[first : first + at_once] for first in range(0, len(sets), at_once)]
    return torch.cat([_patched(model, base, source, chunk) for chunk in chunks])


def _patched(model: Decoder, base: Questions, source: Trace, sets: Sequence[Collection[Place]]) -> Tensor:
    places = {place.site for chosen in sets for place in chosen}
    edits: dict[str, Edit] = {}
    for site in {_tensor_of(name) for name in places}:
        of_site = [[place for place in chosen if _tensor_of(place.site) == site] for chosen in sets]
        edits[site] = _edit(site, _state(source, site), base, of_site)
    tokens_BT = base.tokens_BT.repeat(len(sets), 1)
    logits_BTV = trace(model, tokens_BT, edits).logits_BTV
    return logits_BTV.view(len(sets), len(base), *logits_BTV.shape[1:])


def _edit(site: str, state_NTX: Tensor, base: Questions, sets: Sequence[Sequence[Place]]) -> Edit:
    """Return an edit that puts the source's state where a row's set of places says so."""
    shape = (len(sets), *state_NTX.shape[:3]) if site.startswith("mixed") else (len(sets), *state_NTX.shape[:2])
    here = torch.zeros(shape, dtype=torch.bool)
    for number, chosen in enumerate(sets):
        for place in chosen:
            at_NT = _at(base, place.role, place.word)
            if site.startswith("mixed"):
                here[number, :, :, int(place.site.split(".")[2])] |= at_NT
            else:
                here[number] |= at_NT
    mask = here.flatten(0, 1)[..., None]
    return lambda value: torch.where(mask, state_NTX.repeat(len(sets), *[1] * (state_NTX.dim() - 1)), value)


def _tensor_of(site: str) -> str:
    kind, layer = site.split(".")[:2]
    return f"mixed.{layer}" if kind == "head" else f"{kind}.{layer}"


def _state(source: Trace, site: str) -> Tensor:
    kind, number = site.split(".")
    states: Mapping[str, list[Tensor]] = {
        "stream": source.stream,
        "mixed": source.mixed,
        "attention": source.attention,
        "mlp": source.mlp,
    }
    return states[kind][int(number)]


def sites(model: Decoder) -> list[str]:
    """Return the names of all that can be put in, in the order of computation."""
    names = ["stream.0"]
    for layer in range(model.config.layers):
        names += [f"head.{layer}.{head}" for head in range(model.config.heads)]
        names += [f"attention.{layer}", f"stream.{2 * layer + 1}", f"mlp.{layer}", f"stream.{2 * layer + 2}"]
    return names


def components(model: Decoder) -> list[str]:
    """Return what writes into the stream: each head and each MLP."""
    return [site for site in sites(model) if site.startswith(("head", "mlp"))]


def positions(base: Questions, first: str) -> list[tuple[str, int]]:
    """Return the roles and words that some question has, from a role of the prompt on, and last `ANSWERING`."""
    found = []
    for role in ROLES[ROLES.index(first) : ROLES.index("answer")]:
        words = base.word_BT[base.has(role) & ~base.asked_BT]
        found += [(role, word) for word in sorted(set(words.tolist()))]
    return [*found, (ANSWERING, -1)]


def _at(base: Questions, role: str, word: int) -> Tensor:
    if role == ANSWERING:
        return base.asked_BT
    here_NT = base.has(role) & ~base.asked_BT
    return here_NT if word < 0 else here_NT & (base.word_BT == word)
