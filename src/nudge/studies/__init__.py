"""Studies: many runs for one question, with controls and a verdict; a new one is a module and a line here."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nudge.studies.running import Study

MODULES = {
    "rlhf_question": "question",
    "overoptimisation": "overoptimisation",
    "composition": "composition",
    "curation": "curation",
    "reward_ceiling": "reward_ceiling",
    "scaling": "scaling.study",
    "worked_steps": "worked_steps",
    "worked_rl": "worked_rl",
}
NAMES = tuple(MODULES)


def find(name: str) -> "Study":
    """Return a study; its module, and what that needs of torch, is imported only now."""
    study: Study = import_module(f"nudge.studies.{MODULES[name]}").STUDY
    return study
