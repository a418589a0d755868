import errno
import json
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.errors import DamagedError, DiskFullError
from edgekd.files import atomic_path, digest, read_sealed, write_json, write_sealed


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_files_have_the_rights_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        write_json(tmp_path / "x.json", {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.json").stat().st_mode) == 0o640


def test_any_bit_that_flips_in_a_sealed_file_is_found(tmp_path):
    path, document = tmp_path / "x.json", {"numbers": [0.1, 2], "text": "é"}
    assert read_sealed(path) is None
    write_sealed(path, document)
    assert read_sealed(path) == document
    whole = path.read_bytes()
    for place in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            assert read_sealed(path) == document  # white space between two values
        except DamagedError as error:
            assert str(error) == f"{path} is damaged"


def test_a_disk_without_room_is_one_clear_line(tmp_path):
    path = tmp_path / "x.json"
    with pytest.raises(DiskFullError, match=r"x\.json: the disk is full: make room"), atomic_path(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), atomic_path(path):
        raise PermissionError(errno.EACCES, "Permission denied")
    assert not list(tmp_path.iterdir())


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_digest_ignores_key_order_and_sees_every_value(document):
    assert digest(document) == digest(dict(reversed(document.items())))
    changed = {**document, next(iter(document)): "other"}
    assert digest(document) != digest(changed)
