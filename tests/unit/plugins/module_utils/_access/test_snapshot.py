# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

import pytest
from ansible_collections.phase.console.plugins.module_utils._access import snapshot as _snapshot
from ansible_collections.phase.console.plugins.module_utils._errors import BadOption
from ansible_collections.phase.console.plugins.module_utils._operations.core import audit as _audit
from ansible_collections.phase.console.plugins.module_utils._operations.core import rows as _rows

MODULE = "phase_network_policy"
HERE = {"database": "phase", "cluster": "42"}
IMAGES = [{"table": "t", "key": "1", "before": {"id": "1", "a": "\u00e9\u2603"}, "after": None}]


def content(**more):
    given = {"module": MODULE, "database": HERE, "of": "Space X/../\u2603", "images": IMAGES, "now": 0.0}
    return _snapshot.body(**{**given, **more})


def test_it_is_read_back_as_it_was_written(tmp_path):
    path = Path(_snapshot.save(str(tmp_path / "new" / "folder"), content(reason="why"), {}))
    assert path.name.startswith("network-policy-19700101T000000Z-space-x-")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    loaded = _snapshot.load(str(path), MODULE)
    assert loaded == content(reason="why")
    assert _snapshot.images_of(loaded) == IMAGES
    _snapshot.check_database(loaded, HERE)
    assert list(path.parent.iterdir()) == [path]


def test_the_folder_is_that_of_the_user(tmp_path):
    path = _snapshot.save(None, content(), {"XDG_STATE_HOME": str(tmp_path)})
    assert Path(path).parent == tmp_path / "phase.console" / "snapshots"
    assert _snapshot.default_folder({}).endswith("/.local/state/phase.console/snapshots")


@pytest.mark.parametrize("name, expected", [("SpaceX", "spacex"), ("../..", "unnamed"), ("a" * 64, "a" * 40)])
def test_a_name_is_safe_in_a_path(name, expected):
    assert _snapshot.slug(name) == expected


def refusal(path, module=MODULE):
    with pytest.raises(_snapshot.SnapshotUnusable) as refused:
        _snapshot.load(str(path), module)
    assert refused.value.next_step
    return refused.value.message


def test_what_is_wrong_with_a_file_is_said(tmp_path):
    path = _snapshot.save(str(tmp_path), content(), {})
    whole = json.loads(Path(path).read_text(encoding="utf-8"))
    assert "No such file" in refusal(tmp_path / "missing")
    assert "Is a directory" in refusal(tmp_path)
    assert "a snapshot of phase_network_policy" in refusal(path, "phase_sso")
    broken = tmp_path / "broken"
    for text in ("", "[]", '"x"', '{"format": "other"}', "\x00", json.dumps(whole)[:-9]):
        broken.write_text(text, encoding="utf-8")
        assert "not a snapshot, or was cut off" in refusal(broken)
    broken.write_bytes(b"\xff\xfe")
    assert "not a snapshot" in refusal(broken)
    broken.write_text(json.dumps(dict(whole, version=2)), encoding="utf-8")
    assert "version 2" in refusal(broken)
    broken.write_text(json.dumps(whole).replace('"key": "1"', '"key": "2"'), encoding="utf-8")
    assert "damaged" in refusal(broken)
    broken.write_text(json.dumps(dict(whole, body=[])), encoding="utf-8")
    assert "damaged" in refusal(broken)
    for opening in ("[", '{"a":'):
        broken.write_text(opening * 200000, encoding="utf-8")
        assert "not a snapshot" in refusal(broken)


@pytest.mark.parametrize(
    "change",
    [
        *({name: None} for name in ("module", "created", "database", "of", "images", "more")),
        {"images": [1]},
        {"images": [{}]},
        {"images": [dict(IMAGES[0], key=1)]},
        {"images": [dict(IMAGES[0], before="x")]},
        {"images": [dict(IMAGES[0], before=None)]},
    ],
)
def test_a_right_checksum_of_something_else(tmp_path, change):
    path = _snapshot.save(str(tmp_path), content(), {})
    whole = json.loads(Path(path).read_text(encoding="utf-8"))
    for kept in (dict(whole["body"], **change), {k: v for k, v in whole["body"].items() if k not in change}):
        text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
        whole.update(body=kept, sha256=hashlib.sha256(text.encode()).hexdigest())
        Path(path).write_text(json.dumps(whole), encoding="utf-8")
        assert "has not the content" in refusal(path)


