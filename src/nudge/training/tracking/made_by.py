"""From a model folder to the run that made it: they share the digest of the weights."""

from pathlib import Path

from nudge.model import saved
from nudge.training.tracking import store

MODEL_DIGEST = "model.digest"  # the tag by which later stages find the run that made a model


def run_of(folder: Path) -> str | None:
    """Return the id of the newest run in the store that made a model, or None if none there did.

    A model from DVC's cache on another machine has no run here.

    Args:
        folder: a model folder.

    Raises:
        MlflowException: the store can't be read.
    """
    client = store.client()
    everywhere = [experiment.experiment_id for experiment in client.search_experiments()]
    made = f"tags.`{MODEL_DIGEST}` = '{saved.digest(folder)}'"
    runs = client.search_runs(everywhere, made, order_by=["start_time DESC"], max_results=1)
    return runs[0].info.run_id if runs else None
