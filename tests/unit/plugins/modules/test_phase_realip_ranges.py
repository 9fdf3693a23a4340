# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._realip.values import BadValue
from ansible_collections.phase.console.plugins.modules import phase_realip_ranges


def ranges(**more):
    """The result, and what was warned of."""
    params = {name: option.get("default") for name, option in phase_realip_ranges.SPEC.options.items()}
    warned = []
    return phase_realip_ranges.run(Call({**params, **more}, False, False, None, None, warned.append)), warned


def test_a_list_is_not_read_where_others_could_change_it():
    with pytest.raises(BadValue, match="not safe"):
        ranges(source="cloudflare", urls=["http://ranges.example.com/ips-v4"])


def test_without_an_answer_the_bundled_ranges_serve():
    # Nothing listens on the port: it is refused at once, on this host.
    result, warned = ranges(source="cloudflare", urls=["http://127.0.0.1:1/ips-v4"], timeout=2)
    assert (result["origin"], result["changed"], len(result["ranges"])) == ("bundled", False, 22)
    assert "came with the collection, of 2026" in warned[0]
