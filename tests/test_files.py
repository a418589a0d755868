import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.files import atomic_path, digest, write_json


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


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_digest_ignores_key_order_and_sees_every_value(document):
    assert digest(document) == digest(dict(reversed(document.items())))
    changed = {**document, next(iter(document)): "other"}
    assert digest(document) != digest(changed)
