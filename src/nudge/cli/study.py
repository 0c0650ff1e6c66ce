"""`nudge study`: many runs for one question, with controls and a verdict."""

import json
import sys

from nudge import studies
from nudge.errors import UserError, did_you_mean


def study(name: str, seeds: str | None, quick: bool, jobs: int) -> None:
    """Run what is not done yet of a study, and write its report.

    Raises:
        UserError: there is no such study, or the seeds are no numbers.
    """
    if name not in studies.NAMES:
        raise UserError(f"study '{name}': unknown{did_you_mean(name, studies.NAMES)}")
    from nudge.studies import running

    report = running.run(studies.find(name), _seeds(seeds), quick, jobs)
    verdict = json.loads(report.read_text(encoding="utf-8")).get("verdict")
    if verdict:
        print(f"{verdict['answer']}: {verdict['reason']}", file=sys.stderr)
    print(f"report: {report}", file=sys.stderr)


def _seeds(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise UserError(f"--seeds {text}: write different whole numbers, as in --seeds 0,1,2")
    return tuple(int(part) for part in parts)
