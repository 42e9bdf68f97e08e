"""What the journal records of θ that was offered for publication, and of what became of it."""

from __future__ import annotations

import pytest

from streamlearn.decisions import Step
from streamlearn.publisher.offers import Offers


class Published:
    """Says which version is published."""

    newest = 0

    def __call__(self) -> int:
        return self.newest


@pytest.fixture
def published() -> Published:
    return Published()


@pytest.fixture
def offers(published: Published) -> Offers:
    return Offers(published)


def news(offers: Offers, step: int) -> set[str]:
    decision = offers.next_step(step, [], heeded=True)
    return {name for name in ("offered", "published") if getattr(decision, name)}


def test_an_offer_is_recorded_with_the_next_step_and_its_publication_once_it_is_known(
    offers: Offers, published: Published
) -> None:
    assert news(offers, 4) == set()
    offers.made(4, 1)
    assert news(offers, 4) == {"offered"}
    assert news(offers, 5) == set()
    published.newest = 1
    assert news(offers, 6) == {"published"}
    assert news(offers, 7) == set()


def test_what_was_rejected_is_never_recorded_as_published(offers: Offers, published: Published) -> None:
    offers.made(4, 1)
    assert news(offers, 4) == {"offered"}
    offers.made(8, 2)
    assert news(offers, 8) == {"offered"}
    published.newest = 2
    assert news(offers, 9) == {"published"}


def test_the_next_offer_does_not_hide_that_the_one_before_was_published(offers: Offers, published: Published) -> None:
    offers.made(4, 1)
    assert news(offers, 4) == {"offered"}
    published.newest = 1
    offers.made(5, 2)
    assert news(offers, 5) == {"published", "offered"}
    published.newest = 2
    assert news(offers, 6) == {"published"}


def test_an_offer_that_is_published_before_a_step_recorded_it_is_recorded_first(
    offers: Offers, published: Published
) -> None:
    offers.made(4, 1)
    published.newest = 1
    assert news(offers, 4) == {"offered"}
    assert news(offers, 5) == {"published"}


def test_an_offer_before_steps_that_were_run_again_is_not_recorded_with_a_later_one(
    offers: Offers, published: Published
) -> None:
    offers.made(4, 1)
    published.newest = 1
    assert news(offers, 7) == set()
    assert news(offers, 8) == set()


def test_nothing_is_recorded_where_nobody_heeds_it(offers: Offers) -> None:
    offers.made(4, 1)
    assert offers.next_step(4, [], heeded=False) == Step(5, [])
