#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The phase.console authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: phase_rollout
author: The phase.console authors (@phase-console)
version_added: 0.1.0
short_description: Replace a container of Phase, or a Deployment's image, by another image
description:
  - With Docker, makes a container of the new image with everything that was given to the old one (environment, volumes,
    networks and aliases, ports, limits, restart policy, labels), stops the old one, and starts the new one under its
    name.
  - What the old container merely had from its image, such as C(PATH) or its command, comes from the new image.
  - The old container is kept, stopped, as C(NAME-previous) until the new one is healthy; without a healthcheck, until
    it has stayed up for O(settle) seconds.
  - A run that is cut off at any point is finished by the next one.
  - For containers that were made one by one, as with C(docker run). One that Compose, Swarm, Kubernetes or a systemd
    unit makes anew from its own description is refused, since the next time would bring the old version back. With
    Compose, C(community.docker.docker_compose_v2) recreates services.
  - With Kubernetes, sets the image of a Deployment and waits until the cluster has replaced its pods, by the
    Deployment's own strategy. It fails as soon as it is known that the new pods will not come up (image, crash loop, no
    node, quota, a missing Secret), with the reason. A Deployment of Argo CD or Flux is refused, for they would undo the
    change. For one of Helm's there is a warning, since the release then names another image.
extends_documentation_fragment:
  - phase.console.target
  - phase.console.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - With Docker, images are compared by their id, so a container of C(latest) is replaced when the tag names another
        image by now, and left alone when it does not. With Kubernetes they are compared by name.
options:
  name:
    description: The container to replace; with Kubernetes, the Deployment.
    type: str
    required: true
  state:
    description:
      - V(replaced) has it run O(image).
      - V(stopped), with Kubernetes only, scales a Deployment to 0 and waits until its pods have ended. The number of
        replicas is kept in an annotation of the Deployment, and O(state=replaced) puts it back. An autoscaler leaves a
        Deployment of 0 replicas alone; one that would not (KEDA, C(minReplicas) of 0) is refused.
    type: str
    default: replaced
  image:
    description:
      - The image to run, for O(state=replaced). With Docker, it has to be on the engine already. In a Deployment, every
        container that runs the old image gets it, init containers too.
    type: str
  wait_timeout:
    description:
      - Seconds within which the new container has to be healthy. With Kubernetes, seconds within which one more pod has
        to be new or ready.
    type: float
    default: 120
  settle:
    description:
      - Seconds that a container without a healthcheck has to stay up to count as healthy. A Deployment has
        C(minReadySeconds).
    type: float
    default: 5
  stop_timeout:
    description:
      - Seconds that the old container gets to stop before it is killed. A pod has C(terminationGracePeriodSeconds).
    type: int
    default: 30
  rollback:
    description:
      - Put the old container, or the old image of a Deployment, back when the new one does not become healthy.
      - Think twice after migrations, for they are one-way, and the old version may fail on the new tables.
    type: bool
    default: false
seealso:
  - ref: ansible_collections.phase.console.docsite.guide_upgrade
    description: The upgrade as a whole.
  - ref: ansible_collections.phase.console.docsite.guide_kubernetes
    description: How a Deployment is rolled out.
  - module: phase.console.phase_migrate
  - module: community.docker.docker_compose_v2
"""

EXAMPLES = r"""
- name: Replace the worker
  phase.console.phase_rollout:
    name: phase-worker
    image: phasehq/backend:v2.73.2

- name: Roll the worker in Kubernetes
  phase.console.phase_rollout:
    deployment: kubernetes
    namespace: phase
    kubernetes: {context: production}
    name: phase-worker
    image: docker.io/phasehq/backend:v2.73.2
"""

RETURN = r"""
steps:
  description: What was done; in check mode, what would be. Empty when the container runs that image already.
  returned: success
  type: list
  elements: str
summary:
  description: The plan in a sentence.
  returned: success
  type: list
  elements: str
  sample: [Replace phase-worker by a container of image phasehq/backend:v2.73.2, in 6 steps.]
before:
  description: The container before.
  returned: always
  type: dict
  contains: &component
    container:
      description: Its name.
      type: str
    image:
      description: The image it was made from, as it was named.
      type: str
    image_id:
      description: The id of that image.
      type: str
    digest:
      description: The image's digest in its registry, where the engine knows one.
      type: str
    status:
      description: The container's status.
      type: str
    health:
      description: What its healthcheck says; none without one.
      type: str
    replicas:
      description: With Kubernetes, how many pods are C(wanted) and C(ready).
      type: dict
    restarts:
      description: With Kubernetes, how often the containers of its pods were restarted.
      type: int
after:
  description: The container after; in check mode, as predicted.
  returned: success
  type: dict
  contains: *component
log_tail:
  description: The end of the new container's log, with the values of its secret variables masked.
  returned: when it did not become healthy
  type: list
  elements: str
rolled_back:
  description: Whether the old container was put back.
  returned: when it did not become healthy and O(rollback=true)
  type: bool
error:
  description: What a playbook can branch on.
  returned: failure
  type: dict
  contains:
    kind:
      description: The kind, one of R(this list,ansible_collections.phase.console.docsite.guide_errors).
      type: str
      sample: lock_held
    next_step:
      description: What to do about it, which C(msg) ends in as well.
      type: str
"""

from ansible_collections.phase.console.plugins.module_utils._call.targets import run_module
from ansible_collections.phase.console.plugins.module_utils._instance.rollout import SPEC, run


def main() -> None:
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
