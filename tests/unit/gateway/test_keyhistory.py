"""How a log stands to a backup, by its entry of it or else by the clock."""

import pytest

from gateway.keyhistory import KeyHistory, Standing, standing

MADE_S = 1_790_000_000


@pytest.mark.parametrize(
    ("ended_ms", "knows_backup", "expected"),
    [
        (None, False, Standing.OLDER),
        (MADE_S * 1000 - 1, False, Standing.OLDER),
        # The backup's time says no more than its second.
        (MADE_S * 1000, False, Standing.OLDER),
        (MADE_S * 1000 + 999, False, Standing.OLDER),
        (MADE_S * 1000 + 1000, False, Standing.NEWER),
        (MADE_S * 1000, True, Standing.NEWER),
    ],
)
def test_log_that_may_end_before_the_backup_is_older(ended_ms, knows_backup, expected):
    history = KeyHistory([], ended_ms, knows_backup)
    assert standing(history, made_s=MADE_S) is expected


def test_no_log_is_absent():
    assert standing(None, made_s=MADE_S) is Standing.ABSENT
