# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.phase.console.plugins.module_utils._call.module import Call
from ansible_collections.phase.console.plugins.module_utils._errors import BadOption, NotSupported
from ansible_collections.phase.console.plugins.module_utils._nginx.file import FileTrouble
from ansible_collections.phase.console.plugins.module_utils._target.base import Target
from ansible_collections.phase.console.plugins.modules import phase_nginx


class Far(Target):
    deployment = "database"


def silent(message, **counters):
    pass


def nginx(**given):
    params = {name: option.get("default") for name, option in phase_nginx.SPEC.options.items()}
    return phase_nginx.run(Call({**params, **given}, False, False, Far(), silent, silent))


@pytest.mark.parametrize("given", [{}, {"content": " \n"}, {"src": "/nowhere/at/all"}])
def test_without_a_configuration_nothing_is_done(given):
    with pytest.raises((BadOption, FileTrouble)):
        nginx(**given)


@pytest.mark.parametrize("path", ["default.conf", "/etc/nginx/../default.conf", "/etc/nginx/a'b", "/etc/nginx/#x"])
def test_a_path_that_a_shell_or_sed_could_misread_is_refused(path):
    with pytest.raises(BadOption, match="path="):
        nginx(content="server {}", path=path)


def test_where_no_nginx_is_known_it_says_so():
    with pytest.raises(NotSupported, match="says nothing of an nginx"):
        nginx(content="server {}")
