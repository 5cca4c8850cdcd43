"""When scheduled pools run. The same table is in tests/unit/host_c/test_schedule.c, for those in C."""

from __future__ import annotations

import datetime
import os
import time

import pytest

from saola.pool import Pool
from saola.pool.schedule import Cron, Every


@pytest.fixture(autouse=True)
def berlin():
    """Summer time from 2026-03-29 02:00 to 2026-10-25 03:00."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "CET-1CEST,M3.5.0,M10.5.0/3"
    time.tzset()
    yield
    os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
    time.tzset()


def at(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize("cron, now, due", [
    ("* * * * *", "2026-05-01 10:00:00", "2026-05-01 10:01:00"),
    ("*/15 * * * *", "2026-05-01 10:50:00", "2026-05-01 11:00:00"),
    ("30 4 * * *", "2026-05-01 10:00:00", "2026-05-02 04:30:00"),
    ("0 0 1 1 *", "2026-05-01 10:00:00", "2027-01-01 00:00:00"),
    ("0 0 29 2 *", "2026-05-01 10:00:00", "2028-02-29 00:00:00"),
    ("0 9 * * mon-fri", "2026-05-01 10:00:00", "2026-05-04 09:00:00"),
    ("0 9 * * 7", "2026-05-01 10:00:00", "2026-05-03 09:00:00"),
    ("0 0 13 * fri", "2026-05-02 10:00:00", "2026-05-08 00:00:00"),  # day or weekday, when both are given
    ("5,10-12 8 * jun,jul *", "2026-06-30 08:11:30", "2026-06-30 08:12:00"),
    ("*/20 * * * * *", "2026-05-01 10:00:41", "2026-05-01 10:01:00"),  # seconds first
    ("30 2 * * *", "2026-03-28 12:00:00", "2026-03-30 02:30:00"),  # the 29th has no half past two
    ("30 2 * * *", "2026-10-24 12:00:00", "2026-10-25 02:30:00"),
    ("59 23 31 12 *", "2026-12-31 23:59:00", "2027-12-31 23:59:00"),
])
def test_a_cron_expression_says_when(cron, now, due):
    assert datetime.datetime.fromtimestamp(Cron(cron).after(at(now))) == datetime.datetime.fromisoformat(due)


def test_a_time_that_comes_twice_counts_once():
    cron = Cron("30 2 * * *")
    first = cron.after(at("2026-10-24 12:00:00"))
    assert cron.after(first) == at("2026-10-26 02:30:00")


@pytest.mark.parametrize("cron, words", [
    ("* * * *", "4 fields"), ("60 * * * *", "no minute from 0 to 59"), ("* * 0 * *", "no day"),
    ("* * * * 8", "no weekday"), ("*/0 * * * *", "no minute"), ("5-1 * * * *", "no minute"),
    ("a * * * *", "no minute"), ("0 0 31 2 *", "no such day"), ("1, * * * *", "no minute")])
def test_a_wrong_expression_is_said(cron, words):
    with pytest.raises(ValueError, match=words):
        Cron(cron)


def test_periods_are_counted_on_the_clock():
    assert Every(60).after(120) == 180 and Every(60).after(179.5) == 180 and Every(0.5).after(1.25) == 1.5
    for wrong in (0, -1, True, "5"):
        with pytest.raises(ValueError, match="every"):
            Every(wrong)


@pytest.mark.parametrize("options, words", [
    ({"name": "web"}, "is not 'web'"), ({"name": "a b"}, "a name has"), ({"run": 3}, "run is a class"),
    ({"restart": "sometimes"}, "restart is one of always, on-failure, never"),
    ({"workers": 2, "hand_over": "exclusive"}, "exclusive means one worker, not 2"),
    ({"workers": [1, 1]}, "twice"), ({"workers": "3"}, "a number or several ids"),
    ({"every": 1, "cron": "* * * * *"}, "not both"), ({"every": 0}, "above 0"), ({"timeout": -1}, "timeout"),
    ({"workers": 2, "every": 1}, "a schedule means one worker")])
def test_a_wrong_pool_is_said(options, words):
    from saola.errors import ConfigError
    with pytest.raises(ConfigError, match=words):
        Pool(**{"name": "p", "run": print, **options})
