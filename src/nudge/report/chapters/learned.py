"""Chapter: the four claims about what a model learns, with their verdicts, and when each comes true."""

from nudge.report.chapter import Chapter
from nudge.report.evidence import Evidence
from nudge.report.findings import NOT_RUN

# Where each is told of.
CHAPTERS = {
    "attention patterns": "attention",
    "number representations": "numbers",
    "operation semantics": "operations",
    "output mapping": "output",
}


def chapter(evidence: Evidence) -> Chapter:
    """Give the verdicts at a glance."""
    found = (evidence.insight or {}).get("findings", [])
    return Chapter(
        "What it learned: four claims, tested",
        "learned",
        {},
        {
            "missing": None if found else NOT_RUN,
            "findings": [{**one, "anchor": CHAPTERS.get(one["hypothesis"])} for one in found],
        },
    )
