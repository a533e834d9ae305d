from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def two_nodes() -> Iterator[str]:
    """Address of a Ray cluster of two nodes, simulated on this machine."""
    pytest.importorskip("ray", reason="needs the group 'distributed'")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        try:
            cluster.add_node(num_cpus=1)
            cluster.wait_for_nodes()
            yield cluster.address
        finally:
            cluster.shutdown()
