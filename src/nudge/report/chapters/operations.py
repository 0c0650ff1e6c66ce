"""Chapter: does “minus” do something else than “plus”, and where?"""

from nudge.report import findings
from nudge.report.chapter import Chapter
from nudge.report.evidence import Evidence

HYPOTHESIS = "operation semantics"
INTRO = (
    "If the model knows what an operation is, then exchanging only the operation inside it must change the answer as "
    "arithmetic says. So while it reads “a plus b”, the state of “a minus b” is put in at one place, and one looks "
    "whether it answers a − b; the same with the numbers. Controls put in states of another question with the same "
    "answer, and of any question."
)


def chapter(evidence: Evidence) -> Chapter:
    """Show which places carry the operation and the numbers."""
    return findings.chapter(evidence, HYPOTHESIS, "Operations: what the words do", "operations", INTRO, {})
