"""Where documents come from: one module a kind of source; a new kind is a module and a line here."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nudge.data.sources import facts

Row = dict[str, Any]

# kind → function (settings, name of the source, folder of what people wrote) → rows of documents
KINDS: dict[str, Callable[[Any, str, Path], Iterator[Row]]] = {"facts": facts.documents}
