"""Claims about several data folders joined into one."""

import pytest

from ssps_plugin.dataio.corpus.corpus import Corpus
from ssps_plugin.dataio.corpus.folders import join_roots, path_below
from tests.recipes.corpora import write_corpus


@pytest.fixture
def roots(tmp_path):
    """Two folders of one name, and a hidden one."""
    found = [tmp_path / name for name in ("a/dev", "b/dev", "c/.dev")]
    for root in found:
        root.mkdir(parents=True)
        (root / "mark").write_text(str(root))
    return found


def marks(joined):
    return {path.name: (path / "mark").read_text() for path in joined.iterdir()}


def test_roots_of_one_name_get_links_of_distinct_visible_names(roots, tmp_path):
    joined = tmp_path / "out" / "data"
    join_roots(roots, joined)
    names = ["dev", "dev-2", "dev-3"]
    expected = dict(zip(names, map(str, roots), strict=True))
    assert marks(joined) == expected


def test_right_links_stay_and_wrong_ones_go(roots, tmp_path):
    joined = tmp_path / "data"
    join_roots(roots[:2], joined)
    kept = (joined / "dev").lstat().st_ino
    join_roots([roots[0], roots[2]], joined)
    expected = {"dev": str(roots[0]), "dev-2": str(roots[2])}
    assert marks(joined) == expected
    join_roots(roots[:1], joined)
    assert marks(joined) == {"dev": str(roots[0])}
    assert (joined / "dev").lstat().st_ino == kept


def test_a_root_given_relatively_is_found_from_everywhere(
    roots, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    join_roots(["a/dev"], "data")
    monkeypatch.chdir(tmp_path / "b")
    assert marks(tmp_path / "data") == {"dev": str(roots[0])}


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        ([], ValueError, "got none"),
        (["a/dev", "gone"], FileNotFoundError, "gone: change data_folder"),
        (["a/dev", "a/../a/dev"], ValueError, "twice"),
    ],
)
def test_mistakes_are_named_and_nothing_is_linked(
    roots, tmp_path, names, error, message
):
    with pytest.raises(error, match=message):
        join_roots([tmp_path / name for name in names], tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_what_is_no_link_is_not_replaced(roots, tmp_path):
    (tmp_path / "data" / "dev").mkdir(parents=True)
    with pytest.raises(FileExistsError, match="output_folder"):
        join_roots(roots, tmp_path / "data")


def test_a_joined_corpus_is_that_of_its_roots(tmp_path):
    joined = tmp_path / "data"
    first = write_corpus(tmp_path / "a", num_speakers=2)
    second = write_corpus(tmp_path / "b", num_speakers=3)
    (second / "wav").rename(second / "dev")
    join_roots([first, second], joined)
    corpus = Corpus(joined)
    assert corpus.prefixes == ["a/wav/", "b/dev/"]
    assert corpus.speakers == ["id000", "id001", "id002"]


def test_a_file_is_found_below_the_folder_however_it_is_named(roots, tmp_path):
    joined = tmp_path / "data"
    join_roots(roots, joined)
    expected = "dev-2/x/1.wav"
    assert path_below(roots[1] / "x" / "1.wav", joined) == expected
    assert path_below(joined / expected, joined) == expected
    assert path_below(tmp_path / "1.wav", joined) == "../1.wav"
