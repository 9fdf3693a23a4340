# SPDX-FileCopyrightText: 2026 The phase.console authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that say where the instance is, of every module that works on one."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
attributes:
  action_group:
    description: Belongs to C(group/phase.console.phase), so C(module_defaults) can set the target once for all modules.
    support: full
    membership:
      - phase.console.phase
options:
  deployment:
    description:
      - Where Phase runs, and so how its database is reached.
      - V(docker) and V(compose) work inside the backend's container, with its own credentials.
      - V(local) works in a checkout of the backend on this host, with the settings of O(env_file) and O(environment).
      - V(database) connects to PostgreSQL directly. It cannot do what only the application can, such as migrating.
    type: str
    choices: [docker, compose, database, local]
    default: docker
  container:
    description: Name of the backend's container, for O(deployment=docker).
    type: str
    default: phase-backend
  docker_host:
    description: URL of the Docker engine, for V(docker) and V(compose). Falls back to E(DOCKER_HOST).
    type: str
    default: unix:///var/run/docker.sock
    aliases: [docker_url]
  tls:
    description: Talk TLS to the Docker engine without checking its certificate. Falls back to E(DOCKER_TLS).
    type: bool
    default: false
  validate_certs:
    description: Talk TLS to the Docker engine and check its certificate. Falls back to E(DOCKER_TLS_VERIFY).
    type: bool
    default: false
    aliases: [tls_verify]
  ca_path:
    description: CA certificate of the Docker engine.
    type: path
    aliases: [tls_ca_cert, cacert_path]
  client_cert:
    description: Client certificate for the Docker engine.
    type: path
    aliases: [tls_client_cert, cert_path]
  client_key:
    description: Key of O(client_cert).
    type: path
    aliases: [tls_client_key, key_path]
  api_version:
    description: Version of the Docker API. Falls back to E(DOCKER_API_VERSION).
    type: str
    default: auto
    aliases: [docker_api_version]
  project_src:
    description: Folder of the Compose file, for O(deployment=compose). One of this and O(project_name) is needed.
    type: path
  project_name:
    description: Name of the Compose project, for O(deployment=compose).
    type: str
  service:
    description: Compose service of the backend.
    type: str
    default: backend
  database_url:
    description: URL of the database, for O(deployment=database). Falls back to E(DATABASE_URL).
    type: str
  login_host:
    description: Host of PostgreSQL, or the folder of its socket. Falls back to E(PGHOST).
    type: str
    aliases: [host]
  login_port:
    description: Port of PostgreSQL. Falls back to E(PGPORT).
    type: int
    aliases: [port]
  login_user:
    description: Role to connect as; best the application's own. Falls back to E(PGUSER).
    type: str
    aliases: [login]
  login_password:
    description: Password of O(login_user). Falls back to E(PGPASSWORD).
    type: str
  login_db:
    description: Name of the database. Falls back to E(PGDATABASE).
    type: str
    aliases: [db]
  ssl_mode:
    description: Whether and how the connection uses TLS, in libpq's words. Falls back to E(PGSSLMODE).
    type: str
    choices: [disable, allow, prefer, require, verify-ca, verify-full]
  ca_cert:
    description: CA certificate of PostgreSQL. Falls back to E(PGSSLROOTCERT).
    type: path
    aliases: [ssl_rootcert]
  manage_dir:
    description: Folder with C(manage.py), for O(deployment=local). It can be a symbolic link such as C(current).
    type: path
  python:
    description: Interpreter that runs the backend, for O(deployment=local).
    type: path
    default: python3
  env_file:
    description: File with the backend's settings, a C(NAME=value) line each, for O(deployment=local).
    type: path
  environment:
    description: Settings of the backend, for O(deployment=local). They win over O(env_file).
    type: dict
  connect_timeout:
    description: Time limit of a connection attempt, in seconds or as C(500ms), C(5s), C(2m).
    type: str
    default: 10s
  statement_timeout:
    description: Time limit of one statement; V(0) is none.
    type: str
    default: '0'
  lock_timeout:
    description: How long a statement waits for a lock; V(0) is without limit.
    type: str
    default: 5s
  idle_timeout:
    description: Longest silence of the far end before it counts as lost. It reports every few seconds.
    type: str
    default: 60s
"""
