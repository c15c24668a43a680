"""Background noise: a blend of coloured noise, babble and mains hum."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.fft import next_fast_len

_ENVELOPE_HZ = 4.0  # how fast babble swells, about one syllable
_NUM_HARMONICS = 12


@dataclass(frozen=True)
class BackgroundNoise:
    """Noise of one place.

    Arguments
    ---------
    weights : tuple of float
        Fractions of coloured noise, babble and hum in the power.
    slope_db : float
        Fall of the coloured noise's spectrum per octave: 0 is white, 3 pink, 6
        brown.
    babble_hz : float
        Frequency from which the babble's spectrum falls.
    liveliness : float
        How much the babble's loudness varies; 0 is steady.
    mains_hz : float
        Fundamental of the hum.
    """

    weights: tuple[float, float, float]
    slope_db: float
    babble_hz: float
    liveliness: float
    mains_hz: float

    def sample(
        self, num_samples: int, sample_rate: int, rng: Generator
    ) -> NDArray[np.float64]:
        """Draw a stretch of this noise.

        Arguments
        ---------
        num_samples : int
            Length of the stretch.
        sample_rate : int
            Sample rate in Hz.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        numpy.ndarray
            `(num_samples,)`, with a mean power of 1.

        Example
        -------
        >>> rng = np.random.default_rng(0)
        >>> noise = draw_noise(rng).sample(16000, 16000, rng)
        >>> round(float(np.mean(noise**2)), 6)
        1.0
        """
        # Fourier transforms of a length with large prime factors are slow.
        length = next_fast_len(num_samples, real=True)
        frequencies = np.fft.rfftfreq(length, 1 / sample_rate)
        parts = (
            self._coloured(frequencies, length, rng),
            self._babble(frequencies, length, rng),
            self._hum(length, sample_rate, rng),
        )
        noise = np.zeros(length)
        for weight, part in zip(self.weights, parts, strict=True):
            noise += np.sqrt(weight / np.mean(part**2)) * part
        noise = noise[:num_samples]
        return noise / np.sqrt(np.mean(noise**2))

    def _coloured(
        self, frequencies: NDArray[np.floating], length: int, rng: Generator
    ) -> NDArray[np.float64]:
        octaves = np.log2(np.maximum(frequencies, 30.0) / 1000)
        return _shape(rng, length, -self.slope_db * octaves)

    def _babble(
        self, frequencies: NDArray[np.floating], length: int, rng: Generator
    ) -> NDArray[np.float64]:
        # The long-term spectrum of speech: flat, then -9 dB an octave.
        octaves = np.log2(np.maximum(frequencies, 1.0) / self.babble_hz)
        gain_db = -9.0 * np.maximum(octaves, 0.0)
        gain_db[frequencies < 80] = -60.0
        voices = _shape(rng, length, gain_db)
        slow = np.where(frequencies < _ENVELOPE_HZ, 0.0, -200.0)
        swell = _shape(rng, length, slow)
        swell /= np.sqrt(np.mean(swell**2))
        return voices * np.exp(self.liveliness * swell)

    def _hum(
        self, length: int, sample_rate: int, rng: Generator
    ) -> NDArray[np.float64]:
        time = np.arange(length) / sample_rate
        fundamental = np.exp(2j * np.pi * self.mains_hz * time)
        harmonic = np.ones_like(fundamental)
        hum = np.zeros(length)
        for number in range(1, _NUM_HARMONICS + 1):
            harmonic *= fundamental
            phase = np.exp(1j * rng.uniform(0, 2 * np.pi))
            hum += (harmonic * phase).imag / number
        return hum


def draw_noise(rng: Generator) -> BackgroundNoise:
    """Draw the noise of a place.

    Arguments
    ---------
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    BackgroundNoise
        Every property from a continuous range.
    """
    # The least of it is hum: it masks little, so it would soon dominate.
    weights = rng.dirichlet((1.0, 1.0, 0.3))
    return BackgroundNoise(
        weights=(float(weights[0]), float(weights[1]), float(weights[2])),
        slope_db=float(rng.uniform(-1.0, 7.0)),
        babble_hz=float(rng.uniform(300.0, 900.0)),
        liveliness=float(rng.uniform(0.0, 0.8)),
        mains_hz=float(rng.choice([50.0, 60.0]) + rng.normal(0.0, 0.1)),
    )


def _shape(
    rng: Generator, length: int, gain_db: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Draw Gaussian noise with the given gain at each rfft frequency."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    return np.fft.irfft(spectrum * 10 ** (gain_db / 20), length)
