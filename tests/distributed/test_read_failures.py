"""Files that two ranks could not read, each by itself."""

from ssps_plugin.dataio.read_failures import ReadFailures


def joined_failures(rank):
    failures = ReadFailures([f"{n}.wav" for n in range(9)])
    for index, epoch in [[(1, 1), (2, 2)], [(1, 2), (5, 1), (7, 2)]][rank]:
        failures.record(index, epoch, "gone")
    failures.join_ranks()
    return failures.files(1), failures.files(2)


def test_ranks_join_what_each_of_them_could_not_read(run_ranks):
    expected = (["5.wav"], ["1.wav", "2.wav", "7.wav"])
    assert run_ranks(joined_failures) == [expected, expected]
