"""After some failed logins an account is locked for the address that they came from.

The key is the account that the token claims *and* the source address: by the account alone a stranger could lock out
anybody whose name is known. Memory is bounded: the oldest entries go first, and a locked one is younger than those.
Time comes in as an argument, so nothing here reads a clock.
"""

from collections import OrderedDict
from dataclasses import dataclass

MAX_ENTRIES = 100_000


@dataclass(slots=True)
class _Record:
    failures: int
    forget_at: float
    locked_until: float


class Lockouts:
    """Counts failed logins per (account, address).

    Args:
        after: failed logins that lock.
        seconds: how long a lock lasts, and how long a failure is remembered.
    """

    def __init__(self, after: int, seconds: float) -> None:
        self._after = after
        self._seconds = seconds
        self._records: OrderedDict[tuple[str, str], _Record] = OrderedDict()

    def locked_for(self, account: str, address: str, now: float) -> float:
        """Return the seconds that a lock still lasts; 0 when there is none."""
        record = self._records.get((account, address))
        return max(0.0, record.locked_until - now) if record else 0.0

    def failed(self, account: str, address: str, now: float) -> bool:
        """Count one failed login; True when it is the one that locks."""
        key = (account, address)
        record = self._records.get(key)
        if record is None or record.forget_at <= now:
            record = _Record(0, 0.0, 0.0)
        record.failures += 1
        record.forget_at = now + self._seconds
        self._records[key] = record
        self._records.move_to_end(key)
        while len(self._records) > MAX_ENTRIES:
            self._records.popitem(last=False)
        if record.failures < self._after:
            return False
        record.failures = 0
        record.locked_until = now + self._seconds
        return True

    def succeeded(self, account: str, address: str) -> None:
        """Forget the failures after a good login."""
        self._records.pop((account, address), None)
