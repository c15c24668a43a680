"""Which files of a corpus can be used, and why the others cannot."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from tqdm import tqdm

from ssps_plugin.dataio.audio_file import AudioError
from ssps_plugin.dataio.audio_tree import AudioTree
from ssps_plugin.dataio.corpus import Corpus, CorpusFile
from ssps_plugin.dataio.header_cache import HeaderCache
from ssps_plugin.dataio.speaker_folders import how_to_convert, is_compressed

_CHUNK_SIZE = 256


@dataclass(frozen=True)
class CheckedFile:
    """A corpus file with its length, or the reason to leave it out.

    Arguments
    ---------
    file : CorpusFile
        The file.
    seconds : float
        Its length in seconds, 0 where it could not be found out.
    reason : str
        Why it is left out, in a word or two; empty: it is not.
    detail : str
        The same, in full.
    """

    file: CorpusFile
    seconds: float
    reason: str = ""
    detail: str = ""


def check_files(
    corpus: Corpus | AudioTree, min_seconds: float, num_threads: int
) -> list[CheckedFile]:
    """Open every file of a corpus, in threads, unless its length is known.

    Lengths are kept in a `HeaderCache`, whatever is left out for which reason.

    Arguments
    ---------
    corpus : Corpus or AudioTree
        The corpus.
    min_seconds : float
        Utterances below this length are to be left out.
    num_threads : int
        Files opened at the same time.

    Returns
    -------
    list of CheckedFile
        All files, in the corpus's order.
    """
    files = corpus.files()
    chunks = [
        files[i : i + _CHUNK_SIZE] for i in range(0, len(files), _CHUNK_SIZE)
    ]

    headers = HeaderCache(corpus.data_folder)

    def check_chunk(chunk: list[CorpusFile]) -> list[CheckedFile]:
        return [_check(file, headers, min_seconds) for file in chunk]

    checked: list[CheckedFile] = []
    with (
        ThreadPoolExecutor(max_workers=num_threads) as pool,
        tqdm(total=len(files), desc="Reading headers", unit="file") as bar,
    ):
        for results in pool.map(check_chunk, chunks):
            checked += results
            headers.save()
            bar.update(len(results))
    return _mark_duplicates(checked)


def _check(
    file: CorpusFile, headers: HeaderCache, min_seconds: float
) -> CheckedFile:
    # SpeechBrain takes $name in a CSV for something to replace.
    if "$" in file.path or not file.path.isprintable():
        return CheckedFile(file, 0.0, "name", "unprintable, or holds a $")
    if is_compressed(file.path):
        command = how_to_convert(headers.data_folder)
        detail = f"must be converted first: {command}"
        return CheckedFile(file, 0.0, "compressed", detail)
    try:
        seconds = headers.seconds(file.path)
    except AudioError as error:
        return CheckedFile(file, 0.0, error.reason, str(error))
    if seconds < min_seconds:
        detail = f"{seconds:.3f} s, less than min_seconds {min_seconds}"
        return CheckedFile(file, seconds, "too short", detail)
    return CheckedFile(file, seconds)


def _mark_duplicates(checked: list[CheckedFile]) -> list[CheckedFile]:
    """Keep the first of several files that differ in their suffix only."""
    seen: set[str] = set()
    marked = []
    for entry in checked:
        utterance_id = entry.file.utterance_id
        if not entry.reason and utterance_id in seen:
            entry = replace(
                entry, reason="duplicate", detail=f"{utterance_id} is listed"
            )
        if not entry.reason:
            seen.add(utterance_id)
        marked.append(entry)
    return marked
