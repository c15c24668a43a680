"""Random numbers as a function of seed, epoch and utterance."""

from hashlib import blake2b

import numpy as np


def utterance_generator(
    seed: int, epoch: int, utterance_id: str, purpose: str
) -> np.random.Generator:
    """Make the generator of one utterance in one epoch.

    What it draws depends on nothing else: not on the number of workers or
    ranks, the order of the utterances, or a resume inside the epoch.

    Arguments
    ---------
    seed : int
        The experiment's seed.
    epoch : int
        The epoch, from 1.
    utterance_id : str
        The utterance's id in the manifest.
    purpose : str
        What is drawn ("crops", "augmentation 0" ...): purposes are
        independent of each other.

    Returns
    -------
    numpy.random.Generator
        A fresh generator.

    Example
    -------
    >>> draws = [
    ...     int(utterance_generator(1, epoch, "a", "crops").integers(1000))
    ...     for epoch in (1, 1, 2)
    ... ]
    >>> draws[0] == draws[1], draws[0] == draws[2]
    (True, False)
    """
    # Python's own hash of a string differs between processes.
    key = "\0".join((str(seed), str(epoch), purpose, utterance_id))
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16)
    words = np.frombuffer(digest.digest(), dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=words))
