"""Errors are told apart by class: one that comes of a known one is treated as that."""

from d4d.domain.errors import BadRequest, D4DError, StoreAway, StoreUnavailable, by_class

TABLE: dict[type, int] = {StoreUnavailable: 503, BadRequest: 400}


class DiskFull(StoreAway):
    """Of another package."""


def test_an_error_of_a_subclass_is_treated_as_its_class() -> None:
    assert by_class(TABLE, StoreUnavailable(), 500) == 503
    assert by_class(TABLE, StoreAway(), 500) == 503
    assert by_class(TABLE, DiskFull(), 500) == 503


def test_the_nearest_class_wins() -> None:
    assert by_class({**TABLE, StoreAway: 504}, DiskFull(), 500) == 504


def test_another_one_is_the_default() -> None:
    assert by_class(TABLE, D4DError(), 500) == 500
    assert by_class(TABLE, ZeroDivisionError(), 500) == 500
