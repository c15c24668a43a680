"""SSPS-NN's search in lists (faiss) against the exact one, on one core.

    python benchmarks/search.py                  # half an hour, up to 8 GB
    python benchmarks/search.py --sizes 25000    # one queue, a minute

References are made like embeddings of VoxCeleb2's 5 994 speakers in 145 569
recordings: speaker + 0.7 recording + 0.8 utterance, normalised. Each is a
random unit vector whose axes have variances that fall by 1 / rank^1.1, so that
5 of 512 hold 41 % of them, as a few do in trained encoders. The queue holds
random utterances of these, each once. Anchors are utterances of the queue
whose reference has moved: 0.3 of another such vector is added, for another
crop and a newer encoder.

Recall: how many of the M exact nearest are found, of 512 anchors, when an epoch
starts and after up to 98 steps that renew references and slots. Times are of
one step of 256 anchors, medians of three in turn: the search (`select`) and
keeping it up (`on_enqueued`). Once an epoch: the lists are made, and put into
faiss.
"""

import argparse
import itertools
import pathlib
import resource
import time

import torch
from one_core import cpu_seconds, median_cpu_seconds, use_one_core
from torch import Tensor
from torch.nn.functional import normalize

from ssps_plugin import NearestNeighborSampling
from ssps_plugin.clustering import top_k
from ssps_plugin.memory import PositiveQueue, ReferenceBank
from ssps_plugin.sampling import Anchors

NUM_SPEAKERS, NUM_RECORDINGS = 5_994, 145_569
DIM, BATCH = 512, 256
NUM_NEIGHBORS = (1, 10, 50)
SIZES = (25_000, 100_000, 1_092_009)
NUM_TESTED, TESTED_AT_ONCE = 512, 64
NUM_REPEATS = 3
MOST_RENEWING_STEPS = 98


class Corpus:
    """Utterances of speakers in recordings, as references."""

    def __init__(self, num_utterances: int) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.deviations = torch.arange(1, DIM + 1).float() ** -0.55
        self.speakers = self.vectors(NUM_SPEAKERS)
        self.recordings = self.vectors(NUM_RECORDINGS)
        self.speaker_of = self.numbers(NUM_SPEAKERS, NUM_RECORDINGS)
        self.recording_of = self.numbers(NUM_RECORDINGS, num_utterances)

    def vectors(self, num: int) -> Tensor:
        rows = torch.randn(num, DIM, generator=self.generator)
        return normalize(rows * self.deviations, dim=1)

    def numbers(self, below: int, num: int) -> Tensor:
        return torch.randint(below, (num,), generator=self.generator)

    def references(self, index: Tensor) -> Tensor:
        recording = self.recording_of[index]
        rows = self.speakers[self.speaker_of[recording]]
        rows = rows + 0.7 * self.recordings[recording]
        return normalize(rows + 0.8 * self.vectors(len(index)), dim=1)

    def moved(self, references: Tensor) -> Tensor:
        return normalize(
            references + 0.3 * self.vectors(len(references)), dim=1
        )


def resident_bytes() -> int:
    """Memory of this process."""
    pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


