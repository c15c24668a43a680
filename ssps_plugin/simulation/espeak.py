"""Text to speech by espeak-ng, with the same samples for the same texts.

espeak-ng keeps state from one call to the next: the phase of its flutter,
noise generators, resonators. So a waveform would depend on all that a process
had spoken before, and a corpus on the number of processes. Its own
re-initialisation does not clear that state. Unloading the library does, and
takes a few milliseconds.
"""

import _ctypes
import ctypes
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssps_plugin.simulation.runtime import import_extra

SAMPLE_RATE = 22050  # Hz, of every espeak-ng voice

# From espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_CHARS_UTF8 = 1
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4

# The default of 100 leaves no headroom to the louder voice variants.
_VOLUME_PERCENT = 60

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.POINTER(ctypes.c_short),
    ctypes.c_int,
    ctypes.c_void_p,
)


def synthesize(
    texts: Sequence[str],
    voice: str,
    pitch: int = 50,
    pitch_range: int = 50,
    rate: int = 175,
) -> list[NDArray[np.float64]]:
    """Speak texts one after the other.

    Not thread-safe, as espeak-ng is not.

    Arguments
    ---------
    texts : sequence of str
        What to speak.
    voice : str
        Language, and optionally a voice variant: `"en"`, `"de+m3"`.
    pitch : int
        Base pitch, 0 to 100.
    pitch_range : int
        How lively the intonation is, 0 (monotone) to 100.
    rate : int
        Words per minute, 80 to 450.

    Returns
    -------
    list of numpy.ndarray
        A waveform `(samples,)` for each text, within [-1, 1], at `SAMPLE_RATE`.

    Raises
    ------
    RuntimeError
        The demo extra is missing, or espeak-ng has no such voice.

    Example
    -------
    >>> greeting = synthesize(["Good morning."], "en+m3")[0]
    >>> 0.5 < len(greeting) / SAMPLE_RATE < 2
    True
    """
    chunks: list[NDArray[np.int16]] = []

    @_Callback
    def collect(samples: Any, num_samples: int, events: Any) -> int:
        if samples and num_samples > 0:
            chunks.append(np.ctypeslib.as_array(samples, (num_samples,)).copy())
        return 0

    waveforms = []
    library = _load(collect)
    try:
        _set_voice(library, voice)
        _set_parameters(library, pitch, pitch_range, rate)
        for text in texts:
            chunks.clear()
            _speak(library, text)
            waveforms.append(np.concatenate([np.zeros(0), *chunks]) / 32768)
    finally:
        _unload(library)
    return waveforms


def _load(callback: Any) -> ctypes.CDLL:
    loader = import_extra("espeakng_loader")
    library = ctypes.CDLL(str(loader.get_library_path()))
    library.espeak_Initialize(
        _AUDIO_OUTPUT_SYNCHRONOUS, 0, str(loader.get_data_path()).encode(), 0
    )
    library.espeak_SetSynthCallback(callback)
    _seed_c_random()
    return library


def _set_voice(library: ctypes.CDLL, voice: str) -> None:
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise RuntimeError(
            "Expected a language code of lang/ in espeak-ng's data folder, "
            "with or without '+' and a file name of its voices/!v/, got "
            f"{voice!r}: change voice."
        )


def _set_parameters(
    library: ctypes.CDLL, pitch: int, pitch_range: int, rate: int
) -> None:
    for parameter, value in (
        (_RATE, rate),
        (_VOLUME, _VOLUME_PERCENT),
        (_PITCH, pitch),
        (_RANGE, pitch_range),
    ):
        library.espeak_SetParameter(parameter, value, 0)


def _speak(library: ctypes.CDLL, text: str) -> None:
    data = text.encode()
    size = ctypes.c_size_t(len(data) + 1)
    library.espeak_Synth(data, size, 0, 0, 0, _CHARS_UTF8, None, None)


def _unload(library: ctypes.CDLL) -> None:
    library.espeak_Terminate()
    if sys.platform == "win32":
        _ctypes.FreeLibrary(library._handle)
    else:
        _ctypes.dlclose(library._handle)


def _seed_c_random() -> None:
    # Aspiration and roughness are made with the C library's rand().
    if sys.platform == "win32":
        ctypes.cdll.msvcrt.srand(1)
    else:
        ctypes.CDLL(None).srand(1)
