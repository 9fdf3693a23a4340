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
      - V(auto) looks at the Docker engine of this host alone, the one that O(docker.docker_host) names. It takes the
        Compose project where the containers' labels name one, else the container, and says in C(target) of the result
        which instance it found. Where there are several it refuses, and says what to set. E(DATABASE_URL), E(PGHOST)
        and E(KUBECONFIG) never choose an instance.
      - V(docker) and V(compose) work inside the backend's container, with its own credentials.
      - V(kubernetes) works in the backend's pods on an instance of Phase's Helm chart, or any other Deployment that
        O(label_selector) names, and in Jobs made after their pattern. A kubeconfig in YAML needs PyYAML.
      - V(local) works in a checkout of the backend on this host, with the settings of O(env_file) and O(environment).
      - V(database) connects to PostgreSQL directly. It cannot do what only the application can, such as migrating.
    type: str
    choices: [auto, docker, compose, kubernetes, database, local]
    default: auto
  container:
    description:
      - Name of the backend's container. For O(deployment=docker) the default is V(phase-backend); for
        O(deployment=auto) it chooses among several.
    type: str
  docker:
    description:
      - How to reach the Docker engine, for V(docker) and V(compose). Names, defaults and environment variables are
        those of community.docker.
    type: dict
    suboptions:
      docker_host:
        description: URL of the engine. Falls back to E(DOCKER_HOST).
        type: str
        default: unix:///var/run/docker.sock
      tls:
        description: Talk TLS to the engine without checking its certificate. Falls back to E(DOCKER_TLS).
        type: bool
        default: false
      validate_certs:
        description: Talk TLS to the engine and check its certificate. Falls back to E(DOCKER_TLS_VERIFY).
        type: bool
        default: false
      ca_path:
        description: CA certificate of the engine. Falls back to C(ca.pem) in the folder that E(DOCKER_CERT_PATH) names.
        type: path
      client_cert:
        description: Client certificate for the engine. Falls back to C(cert.pem) in E(DOCKER_CERT_PATH).
        type: path
      client_key:
        description: Key of O(docker.client_cert). Falls back to C(key.pem) in E(DOCKER_CERT_PATH).
        type: path
      api_version:
        description: Version of the engine's API. Falls back to E(DOCKER_API_VERSION).
        type: str
        default: auto
      timeout:
        description: Seconds within which the engine has to answer. Falls back to E(DOCKER_TIMEOUT).
        type: int
        default: 60
      use_ssh_client:
        description: For C(ssh://) engines, use the command C(ssh) and not the Python package C(paramiko).
        type: bool
        default: false
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
  namespace:
    description: Namespace of the instance, for O(deployment=kubernetes).
    type: str
  release:
    description:
      - Name of the Helm release, for O(deployment=kubernetes).
      - Needed only where the namespace has more than one of Phase's chart.
    type: str
  label_selector:
    description:
      - Labels of the backend's Deployment, such as V(app=phase,tier=api), for O(deployment=kubernetes) and an instance
        that was not made by Phase's chart.
    type: str
  kubernetes:
    description:
      - The cluster, for O(deployment=kubernetes), with the names and the environment variables of C(kubernetes.core).
      - A cluster is always named here, by O(kubernetes.context), O(kubernetes.host), a O(kubernetes.kubeconfig) that
        has one context alone, or O(kubernetes.in_cluster). Neither a variable nor a current context chooses one.
    type: dict
    suboptions:
      kubeconfig:
        description:
          - Path of a kubeconfig. Tokens, certificates and credential plugins in it work.
          - Without it, O(kubernetes.context) is looked for in E(K8S_AUTH_KUBECONFIG), else in E(KUBECONFIG), else in
            C(~/.kube/config).
        type: path
      context:
        description: Name of a context in the kubeconfig.
        type: str
      host:
        description: URL of an API server, in place of a kubeconfig.
        type: str
      in_cluster:
        description: Use the cluster and the service account of the pod that the module runs in.
        type: bool
        default: false
      api_key:
        description: Bearer token. With O(kubernetes.host) it falls back to E(K8S_AUTH_API_KEY).
        type: str
      username:
        description:
          - User for basic authentication, where a proxy offers that.
          - With O(kubernetes.host) it falls back to E(K8S_AUTH_USERNAME).
        type: str
      password:
        description: Password of O(kubernetes.username). With O(kubernetes.host) it falls back to E(K8S_AUTH_PASSWORD).
        type: str
      ca_cert:
        description: CA certificate of the API server. With O(kubernetes.host) it falls back to E(K8S_AUTH_SSL_CA_CERT).
        type: path
      client_cert:
        description: Client certificate. With O(kubernetes.host) it falls back to E(K8S_AUTH_CERT_FILE).
        type: path
      client_key:
        description: Key of O(kubernetes.client_cert). With O(kubernetes.host) it falls back to E(K8S_AUTH_KEY_FILE).
        type: path
      validate_certs:
        description:
          - Whether the API server's certificate is checked. Falls back to E(K8S_AUTH_VERIFY_SSL).
          - A kubeconfig's C(insecure-skip-tls-verify) has no effect.
        type: bool
        default: true
      proxy:
        description: URL of an HTTP proxy on the way to the API server. Falls back to E(K8S_AUTH_PROXY).
        type: str
      impersonate_user:
        description: User to act as. Falls back to E(K8S_AUTH_IMPERSONATE_USER).
        type: str
      impersonate_groups:
        description: Groups to act as. Falls back to E(K8S_AUTH_IMPERSONATE_GROUPS), a list with commas.
        type: list
        elements: str
  database_url:
    description:
      - URL of the database, for O(deployment=database). Falls back to E(DATABASE_URL), where O(login_host),
        O(login_port), O(login_user) and O(login_db) are not set either.
    type: str
  login_host:
    description: Host of PostgreSQL, or the folder of its socket. Without it libpq reads E(PGHOST).
    type: str
  login_port:
    description: Port of PostgreSQL. Without it libpq reads E(PGPORT).
    type: int
  login_user:
    description: Role to connect as; best the application's own. Without it libpq reads E(PGUSER).
    type: str
  login_password:
    description: Password of O(login_user). Without it libpq reads E(PGPASSWORD) or its password file.
    type: str
  login_db:
    description: Name of the database. Without it libpq reads E(PGDATABASE).
    type: str
  ssl_mode:
    description: Whether and how the connection uses TLS, in libpq's words. Without it libpq reads E(PGSSLMODE).
    type: str
    choices: [disable, allow, prefer, require, verify-ca, verify-full]
  ca_cert:
    description: CA certificate of PostgreSQL. Without it libpq reads E(PGSSLROOTCERT).
    type: path
  manage_dir:
    description: Folder with C(manage.py), for O(deployment=local). It can be a symbolic link such as C(current).
    type: path
  python:
    description:
      - Interpreter that runs the backend, for O(deployment=local). Where each release has an environment of its own,
        give its place in the release, such as C(.venv/bin/python); a path inside O(manage_dir) means the same.
      - M(phase.console.phase_migrate) refuses one whose packages are missing or older than C(requirements.txt) of the
        release says.
    type: path
    default: python3
  env_file:
    description: File with the backend's settings, a C(NAME=value) line each, for O(deployment=local).
    type: path
  environment:
    description: Settings of the backend, for O(deployment=local). They win over O(env_file).
    type: dict
  timeouts:
    description: Time limits, in seconds or as C(500ms), C(5s), C(2m); V(0) is none.
    type: dict
    suboptions:
      connect:
        description: Of an attempt to connect to the database.
        type: str
        default: 10s
      statement:
        description: Of one statement in the database.
        type: str
        default: '0'
      lock:
        description: How long a statement waits for a lock.
        type: str
        default: 5s
      idle:
        description: Longest silence of the far end before it counts as lost. It reports every few seconds.
        type: str
        default: 60s
seealso:
  - ref: ansible_collections.phase.console.docsite.guide_deployments
    description: How an instance is found, and which module works where.
"""
