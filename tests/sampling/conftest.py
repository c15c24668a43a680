"""Memories that the strategies read, and the distribution of draws."""

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin.memory import PositiveQueue, ReferenceBank
from ssps_plugin.sampling import Anchors


class Memories:
    """A bank and a queue over `num_utterances` random unit references.

    The queue holds `queued` of them, in the order given.
    """

    def __init__(self, num_utterances, queued, dim=6, size=None, seed=0):
        generator = torch.Generator().manual_seed(seed)
        references = torch.randn(num_utterances, dim, generator=generator)
        self.references = F.normalize(references, dim=1)
        self.queued = list(queued)
        self.bank = ReferenceBank(dim)
        self.bank.allocate(num_utterances)
        self.bank.write(torch.arange(num_utterances), self.references)
        size = size or num_utterances
        self.queue = PositiveQueue(size, 1)
        self.queue.allocate(num_utterances)
        if self.queued:
            index = torch.tensor(self.queued)
            self.queue.enqueue(index, index.view(1, -1, 1).float())

    def prepare(self, strategy, seed=0, epoch=1):
        num_utterances, dim = self.references.shape
        strategy.allocate(num_utterances, dim, self.queue)
        strategy.observe(self.bank)
        strategy.prepare(self.bank, self.queue, seed, epoch)
        return strategy

    def anchors(self, index=None, seed=0, epoch=1):
        if index is None:
            index = torch.arange(len(self.references))
        return Anchors(index, self.references[index], seed, epoch)

    def draw(self, strategy, index=None, seed=0, epoch=1):
        """The utterance drawn for every anchor, -1 where none."""
        anchors = self.anchors(index, seed, epoch)
        rows = strategy.select(anchors, self.queue)
        return strategy.drawn_utterances(rows, self.queue)

    def counts(self, strategy, num_epochs):
        """How often anchor i drew utterance j; the last column: none."""
        num = len(self.references)
        counts = torch.zeros(num, num + 1, dtype=torch.long)
        for epoch in range(num_epochs):
            drawn = self.draw(strategy, seed=epoch % 3, epoch=epoch)
            counts[torch.arange(num), drawn] += 1  # -1: the last column
        return counts


def assert_drawn_with(counts, probabilities):
    """Draws lie where they may, and chi-square fits their probabilities.

    The draws are functions of seed and epoch, so this never fails by chance.
    """
    assert torch.equal(counts > 0, probabilities > 0)
    expected = probabilities * counts.sum(1, keepdim=True)
    possible = probabilities > 0
    terms = (counts - expected)[possible] ** 2 / expected[possible]
    freedom = int(possible.sum() - len(counts))
    assert float(terms.sum()) < freedom + 4 * (2 * freedom) ** 0.5 + 4


@pytest.fixture
def make_memories():
    return Memories


@pytest.fixture
def check_draws():
    return assert_drawn_with
