"""What one receiver has got, checked as it arrives: order for each sender, nothing twice, nothing missing. Pure."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class _Line:
    """One sender, seen by one receiver. All numbers below ``next`` have come; ``ahead`` came before their turn."""

    next: int = 0
    ahead: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Tally:
    """The receipts of one receiver.

    Attributes:
        received: different messages.
        duplicates: messages that came again.
        out_of_order: messages that came before an earlier one of the same sender.
    """

    received: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    _lines: dict[str, _Line] = field(default_factory=dict)

    def add(self, sender: str, number: int) -> bool:
        """Note the ``number``-th message of a sender (from 0); False when it had come before."""
        line = self._lines.setdefault(sender, _Line())
        if number < line.next or number in line.ahead:
            self.duplicates += 1
            return False
        self.received += 1
        if number > line.next:
            self.out_of_order += 1
            line.ahead.add(number)
            return True
        line.next += 1
        while line.next in line.ahead:
            line.ahead.remove(line.next)
            line.next += 1
        return True

    def has(self, sender: str, number: int) -> bool:
        """Whether the ``number``-th message of a sender has come."""
        line = self._lines.get(sender)
        return line is not None and (number < line.next or number in line.ahead)