class Queue:
    """Full memories of a size, and both strategies over them."""

    def __init__(self, size: int) -> None:
        self.corpus = Corpus(size)
        self.bank = ReferenceBank(DIM)
        self.bank.allocate(size)
        self.queue = PositiveQueue(size, 1)
        self.queue.allocate(size)
        for index in torch.randperm(size).split(8192):
            self.bank.write(index, self.corpus.references(index))
            self.queue.enqueue(index, torch.zeros(1, len(index), 1))
        self.exact = NearestNeighborSampling(max(NUM_NEIGHBORS))
        self.listed = NearestNeighborSampling(
            max(NUM_NEIGHBORS), search="faiss"
        )
        self.exact.allocate(size, DIM, self.queue)
        self.exact.prepare(self.bank, self.queue, seed=0, epoch=1)
        # One memory of keys for both: they are the same.
        self.listed.keys, self.listed.bias = self.exact.keys, self.exact.bias
        self.listed.lists.allocate(*self.exact.keys.shape)
        start = time.perf_counter()
        self.divide_seconds, _ = cpu_seconds(self.divide)
        print(f"lists made in {time.perf_counter() - start:.0f} s", flush=True)

    def divide(self) -> None:
        listed = self.listed
        self.unseen = listed.lists.make_lists(
            listed.keys, listed.bias == 0, seed=1
        )
        listed.lists.choose_probes(listed.keys, self.unseen, max(NUM_NEIGHBORS))

    def anchors(self, num: int = BATCH) -> Anchors:
        index = torch.randperm(self.queue.size)[:num]
        references = self.corpus.moved(self.bank.references[index])
        return Anchors(index, references, seed=0, epoch=1)

    def recall(self, num_neighbors: int) -> float:
        """How many of the exact nearest are found, over NUM_TESTED anchors."""
        found = 0
        for _ in range(NUM_TESTED // TESTED_AT_ONCE):
            anchors = self.anchors(TESTED_AT_ONCE)
            own = self.queue.slots[anchors.index].long()
            cosines = torch.addmm(
                self.exact.bias, anchors.reference, self.exact.keys.T
            )
            has_slot = own >= 0
            cosines[has_slot, own[has_slot]] = -torch.inf
            exact = top_k(cosines, num_neighbors)[1]
            listed = self.listed.lists.search(
                anchors.reference, self.listed.keys, own, num_neighbors
            )[1]
            found += int((exact[:, :, None] == listed[:, None]).sum())
        return found / (NUM_TESTED * num_neighbors)

    def renew(self) -> None:
        """A step's references and slots, and the lists."""
        anchors = self.anchors()
        self.bank.write(anchors.index, anchors.reference)
        slots = self.queue.enqueue(anchors.index, torch.zeros(1, BATCH, 1))
        self.listed.on_enqueued(slots, anchors.index, self.bank, self.queue)

    def time_row(self, num_neighbors: int) -> str:
        """Return one row of the table."""
        lists = self.listed.lists
        self.exact.num_neighbors = self.listed.num_neighbors = num_neighbors
        lists.choose_probes(self.listed.keys, self.unseen, num_neighbors)
        batches = itertools.cycle([self.anchors() for _ in range(3)])
        exact, listed = median_cpu_seconds(
            [
                lambda: self.exact.select(next(batches), self.queue),
                lambda: self.listed.select(next(batches), self.queue),
            ],
            NUM_REPEATS,
        )
        return (
            f"{self.queue.size:<9}{num_neighbors:<4}"
            f"{len(lists.centroids):<7}{lists.num_searched:<8}"
            f"{1000 * exact:<10.1f}{1000 * listed:<10.1f}"
            f"{exact / listed:<7.1f}{self.recall(num_neighbors):<8.3f}"
        )


def measure(size: int) -> None:
    """Print what a queue of a size takes."""
    memories = Queue(size)
    before = resident_bytes()
    seconds, _ = cpu_seconds(
        lambda: memories.listed.select(memories.anchors(), memories.queue)
    )
    megabytes = (resident_bytes() - before) / 1e6
    print("queue    M   lists  searched exact ms  faiss ms  ratio  recall")
    for num_neighbors in NUM_NEIGHBORS:
        print(memories.time_row(num_neighbors), flush=True)
    steps = min(MOST_RENEWING_STEPS, size // BATCH)
    (renewing,) = median_cpu_seconds([memories.renew], steps)
    after = memories.recall(max(NUM_NEIGHBORS))
    print(
        f"{size} slots: an epoch's lists {memories.divide_seconds:.0f} s, into "
        f"faiss with a first search {seconds:.1f} s and {megabytes:.0f} MB; "
        f"kept up {1000 * renewing:.1f} ms a step; recall at M = "
        f"{max(NUM_NEIGHBORS)} {after:.3f} after {steps} steps, "
        f"{(resident_bytes() - before) / 1e6:.0f} MB then",
        flush=True,
    )


def main() -> None:
    """Measure one size after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    sizes = parser.parse_args().sizes
    use_one_core()
    torch.manual_seed(0)
    for size in sizes:
        measure(size)


if __name__ == "__main__":
    main()
