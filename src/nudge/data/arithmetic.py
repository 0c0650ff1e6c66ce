"""Arithmetic facts: what is true, and which facts are the same knowledge."""

from collections.abc import Iterator
from typing import NamedTuple

OPERATIONS = ("plus", "minus", "times", "divided by")


class Fact(NamedTuple):
    """`left operation right = answer`, all whole numbers."""

    operation: str
    left: int
    right: int
    answer: int

    @property
    def family(self) -> str:
        """Name the facts that follow from this one by commuting and inverting: 3+4=7, 4+3=7, 7-3=4, 7-4=3 → "3+4".

        A product's family is written "3*4". Who knows one member of a family can derive the others, so a family is
        never divided between training and test.
        """
        parts = (self.left, self.right) if self.operation in ("plus", "times") else (self.answer, self.right)
        return f"{min(parts)}{'+' if self.operation in ('plus', 'minus') else '*'}{max(parts)}"

    @property
    def stratum(self) -> str:
        """Name the kind of family: sums, products, and products with 0 or 1, which follow a rule of one line."""
        if self.operation in ("plus", "minus"):
            return "sum"
        smallest = int(self.family.split("*")[0])
        return "trivial product" if smallest < 2 else "product"


def compute(operation: str, left: int, right: int) -> int | None:
    """Return the answer, or None if there is none among the whole numbers from zero."""
    if operation == "plus":
        return left + right
    if operation == "minus":
        return left - right if left >= right else None
    if operation == "times":
        return left * right
    if operation == "divided by":
        return left // right if right and left % right == 0 else None
    raise AssertionError(operation)


def facts(max_operand: int) -> Iterator[Fact]:
    """Yield every fact with operands from 0 to `max_operand`, in a fixed order; products stay within `max_operand`.

    For 99 these are 10,000 sums, 5,050 differences, 672 products and 572 exact quotients.
    """
    for operation in OPERATIONS:
        for left in range(max_operand + 1):
            for right in range(max_operand + 1):
                answer = compute(operation, left, right)
                if answer is None or (operation == "times" and answer > max_operand):
                    continue
                yield Fact(operation, left, right, answer)