def test_two_of_the_same_are_two_files(tmp_path):
    paths = {_snapshot.save(str(tmp_path), content(), {}) for _number in range(5)}
    assert len(paths) == 5


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(_snapshot.SnapshotFailed, match="cannot be written"):
        _snapshot.save(str(tmp_path / "file" / "folder"), content(), {})


@pytest.mark.parametrize("here, fits", [
    (HERE, True),
    (dict(HERE, cluster=None), True),  # a role that may not read it
    (dict(HERE, cluster="43"), False),
    (dict(HERE, database="other"), False),
])  # fmt: skip
def test_another_database(here, fits):
    if fits:
        _snapshot.check_database(content(), here)
    else:
        with pytest.raises(_snapshot.SnapshotUnusable, match="another database"):
            _snapshot.check_database(content(), here)


@pytest.mark.parametrize("text", ["\0", "a\nb", "\ud800", "\x7f", "x" * 1001])
def test_text_that_cannot_be_stored(text):
    with pytest.raises(BadOption):
        _snapshot.plain("reason", text)


def test_the_operator_is_one_line():
    assert _snapshot.operator({"SUDO_USER": "al\nice"}).startswith("alice@")
    assert "@" in _snapshot.operator({})


# Row images, as far as they are plain data


def test_images_can_be_undone():
    row, other = {"id": "1", "a": "x"}, {"id": "1", "a": "y"}
    images = [_rows.image("t", row, other), _rows.image("t", None, {"id": "2"}), _rows.image("t", row, row)]
    assert [one["key"] for one in images] == ["1", "2", "1"]
    assert _rows.reverse(_rows.reverse(images)) == images
    assert _rows.real(images) == images[:2]
    with pytest.raises(ValueError):
        _rows.image("t", None, None)


def test_differences_name_columns_and_hide_what_is_hidden():
    found = _rows.difference("t", "1", {"id": "1", "a": "x", "s": "1"}, {"id": "1", "a": None, "s": "2"}, hidden=["s"])
    assert [(one["column"], one["expected"], one["found"]) for one in found] == [
        ("a", "x", None),
        ("s", _rows.HIDDEN, _rows.HIDDEN),
    ]
    assert _rows.describe(found) == "a of t 1 is None instead of 'x'; s of t 1 is another"
    (gone,) = _rows.difference("t", "1", {"id": "1"}, None)
    assert _rows.describe([gone] * 5).endswith("; and 2 more")
    assert _rows.difference("t", "1", None, None) == []
    (grown,) = _rows.difference("t", "1", {"id": "1"}, {"id": "1", "new": None})
    assert grown["column"] == "new"


def test_an_audit_row_is_one_that_the_console_can_show():
    event = _audit.event(
        organisation="o",
        event_type="U",
        resource_type="policy",
        resource_id="p",
        name="Office",
        description="Updated it",
        reason="night",
        operator="root@bastion",
        metadata={"name": "no", "more": 1},
    )
    assert event["description"] == "Updated it (emergency change with phase.console by root@bastion: night)"
    assert event["resource_metadata"] == {"name": "Office", "more": 1, "emergency": True, "reason": "night"}
    assert (event["actor_type"], event["actor_id"]) == ("user", "")
    for wrong in ({"event_type": "X"}, {"resource_type": "sso"}):
        given = {"event_type": "U", "resource_type": "policy", **wrong}
        with pytest.raises(ValueError):
            _audit.event(organisation="o", resource_id="p", name="n", description="d", **given)
    assert _audit.absent(True) == [] and "audit log" in _audit.absent(False)[0]
