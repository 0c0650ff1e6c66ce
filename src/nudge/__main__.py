"""`python -m nudge` is `nudge`."""

from nudge.cli.main import run

run()
