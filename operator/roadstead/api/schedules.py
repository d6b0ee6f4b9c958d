"""What no API server can tell of a schedule: whether its time zone exists, and whether it ever comes true."""

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError


@lru_cache(maxsize=512)
def is_time_zone(name: str) -> bool:
    """Whether the IANA database has a time zone of that name."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a directory, such as "America"
        return False
    return True


@lru_cache(maxsize=512)
def cron_fault(schedule: str) -> str:
    """What is wrong with a cron schedule, or nothing: empty text."""
    try:
        next(CronSim(schedule, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        return str(error)
    except StopIteration:
        return "no such day in 50 years"
    return ""
