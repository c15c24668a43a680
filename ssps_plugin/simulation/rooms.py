"""Rooms: the impulse response between a speaker and a microphone."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from ssps_plugin.simulation.runtime import import_extra

_SPEED_OF_SOUND = 343.0  # m/s
_WALL_DISTANCE = 0.3  # m, at least, of source and microphone
# The number of image sources grows with the cube of the order: 24 takes 10 ms.
_MAX_ORDER = 24


@dataclass(frozen=True, eq=False)
class Room:
    """Shoebox room with a speaker and a microphone in it.

    Arguments
    ---------
    dimensions : numpy.ndarray
        `(3,)`, length, width and height in metres.
    source, microphone : numpy.ndarray
        `(3,)`, positions in metres.
    rt60_seconds : float
        Time in which the sound is to decay by 60 dB; it sets the walls'
        absorption.
    """

    dimensions: NDArray[np.float64]
    source: NDArray[np.float64]
    microphone: NDArray[np.float64]
    rt60_seconds: float

    def impulse_response(self, sample_rate: int) -> NDArray[np.float64]:
        """Simulate the impulse response with image sources.

        Arguments
        ---------
        sample_rate : int
            Sample rate in Hz.

        Returns
        -------
        numpy.ndarray
            `(taps,)`, with the direct sound at tap 0 and an amplitude of 1
            there.

        Raises
        ------
        RuntimeError
            The demo extra is missing.
        """
        pra = import_extra("pyroomacoustics")
        room = pra.ShoeBox(
            self.dimensions,
            fs=sample_rate,
            materials=pra.Material(self._absorption()),
            max_order=self._order(),
        )
        room.add_source(self.source)
        room.add_microphone(self.microphone)
        num_threads = pra.constants.get("num_threads")
        # One thread, since the order of summation, and with it the last bit,
        # depends on their number.
        pra.constants.set("num_threads", 1)
        try:
            room.compute_rir()
        finally:
            pra.constants.set("num_threads", num_threads)
        response = np.asarray(room.rir[0][0], dtype=np.float64)
        direct = int(np.argmax(np.abs(response)))
        return response[direct:] / np.abs(response[direct])

    def _absorption(self) -> float:
        # Eyring's formula for the fraction of energy that a wall absorbs.
        length, width, height = self.dimensions
        surface = 2 * (length * width + length * height + width * height)
        volume = length * width * height
        exponent = 24 * np.log(10) * volume
        exponent /= _SPEED_OF_SOUND * surface * self.rt60_seconds
        return float(np.clip(1 - np.exp(-exponent), 0.05, 0.95))

    def _order(self) -> int:
        reach = _SPEED_OF_SOUND * self.rt60_seconds
        return int(np.clip(reach / self.dimensions.min(), 3, _MAX_ORDER))


def draw_room(rng: Generator) -> Room:
    """Draw a room, from a closet to a hall, and two places in it.

    Arguments
    ---------
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    Room
        With RT60 between 0.1 and 0.7 s.
    """
    dimensions = rng.uniform((2.5, 2.2, 2.2), (9.0, 7.0, 3.8))
    low, high = np.full(3, _WALL_DISTANCE), dimensions - _WALL_DISTANCE
    source = rng.uniform(low, high)
    # Microphones are near more often than far: the distance is log-uniform.
    direction = rng.standard_normal(3)
    distance = np.exp(rng.uniform(np.log(0.2), np.log(4.0)))
    direction *= distance / np.linalg.norm(direction)
    return Room(
        dimensions=dimensions,
        source=source,
        microphone=np.clip(source + direction, low, high),
        rt60_seconds=float(np.exp(rng.uniform(np.log(0.1), np.log(0.7)))),
    )


def reverberate(
    speech: NDArray[np.float64], response: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Convolve speech with an impulse response, keeping its length.

    Arguments
    ---------
    speech : numpy.ndarray
        `(samples,)`, the dry waveform.
    response : numpy.ndarray
        `(taps,)`, the impulse response.

    Returns
    -------
    numpy.ndarray
        `(samples,)`, the reverberant waveform.

    Example
    -------
    >>> reverberate(np.array([1.0, 0, 0]), np.array([1.0, 0.5])).round(6)
    array([1. , 0.5, 0. ])
    """
    return fftconvolve(speech, response)[: len(speech)]
