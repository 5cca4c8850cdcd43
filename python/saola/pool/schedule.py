"""When a scheduled pool runs: every N seconds, or by a cron expression."""

from __future__ import annotations

import datetime
from typing import Iterator, List

_FIELDS = (("second", 0, 59), ("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12),
           ("weekday", 0, 7))
_NAMES = {"month": "jan feb mar apr may jun jul aug sep oct nov dec".split(),
          "weekday": "sun mon tue wed thu fri sat".split()}
_SHORT = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *",
          "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *",
          "@annually": "0 0 1 1 *"}
_FAR = 366 * 5  # days to look ahead: a 29th of February comes in time


class Every:
    """Each `seconds` seconds, counted on the clock of the machine: every=60 is the full minute, so a restart
    changes nothing."""

    def __init__(self, seconds: float):
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
            raise ValueError(f"every is a number of seconds above 0, not {seconds!r}")
        self.seconds = seconds

    def after(self, now: float) -> float:
        """The first time after now (both seconds of time.time())."""
        due = (now // self.seconds + 1) * self.seconds
        return due if due > now else due + self.seconds


class Cron:
    """A cron expression of five fields, or of six with the seconds first; local time."""

    def __init__(self, text: str):
        if not isinstance(text, str):
            raise ValueError(f"cron is a text, not {text!r}")
        self.text = text
        parts = _SHORT.get(text.strip().lower(), text).split()
        if len(parts) == 5:
            parts.insert(0, "0")
        if len(parts) != 6:
            raise ValueError(f"cron {text!r} has {len(parts)} fields; it is minute hour day month weekday")
        self._sets: List[List[int]] = [self._field(part, *field) for part, field in zip(parts, _FIELDS)]
        self._any_day, self._any_weekday = parts[3][0] == "*", parts[5][0] == "*"
        self._sets[5] = [day % 7 for day in self._sets[5]]
        self.after(0.0)

    def _field(self, part: str, name: str, low: int, high: int) -> List[int]:
        values = set()
        for piece in part.lower().split(","):
            span, _, step = piece.partition("/")
            first, _, last = span.partition("-")
            if span == "*":
                begin, end = low, 6 if name == "weekday" else high
            else:
                begin = self._number(first, name, low)
                end = self._number(last, name, low) if last else (high if step else begin)
            every = int(step) if step.isdigit() else 0
            if step and every < 1 or not low <= begin <= end <= high:
                raise ValueError(f"cron {self.text!r}: {piece!r} is no {name} from {low} to {high}")
            values.update(range(begin, end + 1, every or 1))
        return sorted(values)

    def _number(self, text: str, name: str, low: int) -> int:
        names = _NAMES.get(name, [])
        if text[:3] in names:
            return names.index(text[:3]) + low
        if not text.isdigit():
            raise ValueError(f"cron {self.text!r}: {text!r} is no {name}")
        return int(text)

    def _day_fits(self, day: datetime.date) -> bool:
        if day.month not in self._sets[4]:
            return False
        in_month, in_week = day.day in self._sets[3], day.isoweekday() % 7 in self._sets[5]
        if self._any_day or self._any_weekday:
            return in_month and in_week
        return in_month or in_week  # as cron has always done it

    def after(self, now: float) -> float:
        """The first time after now (both seconds of time.time()). An hour that summer time skips is left out,
        one that comes twice counts once. ValueError when there is no such day."""
        start = datetime.datetime.fromtimestamp(now).replace(microsecond=0)
        start += datetime.timedelta(seconds=1)
        for days in range(_FAR):
            day = start.date() + datetime.timedelta(days=days)
            if not self._day_fits(day):
                continue
            for time in self._times(start.time() if days == 0 else datetime.time.min):
                due = datetime.datetime.combine(day, time).timestamp()
                if due > now and datetime.datetime.fromtimestamp(due).hour == time.hour:
                    return due
        raise ValueError(f"cron {self.text!r}: there is no such day")

    def _times(self, first: datetime.time) -> Iterator[datetime.time]:
        """The times of a day from the first on."""
        for hour in self._sets[2]:
            if hour < first.hour:
                continue
            for minute in self._sets[1]:
                if (hour, minute) < (first.hour, first.minute):
                    continue
                for second in self._sets[0]:
                    if (hour, minute, second) >= (first.hour, first.minute, first.second):
                        yield datetime.time(hour, minute, second)
