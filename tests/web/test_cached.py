import pytest

from pixloop.web.cached import Cached, stamp


def test_a_value_is_read_once_for_each_look(tmp_path):
    file, cached, reads = tmp_path / "x", Cached(), []

    def read():
        reads.append(1)
        return len(reads)

    assert [cached.get("x", stamp(file), read) for _ in range(3)] == [1, 1, 1]
    file.write_text("now")
    assert cached.get("x", stamp(file), read) == 2
    assert cached.get("y", stamp(file), read) == 3


def test_what_fails_is_tried_again():
    cached, reads = Cached(), []

    def read():
        reads.append(1)
        if len(reads) == 1:
            raise ValueError("not yet")
        return "there"

    with pytest.raises(ValueError, match="not yet"):
        cached.get("x", None, read)
    assert cached.get("x", None, read) == "there"
