"""Any file given as a manifest is read, or refused by its name."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ssps_plugin.dataio import load_manifest

FIELDS = st.one_of(
    st.sampled_from(
        ["ID", "wav", "duration", "speaker", "1.5", "0", "-1", "nan", "inf"]
    ),
    st.text(max_size=12),
    st.sampled_from(['"', "$data_root/a.wav", "$x/a.wav", " wav ", "\ufeff"]),
)
ROWS = st.lists(st.lists(FIELDS, max_size=5).map(",".join), max_size=6)
TEXTS = st.one_of(
    ROWS.map("\n".join),
    ROWS.map(lambda rows: "\n".join(["ID,wav,duration", *rows])),
    st.text(max_size=200),
)
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"])
CONTENTS = st.one_of(
    st.binary(max_size=300),
    st.tuples(TEXTS, ENCODINGS).map(lambda x: x[0].encode(x[1], "replace")),
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(CONTENTS)
def test_any_content_is_a_manifest_or_an_error_that_names_the_file(
    tmp_path_factory, content
):
    folder = tmp_path_factory.getbasetemp()
    manifest = folder / "fuzzed-train.csv"
    manifest.write_bytes(content)
    try:
        dataset = load_manifest(manifest, data_root=folder)
    except (ValueError, FileNotFoundError) as error:
        assert "fuzzed-train.csv" in str(error)
    else:
        assert len(dataset) > 0


def test_a_sound_manifest_passes_the_fuzz_as_well(tmp_path):
    (tmp_path / "a.wav").touch()
    manifest = tmp_path / "train.csv"
    manifest.write_text("ID,wav,duration\na,$data_root/a.wav,1.5\n")
    assert len(load_manifest(manifest, data_root=tmp_path)) == 1
